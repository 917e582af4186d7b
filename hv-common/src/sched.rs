//! Which vCPU runs: a queue per CPU, weighted fair in virtual time.
//!
//! A vCPU waits in the queue of its home, the CPU where it ran last. One that becomes ready goes to an idle CPU that its
//! affinity allows if its home is busy, and a CPU with nothing to do takes one that waits elsewhere ([`mod@place`]). A
//! domain with a cap is made to wait between its slices ([`mod@cap`]).
//!
//! A vCPU that has run pays virtual time, more if its weight is small; the one that has paid least is next. A slice is
//! [`SLICE_NS`], and only while somebody waits: a vCPU alone on a CPU runs without a tick. A vCPU that waited does not
//! save up what it did not use. One for which a machine's device interrupt waits (Domain-0's) goes first, at once.
//!
//! Timers of vCPUs that are not on a CPU sit in the same queue: when to go on in any case ("wake"), and the singleshot
//! timer of the Xen interface. The CPU's one deadline is the earliest of them and of the slice's end.
//!
//! Whatever may change who runs sets the CPU's attention flag; the run loop looks at it after every exit.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::lock::Lock;
use hv_abi::control::domain::DomainKind;
use hv_abi::xen::event::virq;
use hv_abi::{DomId, Errno};

use crate::arch::{Arch, GuestInterrupt, Host, HostInterrupt, Platform};
use crate::device;
use crate::domain::{Domain, DomainRef, WEIGHT_DEFAULT, destroy};
use crate::event;
use crate::hypervisor::Hypervisor;
use crate::time::NEVER;
use crate::vcpu::{self, Activity, Attention, VcpuSlot};

mod cap;
mod place;
mod queue;

pub use queue::VCPUS_MAX;
use queue::{Entry, Key, Queue, TimerKind};

/// How long a vCPU runs while others wait.
pub const SLICE_NS: u64 = 10_000_000;
/// How much less than the running one a woken vCPU must have paid to replace it before its slice ends.
const PREEMPTION_NS: u64 = 1_000_000;
/// How often the hypervisor goes on destroying domains when the machine is busy.
const BACKGROUND_NS: u64 = 1_000_000;
/// Interrupts taken in a row.
const INTERRUPTS_AT_ONCE: usize = 64;

/// A stay on a CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) start_ns: u64,
    /// When it ends if somebody waits.
    pub(crate) end_ns: u64,
    /// It ends then in any case.
    pub(crate) is_limit: bool,
}

impl Slice {
    /// Nobody is on the CPU.
    const NONE: Self = Self {
        start_ns: 0,
        end_ns: NEVER,
        is_limit: false,
    };

    /// The slice of a vCPU of this domain that begins now.
    pub(crate) fn of<A: Arch>(domain: &Domain<A>, now_ns: u64) -> Self {
        Self {
            start_ns: now_ns,
            end_ns: now_ns.saturating_add(SLICE_NS),
            is_limit: domain.cap.load(Ordering::Relaxed) != 0,
        }
    }
}

/// A CPU.
pub struct Cpu {
    number: u32,
    attention: Attention,
    armed_ns: AtomicU64,
    /// It has a vCPU on it.
    busy: AtomicBool,
    /// What that one had paid when it came, when that was, and its weight.
    running: [AtomicU64; 3],
    /// vCPUs in its queue.
    waiting: AtomicUsize,
    idle_ns: AtomicU64,
    queue: Lock<Queue>,
}

impl Cpu {
    /// A CPU with nothing to do.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self {
            number,
            attention: Attention::new(true),
            armed_ns: AtomicU64::new(NEVER),
            busy: AtomicBool::new(false),
            running: [const { AtomicU64::new(0) }; 3],
            waiting: AtomicUsize::new(0),
            idle_ns: AtomicU64::new(0),
            queue: Lock::new(Queue::default()),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Whether something may have changed about what it runs.
    #[must_use]
    pub fn wants_attention(&self) -> bool {
        self.attention.is_wanted()
    }

    /// Time it ran nothing.
    #[must_use]
    pub fn idle_ns(&self) -> u64 {
        self.idle_ns.load(Ordering::Relaxed)
    }

    fn take_next(&self) -> Option<Key> {
        let mut queue = self.queue.lock();
        let next = queue.take_best()?;
        self.waiting.store(queue.waiting(), Ordering::Relaxed);
        Some(next.key)
    }

