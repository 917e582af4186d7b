//! A vCPU's stay on a CPU: the loop over its exits, and where it goes after them.

use core::cell::Cell;
use core::sync::atomic::Ordering;

use hv_abi::Errno;
use hv_abi::control::domain::ShutdownReason;
use hv_abi::control::vcpu::StartContext;
use hv_abi::xen::vcpu::runstate;

use super::run_state::{Activity, Waited};
use super::usage::count;
use super::{NOT_POLLING, VcpuSlot};
use crate::arch::{Arch, Exit, Gpa, Power, Refusal, RefusalKind, Reply, Vcpu, cpu_on};
use crate::device;
use crate::domain::{self, DomainRef};
use crate::event;
use crate::hypercall::{self, After, CallContext, Outcome};
use crate::hypervisor::Hypervisor;
use crate::lock;
use crate::sched::{self, Cpu, Slice};

/// What happens after an exit.
enum Step {
    /// It goes on with this answer.
    Go(Reply),
    /// It leaves the CPU with this answer due, still ready.
    Yield(Reply),
    /// It leaves the CPU with this answer due, unless what it waits for is there already.
    Block(Reply, Wait),
    /// It switched itself off.
    Off,
}

/// What a vCPU waits for.
#[derive(Clone, Copy)]
struct Wait {
    /// It goes on for events that are pending, whether or not they come as an interrupt.
    events: bool,
    /// Host time at which it goes on in any case.
    until_ns: Option<u64>,
}

impl Wait {
    const INTERRUPT: Self = Self {
        events: false,
        until_ns: None,
    };
}

/// Why it left the CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Ready,
    Blocked { until_ns: Option<u64> },
    Off,
}

/// A vCPU on a CPU.
struct Stay<'a, A: Arch> {
    hypervisor: &'a Hypervisor<A>,
    cpu: &'a Cpu,
    domain: &'a DomainRef<A>,
    slot: &'a VcpuSlot<A>,
    slice: Slice,
    /// It cannot go on, and its domain with it. Not a variant of [`Step`], which every exit goes through: one more made
    /// each of them 46 instructions longer, for what happens once in the life of a domain.
    has_crashed: Cell<bool>,
}

/// Runs a vCPU that was picked until it waits, is switched off or has to give way, and puts it where it belongs then.
pub fn run<A: Arch>(
    hypervisor: &Hypervisor<A>,
    cpu: &Cpu,
    domain: &DomainRef<A>,
    slot: &VcpuSlot<A>,
) {
    let Some(mut registers) = slot.registers() else {
        // A control call looks at it for a moment: it goes to the queue's end and is tried again.
        // Or it has not left its last CPU yet.
        sched::enqueue(hypervisor, domain, slot);
        lock::give_way();
        return;
    };
    let now = hypervisor.now_ns();
    slot.run_state.arrive(cpu.number());
    slot.urgent.store(false, Ordering::Relaxed);
    slot.polling.store(NOT_POLLING, Ordering::Relaxed);
    let queued_ns = slot.runstate.arrive(slot.queued.end(), now);
    slot.counters.note_run(queued_ns);
    hypercall::vcpu::publish_runstate(hypervisor, domain, slot);
    let stay = Stay {
        hypervisor,
        cpu,
        domain,
        slot,
        slice: Slice::of(domain, now),
        has_crashed: Cell::new(false),
    };
    cpu.begin(hypervisor, domain, slot, stay.slice);
    let host = hypervisor.host;
    registers.load(host, &domain.platform, domain.root, domain.vmid);
    let leave = stay.run(&mut registers);
    registers.unload(host, &domain.platform);
    if stay.has_crashed.get() {
        let (domid, index) = (domain.id.0, slot.index);
        registers.describe(&mut |line| log::error!("d{domid}v{index}: {line}"));
    }
    slot.counters.pc.store(registers.pc(), Ordering::Relaxed);
    slot.counters.take(registers.take_counts());
    let end = hypervisor.now_ns();
    cpu.charge(domain, slot, end, end.saturating_sub(now));
    cpu.end(slot);
    stay.note_end(&registers, leave, end);
    drop(registers);
    slot.run_state.leave(cpu.number());
    if leave == Leave::Ready {
        sched::enqueue(hypervisor, domain, slot);
    }
}

fn earliest(first: Option<u64>, second: Option<u64>) -> Option<u64> {
    first.into_iter().chain(second).min()
}

