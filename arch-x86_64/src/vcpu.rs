//! A guest CPU, the same for both vendors.
//!
//! Between `load` and `unload` extended state, debug registers 0 to 3 and TSC_AUX are in hardware, and what the vendor's
//! control structure holds is in it; the general registers are here.
//!
//! Interrupts are requested by anybody ([`crate::platform::Requests`]) and put in by the vCPU itself before it enters the
//! guest. If the guest does not take one now, it exits when it would.

mod code;
mod exits;
mod fuzz;
mod interrupts;
mod machine_state;
mod msrs;
mod records;
mod trail;

use hv_abi::Errno;
use hv_abi::control::vcpu::StartContext;
use hv_abi::record::Header;
use hv_abi::record::x86::Cpu;
use hv_common::arch::{self, Exit, Gpa, Mfn, RecordSink, Refusal, RefusalKind, Reply, Taken};

use crate::X86;
use crate::apic::{Apic, Now};
use crate::host::X86Host;
use crate::hw::extended::ExtendedState;
use crate::hw::{debug, extended, msr as hw_msr, timer, tlb};
use crate::platform::{Platform, VCPUS};
use crate::vendor::{Control, Event, Registers, Vendor, World, gpr};
use code::Code;
pub use fuzz::fuzz_vcpu_state;
use machine_state::{after_reset, at_pvh_entry, at_startup};
use trail::Trail;

/// A guest CPU.
#[repr(C)]
pub struct Vcpu<V: Vendor> {
    control: V::Control,
    extended: ExtendedState,
    registers: Registers,
    pending: Pending,
    index: u32,
    /// Something is requested that could not be put in yet.
    is_asked: bool,
    /// The guest exits when it would take an interrupt.
    watches: bool,
    is_loaded: bool,
    /// Its registers were set from outside.
    is_new: bool,
    /// Where it is when it is not loaded.
    pc: u64,
    apic: Apic,
    dr: [u64; 4],
    xcr0: u64,
    tsc_aux: u64,
    tag: tlb::Tag,
    stage2: Mfn,
    tsc_offset: u64,
    code: Code,
    trail: Trail,
    counts: Taken,
}

/// What the next answer is for.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Nothing,
    /// A hypercall, made at this address.
    Call(u64),
    /// A request about power, which answers nothing.
    Power,
}

/// What became of an exit.
enum Done {
    /// It is dealt with: the guest goes on.
    GoOn,
    /// It is for others to decide.
    Exit(Exit),
}

impl<V: Vendor> Vcpu<V> {
    fn after_reset(index: u32) -> Self {
        let mut vcpu = Self {
            control: V::Control::new(),
            extended: ExtendedState::INITIAL,
            registers: Registers::default(),
            pending: Pending::Nothing,
            index,
            is_asked: false,
            watches: false,
            is_loaded: false,
            is_new: true,
            pc: 0,
            apic: Apic::new(index),
            dr: [0; 4],
            xcr0: 1,
            tsc_aux: 0,
            tag: tlb::Tag::NONE,
            stage2: Mfn(0),
            tsc_offset: 0,
            code: Code::default(),
            trail: Trail::default(),
            counts: Taken::default(),
        };
        vcpu.set_state(&after_reset());
        vcpu
    }

    /// Sets all registers. Only while not loaded.
    fn set_state(&mut self, state: &Cpu) {
        self.registers = Registers(state.gpr);
        self.dr = state.dr;
        self.xcr0 = state.xcr0;
        self.tsc_aux = state.tsc_aux;
        self.pc = state.rip;
        self.is_new = true;
        self.control.restore(state);
    }

    /// Starts it anew with these registers.
    fn restart(&mut self, state: &Cpu) {
        self.pending = Pending::Nothing;
        self.is_asked = true;
        self.extended = ExtendedState::INITIAL;
        self.apic = Apic::new(self.index);
        self.set_state(state);
    }

    fn now(&self, host: &X86Host) -> Now {
        Now {
            tsc: timer::now_ticks().wrapping_add(self.tsc_offset),
            tsc_hz: host.clock.hz(),
        }
    }

    #[inline]
    fn rip(&self) -> u64 {
        self.control.get(crate::vendor::Register::Rip)
    }

    fn refusal(&self, kind: RefusalKind, what: &'static str, detail: u64, address: u64) -> Refusal {
        Refusal {
            kind,
            what,
            pc: self.rip(),
            detail,
            address,
        }
    }

