//! A whole fake machine with domains on it: where tests and fuzz bodies start.

use core::sync::atomic::{AtomicU64, Ordering};
use std::boxed::Box;

use hv_abi::control::domain::{CreateDomain, DomainKind};
use hv_abi::{DomId, Errno, FRAME_SHIFT, FRAME_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Fake, FakeHost, RAM_START};
use crate::arch::{Attributes, Gfn, Gpa, Host, HostFacts, Mfn, PlatformConfig, Vcpu};
use crate::domain::create::{Blueprint, build, create};
use crate::domain::table::DomainTable;
use crate::domain::{DomainRef, destroy};
use crate::hypercall::{After, CallContext, Outcome, dispatch};
use crate::hypervisor::Hypervisor;
use crate::memory::account::Account;
use crate::memory::frames::{Frames, Usage, run_order_for};
use crate::options::Options;
use crate::sched::Cpu;
use crate::time::WallClock;
use crate::vcpu::Activity;

/// First guest frame of the RAM that [`Machine::domain`] gives a domain.
pub const RAM_GFN: Gfn = Gfn(0x1000);
/// Guest-physical address of the same.
pub const RAM: u64 = RAM_GFN.0 << FRAME_SHIFT;
/// Frames of Domain-0's RAM.
const DOM0_FRAMES: u64 = 16;

/// A machine with Domain-0 on it.
pub struct Machine {
    /// The hypervisor. Lives for ever, as on real machines.
    pub hypervisor: &'static Hypervisor<Fake>,
    /// Domain-0: one vCPU, identity-mapped RAM.
    pub dom0: DomainRef<Fake>,
    /// First byte of Domain-0's RAM.
    pub dom0_ram: u64,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

impl Machine {
    /// A machine with that many frames.
    ///
    /// # Panics
    /// If they are too few for Domain-0.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self::with_cpus(frames, 0)
    }

    /// The same, with CPUs that have run queues.
    ///
    /// # Panics
    /// If the frames are too few.
    #[must_use]
    pub fn with_cpus(frames: usize, cpus: u32) -> Self {
        let host = FakeHost::leak(frames);
        let words: Box<[AtomicU64]> = (0..frames).map(|_| AtomicU64::new(0)).collect();
        let pool = Frames::new(RAM_START, Box::leak(words));
        pool.add_free(RAM_START, frames as u64);
        let order = run_order_for(size_of::<Cpu>(), align_of::<Cpu>());
        let cpu = |number| {
            let run = pool
                .allocate_run(order, DomId::ZERO)
                .expect("room for a CPU");
            host.share(run, Cpu::new(number))
        };
        let cpus = (0..cpus).map(cpu).collect();
        let hypervisor = leak(Hypervisor {
            host,
            frames: pool,
            domains: DomainTable::default(),
            cpus,
            options: Options::default(),
            wall_clock: WallClock::default(),
            facts: HostFacts::default(),
            device_ports: Default::default(),
            dom0_started_ns: AtomicU64::new(0),
        });
        let blueprint = Blueprint {
            id: DomId::ZERO,
            guest_id: DomId::ZERO,
            uuid: [0; 16],
            kind: DomainKind::PVH,
            vcpus: 1,
            account: Account::unlimited(DOM0_FRAMES),
            platform: PlatformConfig {
                vcpus: 1,
                hardware: true,
                hypervisor_visible: true,
                guest_id: hv_abi::DomId(1),
            },
        };
        let dom0: DomainRef<Fake> = build(hypervisor, blueprint).expect("room for Domain-0");
        let memory = hypervisor.memory(&dom0);
        let order = DOM0_FRAMES.trailing_zeros();
        let first = memory.take_ram_uncleared(order).expect("room for its RAM");
        for frame in (first.0..).take(1 << order).map(Mfn) {
            host.clear(frame);
            let _was_marked = memory.clear_mark(frame);
        }
        let mapped = memory.map(
            &mut dom0.lock(),
            Gfn(first.0),
            first,
            DOM0_FRAMES,
            Attributes::RAM,
        );
        mapped.expect("its own address is free");
        let dom0_ram = first.0 << FRAME_SHIFT;
        Self {
            hypervisor,
            dom0,
            dom0_ram,
        }
    }

    /// Makes a paused domain with that much RAM at [`RAM_GFN`].
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn domain(&self, frames: u64, vcpus: u32) -> DomainRef<Fake> {
        self.domain_of(DomainKind::PVH, frames, vcpus)
    }