impl<A: Arch> Stay<'_, A> {
    /// Notes what the vCPU does from now on. While nobody else can run it: another CPU may be waiting to, and what that
    /// one notes must not be undone here.
    #[inline(always)]
    fn note_end(&self, registers: &A::Vcpu, leave: Leave, now: u64) {
        let state = match leave {
            Leave::Ready if self.slot.is_online() && self.domain.held() == 0 => runstate::RUNNABLE,
            Leave::Blocked { .. } => runstate::BLOCKED,
            Leave::Ready | Leave::Off => runstate::OFFLINE,
        };
        self.slot.runstate.enter(state, now);
        if let Leave::Blocked { until_ns } = leave {
            // It has none from before: that was taken away when it came.
            if let Some(at) = earliest(until_ns, registers.deadline_ns(self.hypervisor.host)) {
                sched::set_wake(self.hypervisor, self.domain, self.slot, at);
            }
        }
    }

    #[inline(never)]
    fn run(&self, registers: &mut A::Vcpu) -> Leave {
        let host = self.hypervisor.host;
        let mut reply = Reply::Resume;
        if self.domain.held() != 0 {
            return Leave::Ready;
        }
        loop {
            let exit = registers.run(host, &self.domain.platform, reply);
            // The commonest goes first and straight; the rest is out of its way.
            let step = match &exit {
                Exit::Call { number, args } => self.call(registers, *number, args),
                Exit::Load { gpa, size } => self.load(registers, *gpa, *size),
                Exit::Store { gpa, size, value } => self.store(registers, *gpa, *size, *value),
                other => self.serve(registers, other),
            };
            reply = match step {
                Step::Go(reply) if !self.cpu.wants_attention() => reply,
                Step::Go(reply) if self.goes_on() => reply,
                Step::Yield(reply) if self.would_come_back() => reply,
                Step::Go(reply) | Step::Yield(reply) => {
                    finish(registers, reply);
                    return Leave::Ready;
                }
                Step::Block(reply, wait) => match self.block(registers, wait) {
                    None => reply,
                    Some(leave) => {
                        finish(registers, reply);
                        return leave;
                    }
                },
                Step::Off => return Leave::Off,
            };
        }
    }

    #[inline(never)]
    fn serve(&self, registers: &mut A::Vcpu, exit: &Exit) -> Step {
        let counters = &self.slot.counters;
        match *exit {
            Exit::Call { number, ref args } => self.call(registers, number, args),
            Exit::Interrupted => {
                count(&counters.interrupted);
                // One that is alone on its CPU does not leave it for long.
                counters.take(registers.take_counts());
                sched::take_interrupts(self.hypervisor, self.cpu);
                Step::Go(Reply::Resume)
            }
            Exit::Idle => {
                count(&counters.idle);
                Step::Block(Reply::Resume, Wait::INTERRUPT)
            }
            Exit::Wake { vcpus } => {
                count(&counters.ipis);
                self.wake(vcpus);
                Step::Go(Reply::Resume)
            }
            Exit::Load { gpa, size } => self.load(registers, gpa, size),
            Exit::Store { gpa, size, value } => self.store(registers, gpa, size, value),
            Exit::Power(power) => {
                count(&counters.power);
                self.power(power)
            }
            Exit::Refused(refusal) => {
                count(&counters.refused);
                domain::refuse(self.domain, self.slot.index, &refusal);
                Step::Go(Reply::Resume)
            }
            Exit::Fault(refusal) => {
                count(&counters.refused);
                domain::crash(self.hypervisor, self.domain, self.slot.index, &refusal);
                self.has_crashed.set(true);
                Step::Yield(Reply::Resume)
            }
        }
    }

    #[inline(always)]
    fn call(&self, registers: &A::Vcpu, number: u64, args: &[u64; 5]) -> Step {
        count(&self.slot.counters.hypercalls);
        let mut context = CallContext::new(self.hypervisor, self.domain, self.slot, registers);
        let reply = match hypercall::dispatch(&mut context, number, args) {
            Outcome::Done(Ok(value)) => Reply::Returned(value),
            Outcome::Done(Err(errno)) => {
                self.refuse_call(errno, registers, number, args);
                Reply::Returned(errno.to_return_value())
            }
            Outcome::Again(args) => Reply::Again(args),
        };
        match context.after {
            After::Resume => Step::Go(reply),
            After::Yield => Step::Yield(reply),
            After::Block { until_ns } => Step::Block(
                reply,
                Wait {
                    events: true,
                    until_ns,
                },
            ),
        }
    }

    /// Counts a call that failed as no call of a sound guest does.
    #[inline(never)]
    fn refuse_call(&self, errno: Errno, registers: &A::Vcpu, number: u64, args: &[u64; 5]) {
        let (kind, what) = match errno {
            Errno::ENOSYS => (RefusalKind::Call, "call not offered"),
            Errno::EPERM => (RefusalKind::Call, "call not allowed"),
            Errno::EFAULT => (RefusalKind::Pointer, "call with a bad pointer"),
            _ => return,
        };
        self.refuse(kind, what, registers, number, args[0]);
    }

    fn refuse(
        &self,
        kind: RefusalKind,
        what: &'static str,
        registers: &A::Vcpu,
        detail: u64,
        address: u64,
    ) {
        let refusal = Refusal {
            kind,
            what,
            pc: registers.pc(),
            detail,
            address,
        };
        domain::refuse(self.domain, self.slot.index, &refusal);
    }

    #[inline(always)]
    fn load(&self, registers: &A::Vcpu, gpa: Gpa, size: u8) -> Step {
        count(&self.slot.counters.accesses);
        match device::load(self.hypervisor, self.domain, gpa) {
            Some(value) => Step::Go(Reply::Loaded(value)),
            None => self.refuse_access("load", registers, gpa.0, size),
        }
    }

    #[inline(always)]
    fn store(&self, registers: &A::Vcpu, gpa: Gpa, size: u8, value: u64) -> Step {
        count(&self.slot.counters.accesses);
        match device::store(self.hypervisor, self.domain, gpa, value) {
            Some(()) => Step::Go(Reply::Resume),
            None => self.refuse_access("store", registers, gpa.0, size),
        }
    }

    #[cold]
    fn refuse_access(
        &self,
        what: &'static str,
        registers: &A::Vcpu,
        address: u64,
        size: u8,
    ) -> Step {
        let kind = RefusalKind::Access;
        self.refuse(kind, what, registers, u64::from(size), address);
        Step::Go(Reply::Abort)
    }

    fn wake(&self, mut vcpus: u64) {
        while vcpus != 0 {
            domain::wake(self.hypervisor, self.domain, vcpus.trailing_zeros());
            vcpus &= vcpus - 1;
        }
    }

    fn power(&self, power: Power) -> Step {
        let answer = match power {
            Power::CpuOn { vcpu, context } => self.cpu_on(vcpu, context),
            Power::IsOn { vcpu } => self
                .domain
                .vcpu(vcpu)
                .map_or(u64::MAX, |slot| u64::from(slot.is_up())),
            Power::CpuOff => {
                self.slot.set_activity(Activity::Off);
                return Step::Off;
            }
            Power::SystemOff => return self.shut_down(ShutdownReason::POWEROFF),
            Power::SystemReset => return self.shut_down(ShutdownReason::REBOOT),
        };
        Step::Go(Reply::Returned(answer))
    }

    fn shut_down(&self, reason: ShutdownReason) -> Step {
        domain::shutdown(self.hypervisor, self.domain, reason);
        Step::Yield(Reply::Resume)
    }

    fn cpu_on(&self, vcpu: u32, context: StartContext) -> u64 {
        let Some(slot) = self.domain.vcpu(vcpu) else {
            return cpu_on::UNKNOWN;
        };
        // Its registers are open to us once it has left its CPU after switching off.
        match slot.registers() {
            Some(mut registers) if !slot.is_online() => {
                registers.start(&self.domain.platform, context);
            }
            _ => return cpu_on::ALREADY_ON,
        }
        if !slot.change_activity(Activity::Off, Activity::Ready) {
            return cpu_on::ALREADY_ON;
        }
        slot.has_context.store(true, Ordering::Relaxed);
        sched::enqueue(self.hypervisor, self.domain, slot);
        cpu_on::DONE
    }

    /// Looks at what wants the CPU. Returns whether the vCPU stays on it.
    fn goes_on(&self) -> bool {
        self.domain.held() == 0
            && self.slot.is_online()
            && self
                .cpu
                .keeps(self.hypervisor, self.domain, self.slot, self.slice)
    }

    /// Whether giving way would only bring it back: it does not leave the CPU for that.
    fn would_come_back(&self) -> bool {
        !self.cpu.wants_attention()
            && self.domain.held() == 0
            && self.slot.is_online()
            && self
                .cpu
                .would_pick(self.hypervisor, self.domain, self.slot, self.slice)
    }

    /// Publishes that it waits, and looks again. `None`: it goes on.
    fn block(&self, registers: &A::Vcpu, wait: Wait) -> Option<Leave> {
        let leave = Some(Leave::Blocked {
            until_ns: wait.until_ns,
        });
        let is_over = || self.is_over(registers, wait);
        match self.slot.run_state.wait(is_over) {
            Waited::GoesOn => {}
            // In the second case it comes back from the queue.
            Waited::Waits | Waited::WasWoken => return leave,
            Waited::IsOff => return Some(Leave::Off),
        }
        self.slot.polling.store(NOT_POLLING, Ordering::Relaxed);
        if self.cpu.wants_attention() && !self.goes_on() {
            return Some(Leave::Ready);
        }
        None
    }

    fn is_over(&self, registers: &A::Vcpu, wait: Wait) -> bool {
        let polls = self.slot.polling.load(Ordering::SeqCst) != NOT_POLLING;
        let (hypervisor, index) = (self.hypervisor, self.slot.index);
        let arrived = if polls {
            event::is_poll_over(hypervisor, self.domain, index)
        } else {
            registers.has_interrupt(&self.domain.platform)
                || wait.events && event::is_pending(hypervisor, self.domain, index)
        };
        arrived || wait.until_ns.is_some_and(|at| at <= hypervisor.now_ns())
    }
}

/// Applies an answer that is due to a vCPU that leaves.
fn finish<A: Arch, V: Vcpu<A>>(registers: &mut V, reply: Reply) {
    if reply != Reply::Resume {
        registers.answer(reply);
    }
}
