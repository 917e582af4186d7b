//! A guest CPU.
//!
//! Between `load` and `unload` EL1's registers, floating point, the timers and the CPU interface are in hardware; only
//! X0 to X30, PC and PSTATE are here (in `Context`). What interrupts are in list registers is known by their number:
//! list registers 0 to `lists` are in use.

mod exits;
mod inject;
mod records;
mod registers;
mod timers;

use core::sync::atomic::Ordering;

use hv_abi::control::vcpu::StartContext;
use hv_abi::record::Header;
use hv_abi::record::arm::{Cpu, FloatingPoint, Timer};
use hv_abi::{ARM_HYPERCALL_TAG, Errno};
use hv_common::arch::{self, Exit, Gpa, Mfn, RecordSink, Refusal, RefusalKind, Reply, Taken};
use zerocopy::FromZeros;

use crate::Aarch64;
use crate::exit::{self, Access, Syndrome};
use crate::host::{self, ArmHost};
use crate::hw::lists::Interface;
use crate::hw::world::{Context, Left};
use crate::hw::{cpu, interrupts, lists, tlb, world};
use crate::platform::Platform;
use crate::psci::{self, Question};
use crate::stage2;
use crate::vgic::{Gic, ListRegister, Plan};

/// A guest CPU.
#[repr(C)]
pub struct Vcpu {
    context: Context,
    pending: Pending,
    /// The load or store that waits for its answer: ESR_EL2, FAR_EL2, and its guest-physical address.
    access: Syndrome,
    address: u64,
    index: u32,
    /// List registers in use.
    lists: usize,
    /// What was last decided to be in them.
    plan: Plan,
    /// What `ICH_HCR_EL2` says.
    list_control: u64,
    is_loaded: bool,
    /// The CPU has PSTATE.PAN.
    has_pan: bool,
    /// ESR_EL2 of its hypercalls; 0, which no instruction has, where there are none.
    hypercall: u64,
    /// EL1's registers while not loaded; what is emulated (debug registers), always.
    system: Cpu,
    interface: Interface,
    timer: Timer,
    /// Timers whose interrupt the guest would take, when it left the CPU (bits of [`host::event`]).
    timers_enabled: u32,
    counts: Taken,
    /// The domain's counter offset when it left the CPU.
    offset: u64,
    floating_point: FloatingPoint,
}

/// What the next answer is for.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Nothing,
    Call,
    Access,
    Power(Question),
}

/// What became of an exit.
enum Done {
    /// It is dealt with: the guest goes on.
    GoOn,
    /// It is the load or store in `access`.
    Access,
    /// It is for others to decide.
    Exit(Exit),
}

/// EL1h, all masked.
const PSTATE_AT_RESET: u64 = 0x3C5;
/// SCTLR_EL1: reserved ones; MMU and caches off.
const SCTLR_AT_RESET: u64 = 0x30D0_0800;

impl Vcpu {
    fn new(index: u32, hypercall: u64) -> Self {
        let system = Cpu {
            vmpidr_el2: psci::mpidr_of(index),
            sctlr_el1: SCTLR_AT_RESET,
            ..Cpu::default()
        };
        Self {
            context: Context::default(),
            pending: Pending::Nothing,
            access: Syndrome::default(),
            address: 0,
            index,
            lists: 0,
            plan: Plan::default(),
            list_control: lists::ENABLE,
            is_loaded: false,
            has_pan: false,
            hypercall,
            system,
            interface: Interface::default(),
            timer: Timer::default(),
            timers_enabled: 0,
            counts: Taken::default(),
            offset: 0,
            floating_point: FloatingPoint::new_zeroed(),
        }
    }

    /// Brings list registers and the controller together.
    #[inline]
    fn refill(&mut self, host: &ArmHost, platform: &Platform) {
        self.take_events(host, platform);
        let mut gic = platform.gic();
        let used = self.lists;
        let counted = self.take_counted_ends(&mut gic);
        for number in 0..used {
            let list = lists::read(number);
            count_taken(&mut self.counts, &self.plan, number, list);
            if let Some(over) = gic.fold(self.index, list) {
                interrupts::deactivate(over);
            }
        }
        let plan = &mut self.plan;
        gic.plan_into(self.index, host.lists, plan);
        for (number, list) in plan.lists().iter().enumerate() {
            lists::write(number, *list);
        }
        self.lists = plan.lists().len();
        for number in self.lists..used {
            lists::write(number, ListRegister::new());
        }
        drop(gic);
        let mut control = lists::ENABLE;
        if plan.overflow {
            control |= lists::NOTIFY_UNDERFLOW;
        }
        if plan.active_left_out {
            control |= lists::NOTIFY_UNLISTED_END;
        }
        if control != self.list_control || counted {
            self.list_control = control;
            lists::control(control);
        }
    }

