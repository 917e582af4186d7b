//! The hypervisor as one value: what every CPU shares.

use core::sync::atomic::AtomicU64;

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
    /// System time of Domain-0's first instruction.
    pub dom0_started_ns: AtomicU64,
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