    fn set_deadline<H: Host>(&self, host: &H, at_ns: u64) {
        if self.armed_ns.swap(at_ns, Ordering::Relaxed) != at_ns {
            host.set_deadline((at_ns != NEVER).then_some(at_ns));
        }
    }

    /// A vCPU that was picked gets this CPU.
    pub(crate) fn begin<A: Arch>(
        &self,
        hypervisor: &Hypervisor<A>,
        domain: &Domain<A>,
        slot: &VcpuSlot<A>,
        slice: Slice,
    ) {
        self.attention.take_note();
        let weight = u64::from(domain.weight.load(Ordering::Relaxed));
        let paid = slot.virtual_ns.load(Ordering::Relaxed);
        for (place, value) in self.running.iter().zip([paid, slice.start_ns, weight]) {
            place.store(value, Ordering::Relaxed);
        }
        self.busy.store(true, Ordering::Release);
        let mut queue = self.queue.lock();
        queue.set_timer(key(domain, slot), TimerKind::Wake, NEVER);
        let at = next_deadline(hypervisor, &queue, slice.start_ns, slice);
        drop(queue);
        self.set_deadline(hypervisor.host, at);
    }

    /// The vCPU that had this CPU has left it.
    pub(crate) fn end<A: Arch>(&self, slot: &VcpuSlot<A>) {
        let paid = slot.virtual_ns.load(Ordering::Relaxed);
        self.queue.lock().raise_floor(paid);
        self.busy.store(false, Ordering::Release);
    }

    /// What somebody who comes to this CPU is taken to have paid at least: as much as the one who has paid least of those
    /// that are here. Read while they go on, so it is a little less than true at most.
    fn floor_ns(&self, queue: &Queue, now_ns: u64) -> u64 {
        if !self.busy.load(Ordering::Acquire) {
            return queue.floor_ns();
        }
        let [paid, since, weight] = [0, 1, 2].map(|n: usize| {
            let place = self.running.get(n);
            place.map_or(0, |value| value.load(Ordering::Relaxed))
        });
        let running = paid.saturating_add(weighted_by(weight, now_ns.saturating_sub(since)));
        queue.floor_with(running)
    }

    /// Whether the vCPU that runs stays.
    pub(crate) fn keeps<A: Arch>(
        &self,
        hypervisor: &Hypervisor<A>,
        domain: &Domain<A>,
        slot: &VcpuSlot<A>,
        slice: Slice,
    ) -> bool {
        self.attention.take_note();
        destroy::work(hypervisor);
        let now = hypervisor.now_ns();
        if !slot.may_run_on(self.number) || slice.is_limit && now >= slice.end_ns {
            return false;
        }
        let paid = paid_by(domain, slot, now, slice);
        let queue = self.queue.lock();
        let replaced = queue.best().is_some_and(|best| {
            best.urgent
                || now >= slice.end_ns
                || best.virtual_ns.saturating_add(PREEMPTION_NS) < paid
        });
        if replaced {
            return false;
        }
        let at = next_deadline(hypervisor, &queue, now, slice);
        drop(queue);
        self.set_deadline(hypervisor.host, at);
        true
    }

    /// Whether the vCPU that runs would be picked again if it gave way: nobody waits who has paid less.
    pub(crate) fn would_pick<A: Arch>(
        &self,
        hypervisor: &Hypervisor<A>,
        domain: &Domain<A>,
        slot: &VcpuSlot<A>,
        slice: Slice,
    ) -> bool {
        let paid = paid_by(domain, slot, hypervisor.now_ns(), slice);
        let queue = self.queue.lock();
        queue
            .best()
            .is_none_or(|best| !best.urgent && paid < best.virtual_ns)
    }

    /// Makes a vCPU pay for the time it ran.
    pub(crate) fn charge<A: Arch>(
        &self,
        domain: &Domain<A>,
        slot: &VcpuSlot<A>,
        now_ns: u64,
        ran_ns: u64,
    ) {
        let paid = slot.virtual_ns.load(Ordering::Relaxed);
        let paid = paid.saturating_add(weighted(domain, ran_ns));
        slot.virtual_ns.store(paid, Ordering::Relaxed);
        cap::charge(domain, slot, now_ns, ran_ns);
    }
}