    /// Takes note of what the guest ended that is in no list register: before anything is folded, while it is known what
    /// that is. Returns whether there was something; the count stays until the control register is set again.
    #[inline]
    fn take_counted_ends(&self, gic: &mut Gic) -> bool {
        if self.list_control & lists::NOTIFY_UNLISTED_END == 0 {
            return false;
        }
        let count = lists::unlisted_ends();
        for number in gic.end_unlisted(self.index, count) {
            interrupts::deactivate(number);
        }
        count != 0
    }

    /// Takes what is in list registers back into the controller.
    fn fold(&mut self, platform: &Platform) {
        if self.lists == 0 {
            return;
        }
        let mut gic = platform.gic();
        if self.take_counted_ends(&mut gic) {
            lists::control(self.list_control);
        }
        for number in 0..self.lists {
            let list = lists::read(number);
            count_taken(&mut self.counts, &self.plan, number, list);
            if let Some(over) = gic.fold(self.index, list) {
                interrupts::deactivate(over);
            }
            lists::write(number, ListRegister::new());
        }
        self.lists = 0;
    }

    /// Takes note of what came for this vCPU while the host ran.
    #[inline]
    fn take_events(&mut self, host: &ArmHost, platform: &Platform) {
        let events = &cpu::this().events;
        if events.load(Ordering::Relaxed) == 0 {
            return;
        }
        let events = events.swap(0, Ordering::Relaxed);
        let mut gic = platform.gic();
        if events & host::event::VIRTUAL_TIMER != 0 {
            gic.raise_private_linked(self.index, host::VIRTUAL_TIMER);
        }
        if events & host::event::PHYSICAL_TIMER != 0 {
            gic.raise_private_linked(self.index, host::PHYSICAL_TIMER);
        }
        drop(gic);
        if events & host::event::MAINTENANCE != 0 {
            self.take_counted_ends(&mut platform.gic());
            // What asked for it is off; the list registers are looked at right after.
            lists::control(lists::ENABLE);
            self.list_control = lists::ENABLE;
            interrupts::deactivate(host.maintenance);
        }
    }

    /// An interrupt made the guest stop. `None`: it was the guest's own, and it goes on.
    #[inline(never)]
    fn interrupted(&mut self, host: &ArmHost, platform: &Platform) -> Option<Exit> {
        let number = interrupts::acknowledge()?;
        if number == host::VIRTUAL_TIMER || number == host::PHYSICAL_TIMER {
            interrupts::drop_priority(number);
            platform.gic().raise_private_linked(self.index, number);
            self.refill(host, platform);
            return None;
        }
        if number == host.maintenance {
            interrupts::drop_priority(number);
            self.refill(host, platform);
            interrupts::deactivate(number);
            return None;
        }
        cpu::this()
            .acknowledged
            .store(number + 1, Ordering::Relaxed);
        Some(Exit::Interrupted)
    }

    fn refusal(&self, kind: RefusalKind, what: &'static str, detail: u64, address: u64) -> Refusal {
        Refusal {
            kind,
            what,
            pc: self.context.pc,
            detail,
            address,
        }
    }
}

/// Counts an interrupt that went into a list register pending and is not any more: the guest took it.
#[inline(always)]
fn count_taken(counts: &mut Taken, plan: &Plan, number: usize, now: ListRegister) {
    let planned = plan.lists().get(number);
    let taken = planned.is_some_and(ListRegister::pending) && !now.pending();
    counts.interrupts = counts.interrupts.wrapping_add(u32::from(taken));
}

impl hv_common::arch::Vcpu<Aarch64> for Vcpu {
    fn new(index: u32, platform: &Platform) -> Result<Self, Errno> {
        if index as usize >= crate::vgic::VCPUS {
            return Err(Errno::EINVAL);
        }
        let hypercall = if platform.hypervisor_visible() {
            exit::hvc(ARM_HYPERCALL_TAG)
        } else {
            0
        };
        Ok(Self::new(index, hypercall))
    }

    fn start(&mut self, _: &Platform, context: StartContext) {
        let mut fresh = Self::new(self.index, self.hypercall);
        fresh.context.pc = context.entry;
        fresh.context.pstate = PSTATE_AT_RESET;
        fresh.context.set_register(0, context.argument);
        *self = fresh;
    }

    fn load(&mut self, host: &ArmHost, platform: &Platform, stage2: Mfn, vmid: u16) {
        let offset = platform.offset();
        world::load_domain(stage2::vttbr(stage2, vmid), offset);
        if platform.changes_vcpu(cpu::this().number, self.index) {
            tlb::invalidate_stage1();
        }
        world::load_system(&self.system);
        world::load_floating_point(&self.floating_point);
        lists::load(&self.interface);
        self.list_control = lists::ENABLE;
        self.lists = 0;
        self.load_timers(host, platform, offset);
        self.is_loaded = true;
        self.has_pan = host.has_pan;
        platform.call_attention(self.index);
    }