    /// The same of another kind.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn domain_of(&self, kind: DomainKind, frames: u64, vcpus: u32) -> DomainRef<Fake> {
        let request = CreateDomain {
            kind,
            vcpus,
            frames_max: frames,
            ..CreateDomain::default()
        };
        let id = create(self.hypervisor, &request).expect("room for a domain");
        let domain = self.hypervisor.domain(id).expect("it was just made");
        for slot in &domain.vcpus {
            slot.set_activity(Activity::Ready);
        }
        let memory = self.hypervisor.memory(&domain);
        for gfn in (RAM_GFN.0..).take(usize::try_from(frames).unwrap_or(0)) {
            let frame = memory.take_ram().expect("it was promised");
            let mut state = domain.lock();
            let mapped = memory.map(&mut state, Gfn(gfn), frame, 1, Attributes::RAM);
            mapped.expect("nothing is there yet");
        }
        domain
    }

    /// Destroys a domain, which nobody may hold any more.
    ///
    /// # Panics
    /// If it does not end.
    pub fn destroy(&self, domain: DomainRef<Fake>) {
        let id = domain.id;
        destroy::begin(self.hypervisor, &domain);
        drop(domain);
        for _ in 0..10_000 {
            match destroy::step(self.hypervisor, id) {
                Ok(destroy::Progress::Done) | Err(Errno::ESRCH) => return,
                _ => {}
            }
        }
        panic!("d{} does not end", id.0);
    }

    /// What a vCPU's call comes to, and what the vCPU does then.
    ///
    /// # Panics
    /// If the vCPU does not exist, or a batch goes on for ever.
    pub fn call_then(
        &self,
        domain: &DomainRef<Fake>,
        vcpu: u32,
        number: u64,
        args: [u64; 5],
    ) -> (Result<u64, Errno>, After) {
        let slot = domain.vcpu(vcpu).expect("the vCPU exists");
        let mut args = args;
        for _ in 0..10_000 {
            let mut registers = slot.registers().expect("nobody runs it");
            let (host, platform) = (self.hypervisor.host, &domain.platform);
            registers.load(host, platform, domain.root, domain.vmid);
            let mut context = CallContext::new(self.hypervisor, domain, slot, &registers);
            let outcome = dispatch(&mut context, number, &args);
            let after = context.after;
            registers.unload(host, platform);
            match outcome {
                Outcome::Done(result) => return (result, after),
                Outcome::Again(rest) => args = rest,
            }
        }
        panic!("call {number} goes on for ever");
    }

    /// What a call of vCPU 0 comes to.
    ///
    /// # Errors
    /// What the call says.
    pub fn call(
        &self,
        domain: &DomainRef<Fake>,
        number: hv_abi::CallNumber,
        args: &[u64],
    ) -> Result<u64, Errno> {
        let mut five = [0; 5];
        five[..args.len()].copy_from_slice(args);
        self.call_then(domain, 0, number.0, five).0
    }

    /// Writes a value into a domain's memory, makes a call with its address as second argument, and reads it back.
    ///
    /// # Errors
    /// What the call says.
    ///
    /// # Panics
    /// If `at` is not its RAM.
    pub fn call_with<T: FromBytes + IntoBytes + Immutable>(
        &self,
        domain: &DomainRef<Fake>,
        number: hv_abi::CallNumber,
        command: u64,
        at: u64,
        value: &mut T,
    ) -> Result<u64, Errno> {
        self.write(domain, at, value);
        let result = self.call(domain, number, &[command, at, 1]);
        *value = self.read(domain, at);
        result
    }

    /// Writes into a domain's memory.
    ///
    /// # Panics
    /// If it is not its RAM.
    pub fn write<T: IntoBytes + Immutable + ?Sized>(
        &self,
        domain: &DomainRef<Fake>,
        at: u64,
        value: &T,
    ) {
        let memory = self.hypervisor.memory(domain);
        memory.write(Gpa(at), value.as_bytes()).expect("RAM");
    }

    /// Reads from a domain's memory.
    ///
    /// # Panics
    /// If it is not its RAM.
    #[must_use]
    pub fn read<T: FromBytes + IntoBytes>(&self, domain: &DomainRef<Fake>, at: u64) -> T {
        let mut value = T::new_zeroed();
        let memory = self.hypervisor.memory(domain);
        memory.read(Gpa(at), value.as_mut_bytes()).expect("RAM");
        value
    }

    /// The machine frame behind a guest frame.
    #[must_use]
    pub fn frame(&self, domain: &DomainRef<Fake>, gfn: Gfn) -> Option<Mfn> {
        let memory = self.hypervisor.memory(domain);
        memory.lookup(&domain.lock(), gfn).map(|leaf| leaf.mfn)
    }

    /// Where all frames are.
    ///
    /// # Panics
    /// If they do not add up.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let usage = self.hypervisor.frames.usage();
        let parts =
            usage.free + usage.hypervisor + usage.dom0 + usage.boot + usage.store + usage.domains;
        assert_eq!(parts, usage.total, "{usage:?}");
        usage
    }

    /// Bytes of a page shared with a domain.
    #[must_use]
    pub fn shared_info(&self, domain: &DomainRef<Fake>) -> std::vec::Vec<u8> {
        let page = domain.lock().shared_info;
        let mut bytes = std::vec![0; FRAME_SIZE];
        if let Some(page) = page {
            self.hypervisor.host.read(page, 0, &mut bytes);
        }
        bytes
    }

    /// A vCPU's number of upcalls since the last look, as its platform saw them.
    #[must_use]
    pub fn upcalls(&self, domain: &DomainRef<Fake>, vcpu: u32) -> usize {
        let raised = domain.platform.take_raised();
        let upcall = crate::arch::GuestInterrupt::Upcall { vcpu };
        raised.iter().filter(|raised| **raised == upcall).count()
    }

    /// The state of a vCPU's poll.
    #[must_use]
    pub fn polling(&self, domain: &DomainRef<Fake>, vcpu: u32) -> Option<u32> {
        let slot = domain.vcpu(vcpu)?;
        Some(slot.polling.load(Ordering::SeqCst))
    }
}