/// What a running vCPU will have paid if it leaves now; its slice is this one.
fn paid_by<A: Arch>(domain: &Domain<A>, slot: &VcpuSlot<A>, now_ns: u64, slice: Slice) -> u64 {
    let ran = now_ns.saturating_sub(slice.start_ns);
    let paid = slot.virtual_ns.load(Ordering::Relaxed);
    paid.saturating_add(weighted(domain, ran))
}

fn weighted<A: Arch>(domain: &Domain<A>, ns: u64) -> u64 {
    weighted_by(u64::from(domain.weight.load(Ordering::Relaxed)), ns)
}

fn weighted_by(weight: u64, ns: u64) -> u64 {
    let weight = weight.max(1);
    if weight == u64::from(WEIGHT_DEFAULT) {
        return ns;
    }
    ns.saturating_mul(u64::from(WEIGHT_DEFAULT)) / weight
}

fn next_deadline<A: Arch>(
    hypervisor: &Hypervisor<A>,
    queue: &Queue,
    now_ns: u64,
    slice: Slice,
) -> u64 {
    let slice = if slice.is_limit || queue.best().is_some() {
        slice.end_ns
    } else {
        NEVER
    };
    let background = if destroy::is_due(hypervisor) {
        now_ns.saturating_add(BACKGROUND_NS)
    } else {
        NEVER
    };
    queue.next_timer_ns().min(slice).min(background)
}

/// The name of a vCPU in queues.
pub(crate) fn key<A: Arch>(domain: &Domain<A>, slot: &VcpuSlot<A>) -> Key {
    Key {
        domain: domain.id,
        vcpu: slot.index,
    }
}

/// Runs vCPUs on this CPU for ever.
pub fn cpu_loop<A: Arch>(hypervisor: &Hypervisor<A>) -> ! {
    loop {
        turn(hypervisor);
    }
}

/// One turn: takes interrupts, then runs the next vCPU, or waits for an interrupt if there is none.
pub fn turn<A: Arch>(hypervisor: &Hypervisor<A>) {
    let Some(cpu) = hypervisor.this_cpu() else {
        return;
    };
    take_interrupts(hypervisor, cpu);
    announce_log(hypervisor);
    match pick(hypervisor, cpu) {
        Some((domain, index)) => {
            if let Some(slot) = domain.vcpu(index) {
                vcpu::run(hypervisor, cpu, &domain, slot);
            }
        }
        None => idle(hypervisor, cpu),
    }
}

/// Tells Domain-0 of new text in the log.
fn announce_log<A: Arch>(hypervisor: &Hypervisor<A>) {
    if crate::log::take_news()
        && let Some(dom0) = hypervisor.dom0()
    {
        event::send_virq(hypervisor, &dom0, virq::CON_RING, 0);
    }
}

fn pick<A: Arch>(hypervisor: &Hypervisor<A>, cpu: &Cpu) -> Option<(DomainRef<A>, u32)> {
    loop {
        let key = match cpu.take_next() {
            Some(key) => key,
            None => place::steal(hypervisor, cpu)?,
        };
        let Some(domain) = hypervisor.domain(key.domain) else {
            continue;
        };
        let Some(slot) = domain.vcpu(key.vcpu) else {
            continue;
        };
        slot.run_state.leave_queue();
        if !slot.may_run_on(cpu.number) {
            enqueue(hypervisor, &domain, slot);
            continue;
        }
        if domain.held() == 0 && slot.activity() == Activity::Ready {
            place::adopt(hypervisor, cpu, &domain, slot);
            place::share_work(hypervisor, cpu);
            return Some((domain, key.vcpu));
        }
        let _since = slot.queued.end();
    }
}

fn idle<A: Arch>(hypervisor: &Hypervisor<A>, cpu: &Cpu) {
    if destroy::work(hypervisor) {
        return;
    }
    let start = hypervisor.now_ns();
    let at = next_deadline(hypervisor, &cpu.queue.lock(), start, Slice::NONE);
    cpu.set_deadline(hypervisor.host, at);
    hypervisor.host.idle();
    let spent = hypervisor.now_ns().saturating_sub(start);
    cpu.idle_ns.fetch_add(spent, Ordering::Relaxed);
}

