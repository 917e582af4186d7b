//! A domain: what it is, what state it is in, what it has.
//!
//! What never changes is a plain field; what other CPUs touch on the way to a vCPU is atomic; the rest is
//! [`DomainState`] behind one ticket lock. A domain runs while nothing holds it ([`hold`]): it is made paused, and from
//! there goes to running, to shutdown (with a reason), to dying, and away. Domain-0 hears of every change through its
//! `DOM_EXC` virtual interrupt.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::lock::{Guard, Lock};
use hv_abi::DomId;
use hv_abi::control::domain::{self as abi, DomainKind, ShutdownReason, VCPUS_MAX};
use hv_abi::xen::{event::virq, hvm::param};

use crate::arch::{
    Arch, Gfn, GuestInterrupt, Host, MachinePower, Mfn, Platform, Refusal, RefusalKind, Shared,
};
use crate::device::Devices;
use crate::event::{self, EventTable};
use crate::grant::GrantTable;
use crate::hypercall::console::LineBuffer;
use crate::hypervisor::Hypervisor;
use crate::memory::account::Account;
use crate::memory::stage2::Stage2;
use crate::options::OnPanic;
use crate::sched;
use crate::vcpu::VcpuSlot;

pub mod create;
pub mod destroy;
pub mod table;

/// A domain, held.
pub type DomainRef<A> = Shared<A, Domain<A>>;
/// The vCPUs of a domain. Only the domain holds them, so that they end with it.
pub type Vcpus<A> = heapless::Vec<Shared<A, VcpuSlot<A>>, { VCPUS_MAX as usize }>;

/// Bits that keep a domain from running.
pub mod hold {
    /// Paused by Domain-0, or not started yet.
    pub const PAUSED: u32 = 1;
    /// It shut down.
    pub const SHUTDOWN: u32 = 2;
    /// It is being destroyed.
    pub const DYING: u32 = 4;
}

/// "Runs, or would": no shutdown reason.
const NOT_SHUT_DOWN: u32 = u32::MAX;
/// Weight of a domain that was given none.
pub const WEIGHT_DEFAULT: u32 = 256;

/// Counts what was refused to a domain.
#[derive(Default)]
pub struct Refusals {
    calls: AtomicU64,
    pointers: AtomicU64,
    accesses: AtomicU64,
    instructions: AtomicU64,
    firmware: AtomicU64,
}

impl Refusals {
    fn of(&self, kind: RefusalKind) -> &AtomicU64 {
        match kind {
            RefusalKind::Call => &self.calls,
            RefusalKind::Pointer => &self.pointers,
            RefusalKind::Access => &self.accesses,
            RefusalKind::Instruction => &self.instructions,
            RefusalKind::Firmware => &self.firmware,
        }
    }

    /// As they are now.
    #[must_use]
    pub fn read(&self) -> abi::Refusals {
        let [calls, pointers, accesses, instructions, firmware] = [
            &self.calls,
            &self.pointers,
            &self.accesses,
            &self.instructions,
            &self.firmware,
        ]
        .map(|count| count.load(Ordering::Relaxed));
        abi::Refusals {
            calls,
            pointers,
            accesses,
            instructions,
            firmware,
        }
    }
}

/// A domain.
pub struct Domain<A: Arch> {
    /// Its number on this host.
    pub id: DomId,
    /// The number it is told.
    pub guest_id: DomId,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// How it is built.
    pub kind: DomainKind,
    /// When it was made, host nanoseconds.
    pub created_ns: u64,
    /// First frame of its stage-2 root.
    pub root: Mfn,
    /// Tag of its translations.
    pub vmid: u16,
    /// Its interrupt controller.
    pub platform: A::Platform,
    /// Its emulated devices, which only an `hvm` domain reaches.
    pub devices: Lock<Devices>,
    /// Its vCPUs.
    pub vcpus: Vcpus<A>,
    /// Its frames.
    pub account: Account,
    /// Its share of a CPU that others want too.
    pub weight: AtomicU32,
    /// Percent of a CPU it may use at most, all its vCPUs together; 0: no limit.
    pub cap: AtomicU32,
    /// What was refused to it so far.
    pub refusals: Refusals,
    /// Bits of [`hold`].
    hold: AtomicU32,
    shutdown: AtomicU32,
    /// Everything else.
    pub state: Lock<DomainState<A>>,
}

/// What a domain has that changes, under its lock.
pub struct DomainState<A: Arch> {
    /// Its memory map.
    pub stage2: Stage2<A::Pte>,
    /// Its event channels.
    pub events: EventTable,
    /// Its grants.
    pub grants: GrantTable,
    /// HVM parameters.
    pub params: [u64; param::COUNT as usize],
    /// Enabled assists, a bit each.
    pub assists: u64,
    /// The `shared_info` page, once the guest has mapped it (or a record brought it).
    pub shared_info: Option<Mfn>,
    /// Where the guest mapped it.
    pub shared_info_gfn: Option<Gfn>,
    /// What it wrote to the log since its last line end.
    pub console: LineBuffer,
    /// xend's own record: a frame and the bytes used of it.
    pub blob: Option<(Mfn, u16)>,
    /// Whether it was started once: its first context can no longer be set.
    pub started: bool,
}

impl<A: Arch> DomainState<A> {
    fn new(root: Mfn) -> Self {
        Self {
            stage2: Stage2::new(root),
            events: EventTable::new(),
            grants: GrantTable::new(),
            params: [0; param::COUNT as usize],
            assists: 0,
            shared_info: None,
            shared_info_gfn: None,
            console: LineBuffer::default(),
            blob: None,
            started: false,
        }
    }
}