    fn unload(&mut self, host: &ArmHost, platform: &Platform) {
        self.take_events(host, platform);
        self.fold(platform);
        self.unload_timers(platform);
        self.interface = lists::save();
        world::save_system(&mut self.system);
        world::save_floating_point(&mut self.floating_point);
        self.is_loaded = false;
    }

    #[inline]
    fn run(&mut self, host: &ArmHost, platform: &Platform, reply: Reply) -> Exit {
        self.apply(reply);
        loop {
            if platform.take_attention(self.index)
                || cpu::this().events.load(Ordering::Relaxed) != 0
            {
                self.refill(host, platform);
            }
            let left = world::enter(&mut self.context);
            // The commonest and cheapest exit does not pass where the others are decided.
            if let Some(call) = self.hypercall(left) {
                return call;
            }
            let done = match left {
                Left::Synchronous => self.synchronous(host, platform),
                Left::Interrupt => match self.interrupted(host, platform) {
                    Some(exit) => Done::Exit(exit),
                    None => Done::GoOn,
                },
                Left::SystemError => Done::Exit(Exit::Fault(self.refusal(
                    RefusalKind::Access,
                    "system error",
                    0,
                    0,
                ))),
            };
            match done {
                Done::GoOn => self.counts.exits = self.counts.exits.wrapping_add(1),
                Done::Access => return self.access_exit(),
                Done::Exit(exit) => return exit,
            }
        }
    }

    fn answer(&mut self, reply: Reply) {
        self.apply(reply);
    }

    fn translate(&self, _: &ArmHost, va: u64, access: arch::Access) -> Option<Gpa> {
        world::translate(va, access == arch::Access::Write).map(Gpa)
    }

    fn has_interrupt(&self, platform: &Platform) -> bool {
        self.is_listed_pending()
            || self.has_timer_interrupt(platform)
            || platform.gic().has_deliverable(self.index)
    }

    fn deadline_ns(&self, host: &ArmHost) -> Option<u64> {
        self.next_timer(host)
    }

    #[inline]
    fn pc(&self) -> u64 {
        self.context.pc
    }

    #[inline]
    fn take_counts(&mut self) -> Taken {
        core::mem::take(&mut self.counts)
    }

    fn save(&self, platform: &Platform, nth: usize, out: &mut dyn RecordSink) -> Option<()> {
        self.save_record(platform, nth, out)
    }

    fn restore(&mut self, platform: &Platform, header: &Header, body: &[u8]) -> Result<(), Errno> {
        self.restore_record(platform, header, body)
    }
}

impl Vcpu {
    fn is_listed_pending(&self) -> bool {
        self.is_loaded && (0..self.lists).any(|number| lists::read(number).pending())
    }

    /// Applies the answer to the last exit.
    #[inline(always)]
    fn apply(&mut self, reply: Reply) {
        match core::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::Call => self.answer_call(reply),
            Pending::Access => self.answer_access(reply),
            Pending::Power(question) => self.answer_power(question, reply),
        }
    }

    #[inline(always)]
    fn answer_access(&mut self, reply: Reply) {
        let Syndrome { esr, far, .. } = self.access;
        match reply {
            Reply::Loaded(value) => {
                let access = Access::from_bits(esr);
                self.context
                    .set_register(access.target(), access.extend(value));
            }
            Reply::Abort => return self.inject_abort(esr, far),
            Reply::Resume | Reply::Returned(_) | Reply::Again(_) => {}
        }
        self.skip(esr);
    }

    #[inline(always)]
    fn answer_call(&mut self, reply: Reply) {
        match reply {
            Reply::Returned(value) => self.context.x[0] = value,
            Reply::Again(args) => {
                for (register, value) in self.context.x.iter_mut().zip(args) {
                    *register = value;
                }
                self.context.pc = self.context.pc.wrapping_sub(4);
            }
            Reply::Resume | Reply::Loaded(_) | Reply::Abort => {}
        }
    }

    fn answer_power(&mut self, question: Question, reply: Reply) {
        if let Reply::Returned(value) = reply {
            self.context.x[0] = psci::translate(question, value);
        }
    }

    /// Goes on after an emulated instruction.
    #[inline]
    fn skip(&mut self, esr: u64) {
        let syndrome = Syndrome {
            esr,
            ..Syndrome::default()
        };
        self.context.pc = self.context.pc.wrapping_add(syndrome.instruction_length());
    }
}