/// Makes a vCPU that waits ready; one that runs on another CPU is made to look.
pub fn wake<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, slot: &VcpuSlot<A>) {
    if slot.run_state.wake() {
        enqueue(hypervisor, domain, slot);
        return;
    }
    if let Some(number) = slot.running_on()
        && number != hypervisor.host.cpu()
    {
        hypervisor.host.kick(number);
    }
}

/// Puts a ready vCPU into its CPU's queue, if it is not there.
pub fn enqueue<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, slot: &VcpuSlot<A>) {
    if !slot.run_state.enter_queue() {
        return;
    }
    if cap::parks(hypervisor, domain, slot) {
        return;
    }
    let Some(cpu) = place::choose(hypervisor, domain, slot) else {
        return;
    };
    let now = hypervisor.now_ns();
    slot.queued.begin(now);
    let mut queue = cpu.queue.lock();
    let paid = slot.virtual_ns.load(Ordering::Relaxed);
    let floor = cpu.floor_ns(&queue, now);
    let paid = paid.max(floor.saturating_sub(SLICE_NS));
    slot.virtual_ns.store(paid, Ordering::Relaxed);
    queue.push(Entry {
        key: key(domain, slot),
        virtual_ns: paid,
        urgent: slot.urgent.load(Ordering::Relaxed),
        affinity: slot.affinity(),
    });
    cpu.waiting.store(queue.waiting(), Ordering::Relaxed);
    drop(queue);
    get_attention(hypervisor, cpu);
}

fn get_attention<A: Arch>(hypervisor: &Hypervisor<A>, cpu: &Cpu) {
    cpu.attention.ask();
    if cpu.number as usize != hypervisor.host.cpu() {
        hypervisor.host.kick(cpu.number as usize);
    }
}

/// Makes the CPUs that run a domain's vCPUs look at it.
pub fn interrupt_domain<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    for slot in &domain.vcpus {
        if let Some(cpu) = slot.running_on().and_then(|number| hypervisor.cpu(number)) {
            get_attention(hypervisor, cpu);
        }
    }
}

/// Lets the ready vCPUs of a domain run that nothing holds any more. Timers whose time came meanwhile expire now.
pub fn release_domain<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    for slot in &domain.vcpus {
        let at = slot.singleshot_ns.load(Ordering::Relaxed);
        if at != NEVER {
            set_timer(hypervisor, domain, slot, TimerKind::Singleshot, Some(at));
        }
        // One that is on a CPU is put back by that CPU when it leaves.
        if slot.activity() == Activity::Ready && slot.running_on().is_none() {
            slot.queued.restart(hypervisor.now_ns());
            enqueue(hypervisor, domain, slot);
        }
    }
}

/// Sets where a vCPU may run: a bit for each CPU.
///
/// # Errors
/// `EINVAL`: on none of those that run.
pub fn set_affinity<A: Arch>(
    hypervisor: &Hypervisor<A>,
    slot: &VcpuSlot<A>,
    cpus: u64,
) -> Result<(), Errno> {
    if cpus & all_cpus(hypervisor) == 0 {
        return Err(Errno::EINVAL);
    }
    slot.set_affinity(cpus);
    // Where it runs or waits, it is looked at again.
    let here = slot.running_on().unwrap_or_else(|| slot.home());
    if let Some(cpu) = hypervisor.cpu(here) {
        get_attention(hypervisor, cpu);
    }
    Ok(())
}

/// CPUs that run, a bit for each.
#[must_use]
pub fn all_cpus<A: Arch>(hypervisor: &Hypervisor<A>) -> u64 {
    (1_u64 << hypervisor.cpus.len().min(63)) - 1
}

/// Takes a domain's timers and entries out of all queues.
pub(crate) fn forget_domain<A: Arch>(hypervisor: &Hypervisor<A>, id: DomId) {
    for cpu in &hypervisor.cpus {
        let mut queue = cpu.queue.lock();
        queue.forget(id);
        cpu.waiting.store(queue.waiting(), Ordering::Relaxed);
    }
}

/// When a vCPU that waits goes on in any case, host nanoseconds.
pub fn set_wake<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    at_ns: u64,
) {
    set_timer(hypervisor, domain, slot, TimerKind::Wake, Some(at_ns));
}