impl<A: Arch> Domain<A> {
    /// Whether it is Domain-0.
    #[must_use]
    pub fn is_dom0(&self) -> bool {
        self.id == DomId::ZERO
    }

    /// A vCPU.
    #[must_use]
    pub fn vcpu(&self, index: u32) -> Option<&VcpuSlot<A>> {
        self.vcpus.get(index as usize).map(|slot| &**slot)
    }

    /// Its lock.
    pub fn lock(&self) -> Guard<'_, DomainState<A>> {
        self.state.lock()
    }

    /// Bits of [`hold`].
    #[must_use]
    pub fn held(&self) -> u32 {
        self.hold.load(Ordering::SeqCst)
    }

    /// Whether it is being destroyed.
    #[must_use]
    pub fn is_dying(&self) -> bool {
        self.held() & hold::DYING != 0
    }

    /// Why it shut down.
    #[must_use]
    pub fn shutdown_reason(&self) -> Option<ShutdownReason> {
        match self.shutdown.load(Ordering::Acquire) {
            NOT_SHUT_DOWN => None,
            reason => Some(ShutdownReason(reason)),
        }
    }

    /// Whether a vCPU of it is on a CPU.
    #[must_use]
    pub fn is_on_cpu(&self) -> bool {
        self.vcpus.iter().any(|slot| slot.running_on().is_some())
    }

    /// Counts something that was refused. Returns how many there were before.
    fn count_refusal(&self, kind: RefusalKind) -> u64 {
        let before = self.refusals.read().total();
        self.refusals.of(kind).fetch_add(1, Ordering::Relaxed);
        before
    }
}

/// Makes a vCPU that waits go on. For one that runs elsewhere: makes it look.
pub fn wake<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, vcpu: u32) {
    if let Some(slot) = domain.vcpu(vcpu) {
        sched::wake(hypervisor, domain, slot);
    }
}

/// Tells a vCPU that event channels are pending for it.
pub fn notify_upcall<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, vcpu: u32) {
    let interrupt = GuestInterrupt::Upcall { vcpu };
    if let Some(vcpu) = domain.platform.raise(interrupt) {
        wake(hypervisor, domain, vcpu);
    }
}

/// Puts a hold on a domain. Its vCPUs leave their CPUs as soon as those look; see [`Domain::is_on_cpu`].
pub fn add_hold<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, bits: u32) {
    domain.hold.fetch_or(bits, Ordering::SeqCst);
    sched::interrupt_domain(hypervisor, domain);
}

/// Takes a hold off; the last one lets it run.
pub fn remove_hold<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, bits: u32) {
    let before = domain.hold.fetch_and(!bits, Ordering::SeqCst);
    if before & !bits == 0 {
        sched::release_domain(hypervisor, domain);
    }
}

/// Tells Domain-0 that a domain changed its state.
pub fn announce<A: Arch>(hypervisor: &Hypervisor<A>) {
    if let Some(dom0) = hypervisor.dom0() {
        event::send_virq(hypervisor, &dom0, virq::DOM_EXC, 0);
    }
}

/// Shuts a domain down: it stops, and Domain-0 decides what becomes of it. For Domain-0 it is the machine that ends, or
/// after a crash nothing: the guests run on. Never called with a domain's lock held.
pub fn shutdown<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, reason: ShutdownReason) {
    let first = domain.shutdown.compare_exchange(
        NOT_SHUT_DOWN,
        reason.0,
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    if first.is_err() {
        return;
    }
    log::info!("d{}: shut down, reason {}", domain.id.0, reason.0);
    if domain.is_dom0() {
        end_machine(hypervisor, reason);
    }
    add_hold(hypervisor, domain, hold::SHUTDOWN);
    announce(hypervisor);
}

/// What Domain-0's shutdown means for the machine. Returns only for a crash.
fn end_machine<A: Arch>(hypervisor: &Hypervisor<A>, reason: ShutdownReason) {
    match reason {
        ShutdownReason::REBOOT => hypervisor.host.power(MachinePower::Reset),
        ShutdownReason::CRASH => {
            log::error!("Domain-0 is gone; the other domains run on");
        }
        ShutdownReason::WATCHDOG if hypervisor.options.on_panic == OnPanic::Reboot => {
            hypervisor.host.power(MachinePower::Reset)
        }
        _ => hypervisor.host.power(MachinePower::Off),
    }
}

/// Stops a domain for something it did that nobody can answer.
pub fn crash<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    vcpu: u32,
    refusal: &Refusal,
) {
    domain.count_refusal(refusal.kind);
    log::error!(
        "d{}v{vcpu}: {} at pc {:#x}: detail {:#x}, address {:#x}: crashed",
        domain.id.0,
        refusal.what,
        refusal.pc,
        refusal.detail,
        refusal.address
    );
    shutdown(hypervisor, domain, ShutdownReason::CRASH);
}

/// Refusals of a domain that are logged one by one; after that only every power of two.
const REFUSALS_LOGGED: u64 = 16;

/// Counts something that was refused, and logs it unless there were many.
pub fn refuse<A: Arch>(domain: &Domain<A>, vcpu: u32, refusal: &Refusal) {
    let before = domain.count_refusal(refusal.kind);
    if before < REFUSALS_LOGGED || (before + 1).is_power_of_two() {
        log::warn!(
            "d{}v{vcpu}: {} at pc {:#x}: detail {:#x}, address {:#x} ({} so far)",
            domain.id.0,
            refusal.what,
            refusal.pc,
            refusal.detail,
            refusal.address,
            before + 1
        );
    }
}