    /// Applies the answer to the last exit.
    #[inline(always)]
    fn apply(&mut self, reply: Reply) {
        match core::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing | Pending::Power => {}
            Pending::Call(at) => self.answer_call(reply, at),
        }
    }

    #[inline(always)]
    fn answer_call(&mut self, reply: Reply, at: u64) {
        match reply {
            Reply::Returned(value) => self.registers.set(gpr::RAX, value),
            Reply::Again(args) => {
                for (register, value) in ARGUMENTS.into_iter().zip(args) {
                    self.registers.set(register, value);
                }
                self.control.set(crate::vendor::Register::Rip, at);
            }
            Reply::Resume | Reply::Loaded(_) | Reply::Abort => {}
        }
    }
}

/// Registers of a hypercall's arguments.
const ARGUMENTS: [usize; 5] = [gpr::RDI, gpr::RSI, gpr::RDX, gpr::R10, gpr::R8];

impl<V: Vendor> hv_common::arch::Vcpu<X86<V>> for Vcpu<V> {
    fn new(index: u32, _: &Platform) -> Result<Self, Errno> {
        if index as usize >= VCPUS {
            return Err(Errno::EINVAL);
        }
        Ok(Self::after_reset(index))
    }

    fn start(&mut self, platform: &Platform, context: StartContext) {
        platform.requests(self.index).forget();
        if context.entry & StartContext::REAL_MODE != 0 {
            self.restart(&at_startup(context.entry & !StartContext::REAL_MODE));
        } else {
            self.restart(&at_pvh_entry(context.entry, context.argument));
        }
    }

    fn load(&mut self, host: &X86Host, platform: &Platform, stage2: Mfn, _: u16) {
        self.tsc_offset = platform.offset().wrapping_neg();
        self.stage2 = stage2;
        self.tag = tlb::tag_for(self.tag);
        self.control.load(&World {
            stage2,
            tag: self.tag.number,
            tsc_offset: self.tsc_offset,
            hardware: platform.hardware,
        });
        if core::mem::replace(&mut self.is_new, false) {
            self.load_page_pointers(host);
        }
        extended::load(&self.extended, self.xcr0);
        debug::load(&self.dr);
        hw_msr::write_tsc_aux(self.tsc_aux);
        self.is_loaded = true;
        self.is_asked = true;
        self.set_timer(host);
    }

    fn unload(&mut self, _: &X86Host, _: &Platform) {
        timer::set_guest_deadline(None);
        extended::save(&mut self.extended, &mut self.xcr0);
        debug::save(&mut self.dr);
        self.pc = self.rip();
        self.control.unload();
        self.is_loaded = false;
    }

    #[inline]
    fn run(&mut self, host: &X86Host, platform: &Platform, reply: Reply) -> Exit {
        self.apply(reply);
        let requests = platform.requests(self.index);
        loop {
            if (requests.take_attention() || self.is_asked)
                && let Some(exit) = self.deliver(host, platform)
            {
                return exit;
            }
            let flush = tlb::enter(self.stage2);
            let event = self.control.run(&mut self.registers, flush);
            tlb::leave();
            // The commonest goes straight.
            let done = match event {
                Event::Hypercall => self.hypercall(host),
                other => self.serve(host, platform, other),
            };
            match done {
                Done::GoOn => self.counts.exits = self.counts.exits.wrapping_add(1),
                Done::Exit(exit) => return exit,
            }
        }
    }

    fn answer(&mut self, reply: Reply) {
        self.apply(reply);
    }

    fn translate(&self, host: &X86Host, va: u64, access: arch::Access) -> Option<Gpa> {
        self.translate_linear(host, va, access)
    }

    fn has_interrupt(&self, platform: &Platform) -> bool {
        self.would_take(platform)
    }

    fn deadline_ns(&self, host: &X86Host) -> Option<u64> {
        let guest_tsc = self.apic.deadline()?;
        let machine_tsc = interrupts::machine_tsc(guest_tsc, self.tsc_offset);
        Some(host.clock.deadline_ns(machine_tsc))
    }

    #[inline]
    fn pc(&self) -> u64 {
        if self.is_loaded { self.rip() } else { self.pc }
    }

    #[inline]
    fn take_counts(&mut self) -> Taken {
        core::mem::take(&mut self.counts)
    }

    fn describe(&self, line: &mut dyn FnMut(core::fmt::Arguments<'_>)) {
        self.describe_state(line);
    }

    fn initialise(&mut self, context: &[u8]) -> Result<(), Errno> {
        let state = machine_state::from_hvm_context(context)?;
        self.restart(&state);
        Ok(())
    }

    fn save(&self, platform: &Platform, nth: usize, out: &mut dyn RecordSink) -> Option<()> {
        self.save_record(platform, nth, out)
    }

    fn restore(&mut self, platform: &Platform, header: &Header, body: &[u8]) -> Result<(), Errno> {
        self.restore_record(platform, header, body)
    }
}
