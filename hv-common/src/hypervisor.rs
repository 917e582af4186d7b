//! The hypervisor as one value: what every CPU shares.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hv_abi::DomId;

use crate::arch::{Arch, Host, HostFacts, Shared};
use crate::domain::table::DomainTable;
use crate::memory::frames::Frames;
use crate::options::Options;
use crate::sched::Cpu;
use crate::time::WallClock;

/// CPUs at most.
pub const CPUS_MAX: usize = 16;

/// Everything there is one of. Lives in frames of its own, for ever.
pub struct Hypervisor<A: Arch> {
    /// The machine.
    pub host: &'static A::Host,
    /// Its frames.
    pub frames: Frames,
    /// Its domains.
    pub domains: DomainTable<A>,
    /// Its CPUs, by number.
    pub cpus: heapless::Vec<Shared<A, Cpu>, CPUS_MAX>,
    /// What the boot command line asked for.
    pub options: Options,
    /// Wall-clock time.
    pub wall_clock: WallClock,
    /// Facts of the machine.
    pub facts: HostFacts,
    /// Device interrupts that come as events.
    pub device_ports: DevicePorts,
    /// System time of Domain-0's first instruction.
    pub dom0_started_ns: AtomicU64,
}

/// Device interrupts that a machine may have in events.
const DEVICE_INTERRUPTS: usize = 256;

/// Domain-0's ports for device interrupts, by the interrupts' numbers; 0: it comes as an interrupt.
#[derive(Debug)]
pub struct DevicePorts([AtomicU32; DEVICE_INTERRUPTS]);

impl Default for DevicePorts {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; DEVICE_INTERRUPTS])
    }
}

impl DevicePorts {
    /// The port of an interrupt.
    #[must_use]
    pub fn of(&self, number: u32) -> Option<u32> {
        let port = self.0.get(number as usize)?.load(Ordering::Acquire);
        (port != 0).then_some(port)
    }

    /// Sets it. Returns whether there may be such an interrupt.
    pub fn set(&self, number: u32, port: u32) -> bool {
        let entry = self.0.get(number as usize);
        if let Some(entry) = entry {
            entry.store(port, Ordering::Release);
        }
        entry.is_some()
    }
}

impl<A: Arch> Hypervisor<A> {
    /// The CPU this runs on.
    #[must_use]
    pub fn this_cpu(&self) -> Option<&Cpu> {
        self.cpu(self.host.cpu())
    }

    /// A CPU by its number.
    #[must_use]
    pub fn cpu(&self, number: usize) -> Option<&Cpu> {
        self.cpus.get(number).map(|cpu| &**cpu)
    }

    /// A domain by its number.
    #[must_use]
    pub fn domain(&self, id: DomId) -> Option<crate::domain::DomainRef<A>> {
        self.domains.get(id)
    }

    /// Domain-0, once it is there.
    #[must_use]
    pub fn dom0(&self) -> Option<crate::domain::DomainRef<A>> {
        self.domains.get(DomId::ZERO)
    }

    /// Nanoseconds since the hypervisor started.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.host.now_ns()
    }
}