/// Sets a vCPU's singleshot timer, host nanoseconds: it is sent `VIRQ_TIMER` then.
pub fn set_singleshot<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    at_ns: Option<u64>,
) {
    slot.singleshot_ns
        .store(at_ns.unwrap_or(NEVER), Ordering::Relaxed);
    set_timer(hypervisor, domain, slot, TimerKind::Singleshot, at_ns);
}

fn set_timer<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    kind: TimerKind,
    at_ns: Option<u64>,
) {
    let Some(cpu) = hypervisor.cpu(slot.home()) else {
        return;
    };
    let at = at_ns.unwrap_or(NEVER);
    cpu.queue.lock().set_timer(key(domain, slot), kind, at);
    if at < cpu.armed_ns.load(Ordering::Relaxed) {
        get_attention(hypervisor, cpu);
    }
}

/// Takes what interrupts this CPU.
pub fn take_interrupts<A: Arch>(hypervisor: &Hypervisor<A>, cpu: &Cpu) {
    for _ in 0..INTERRUPTS_AT_ONCE {
        match hypervisor.host.take_interrupt() {
            None => return,
            Some(HostInterrupt::Timer) => {
                cpu.armed_ns.store(NEVER, Ordering::Relaxed);
                cpu.attention.ask();
                run_timers(hypervisor, cpu);
            }
            Some(HostInterrupt::Kick) => cpu.attention.ask(),
            Some(HostInterrupt::Device(number)) => deliver(hypervisor, number),
        }
    }
}

fn run_timers<A: Arch>(hypervisor: &Hypervisor<A>, cpu: &Cpu) {
    let now = hypervisor.now_ns();
    loop {
        let Some((key, kind)) = cpu.queue.lock().take_due(now) else {
            return;
        };
        let Some(domain) = hypervisor.domain(key.domain) else {
            continue;
        };
        let Some(slot) = domain.vcpu(key.vcpu) else {
            continue;
        };
        match kind {
            TimerKind::Wake => wake(hypervisor, &domain, slot),
            TimerKind::Release => cap::release(hypervisor, &domain, slot),
            TimerKind::Singleshot => expire_singleshot(hypervisor, &domain, slot),
        }
    }
}

/// A singleshot timer's time has come. A domain that is on hold keeps its timers until it goes on
/// ([`release_domain`]): what is saved of it piece by piece is of one moment then.
fn expire_singleshot<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, slot: &VcpuSlot<A>) {
    let expires = || {
        let goes_on = domain.held() == 0;
        if goes_on {
            slot.singleshot_ns.store(NEVER, Ordering::Relaxed);
        }
        goes_on
    };
    if domain.kind != DomainKind::HVM {
        event::send_virq_if(hypervisor, domain, virq::TIMER, slot.index, expires);
    } else if expires() {
        device::alarm(hypervisor, domain);
    }
}

/// A device's interrupt: Domain-0 has all devices, and goes first.
fn deliver<A: Arch>(hypervisor: &Hypervisor<A>, number: u32) {
    let Some(dom0) = hypervisor.dom0() else {
        hypervisor.host.enable_device_interrupt(number, false);
        return;
    };
    let target = match hypervisor.device_ports.of(number) {
        Some(port) => send_device_event(hypervisor, &dom0, port),
        None => dom0.platform.raise(GuestInterrupt::Line {
            number,
            from_machine: true,
        }),
    };
    if let Some(slot) = target.and_then(|vcpu| dom0.vcpu(vcpu)) {
        slot.urgent.store(true, Ordering::Relaxed);
        wake(hypervisor, &dom0, slot);
        promote(hypervisor, &dom0, slot);
    }
}

/// Sends the event that stands for a device's interrupt. Returns the vCPU that looks after it: Domain-0's first.
fn send_device_event<A: Arch>(
    hypervisor: &Hypervisor<A>,
    dom0: &Domain<A>,
    port: u32,
) -> Option<u32> {
    event::send(hypervisor, dom0, port).is_ok().then_some(0)
}

/// Lets a vCPU that is in its queue already go first.
fn promote<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, slot: &VcpuSlot<A>) {
    let Some(cpu) = hypervisor.cpu(slot.home()) else {
        return;
    };
    if cpu.queue.lock().promote(key(domain, slot)) {
        get_attention(hypervisor, cpu);
    }
}

#[cfg(test)]
mod tests;
