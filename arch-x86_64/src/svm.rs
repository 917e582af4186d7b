//! AMD's secure virtual machine (AMD APM, volume 2, chapter 15).
//!
//! The VMCB is where all of a guest CPU's registers are that the hardware switches; the rest is in [`Registers`]. An
//! event whose delivery an exit interrupted is put back before the next entry, unless it was a software interrupt:
//! that instruction is executed again.

pub(crate) mod exit;
pub(crate) mod vmcb;

use hv_abi::record::Kind;
use hv_abi::record::x86::{Cpu, DescriptorTable, Segment};

use crate::control_registers::rflags;
use crate::hw::svm as hw;
use crate::msr::efer;
use crate::npt::NptEntry;
use crate::permissions::{self, Map, Maps, MsrLayout};
use crate::vendor::{
    Control, Event, Flush, Injection, Mode, Register, Registers, Vendor, World, gpr,
};
use vmcb::{EventWord, Intercepts1, Intercepts2, VirtualInterrupt, Vmcb, kind, tlb};

/// See the module.
#[derive(Debug)]
pub struct Svm;

impl Vendor for Svm {
    type Pte = NptEntry;
    type Control = SvmControl;
    const CPU_RECORD: Kind = Kind::SVM_CPU;
    /// VMMCALL.
    const HYPERCALL: [u8; 3] = [0x0F, 0x01, 0xD9];
}

/// In [`Segment::attributes`]: the segment is a 64-bit code segment.
const LONG: u16 = 1 << 9;

/// Two bits for each MSR: read, write. Three ranges of 0x2000 MSRs, 0x800 bytes each ("MSR Intercepts").
pub(crate) static MSRS: Map<0x2000> = permissions::msrs(&MsrLayout {
    stride: 2,
    write: 1,
    high: 0x800 * 8,
});

/// A VMCB.
pub struct SvmControl {
    vmcb: Vmcb,
    /// The VMCB says where the next instruction is.
    has_next_rip: bool,
    /// The guest exits when it would take an interrupt.
    watches: bool,
    /// The vector of an interrupt that is injected as a virtual one: see [`hw::delivers_twice`].
    virtual_vector: Option<u8>,
}

/// Intercepted only while something is waited for, or never.
const ONLY_SOMETIMES: Intercepts1 = Intercepts1::VINTR
    .union(Intercepts1::IRET)
    .union(Intercepts1::PAUSE);

/// #DB and #AC: a guest could make the CPU deliver either without end; handed back to it, they are instructions like
/// others. #MC: the machine's.
const EXCEPTIONS: u32 = 1 << 1 | 1 << 17;

impl Control for SvmControl {
    fn new() -> Self {
        let mut vmcb = Vmcb::new();
        // CR8 stays the guest's: V_TPR is its task priority.
        vmcb.intercept_exceptions = EXCEPTIONS;
        vmcb.intercepts1 = Intercepts1::all().difference(ONLY_SOMETIMES);
        vmcb.intercepts2 = Intercepts2::all();
        vmcb.virtual_interrupt = VirtualInterrupt::new().with_masking(true);
        vmcb.nested_control = 1;
        Self {
            vmcb,
            has_next_rip: false,
            watches: false,
            virtual_vector: None,
        }
    }

    fn load(&mut self, world: &World) {
        self.has_next_rip = hw::has_next_rip();
        let maps = Maps::new(world.hardware, &MSRS);
        let vmcb = &mut self.vmcb;
        vmcb.io_map = maps.io;
        vmcb.msr_map = maps.msr;
        vmcb.tsc_offset = world.tsc_offset;
        vmcb.asid = world.tag;
        vmcb.nested_cr3 = world.stage2.0 << hv_abi::FRAME_SHIFT;
        vmcb.clean = 0;
    }

    fn unload(&mut self) {}

    #[inline]
    fn run(&mut self, registers: &mut Registers, flush: Flush) -> Event {
        let vmcb = &mut self.vmcb;
        vmcb.rax = registers.get(gpr::RAX);
        vmcb.tlb_control = match flush {
            Flush::Nothing => tlb::KEEP,
            Flush::Stage2 | Flush::All => tlb::FLUSH_ALL,
        };
        hw::enter(vmcb, registers);
        registers.set(gpr::RAX, vmcb.rax);
        vmcb.event_injection = EventWord::new();
        let undelivered = vmcb.exit_interrupt_info;
        if undelivered.valid() && undelivered.kind() != kind::SOFTWARE {
            vmcb.event_injection = undelivered;
        }
        if self.virtual_vector.is_some() {
            self.look_at_virtual_interrupt();
        }
        let vmcb = &self.vmcb;
        exit::decode(exit::Fields {
            code: vmcb.exit_code,
            info1: vmcb.exit_info1,
            info2: vmcb.exit_info2,
            rip: vmcb.rip,
        })
    }

    #[inline(always)]
    fn get(&self, register: Register) -> u64 {
        let vmcb = &self.vmcb;
        match register {
            Register::Rip => vmcb.rip,
            Register::Rsp => vmcb.rsp,
            Register::Rflags => vmcb.rflags,
            Register::Cr0 => vmcb.cr0,
            Register::Cr3 => vmcb.cr3,
            Register::Cr4 => vmcb.cr4,
            Register::Efer => vmcb.efer & !efer::SVME,
            Register::Pat => vmcb.guest_pat,
            Register::CsBase => vmcb.cs.base,
        }
    }

    #[inline(always)]
    fn set(&mut self, register: Register, value: u64) {
        let vmcb = &mut self.vmcb;
        match register {
            Register::Rip => vmcb.rip = value,
            Register::Rsp => vmcb.rsp = value,
            Register::Rflags => vmcb.rflags = value,
            Register::Cr0 => vmcb.cr0 = value,
            Register::Cr3 => vmcb.cr3 = value,
            Register::Cr4 => vmcb.cr4 = value,
            Register::Efer => vmcb.efer = value | efer::SVME,
            Register::Pat => vmcb.guest_pat = value,
            Register::CsBase => vmcb.cs.base = value,
        }
    }

    #[inline(always)]
    fn mode(&self) -> Mode {
        let vmcb = &self.vmcb;
        Mode {
            is_64_bit: vmcb.efer & efer::LMA != 0 && vmcb.cs.attributes & LONG != 0,
            privilege: vmcb.cpl,
        }
    }

    #[inline]
    fn instruction_length(&self) -> Option<u64> {
        let length = self.vmcb.next_rip.wrapping_sub(self.vmcb.rip);
        (self.has_next_rip && (1..=15).contains(&length)).then_some(length)
    }

    #[inline]
    fn end_interrupt_shadow(&mut self) {
        self.vmcb.interrupt_shadow &= !1;
    }

    #[inline]
    fn takes_interrupt(&self) -> bool {
        !self.masks_interrupts() && self.vmcb.interrupt_shadow & 1 == 0 && !self.is_injecting()
    }

    #[inline]
    fn masks_interrupts(&self) -> bool {
        self.vmcb.rflags & rflags::IF == 0
    }

    #[inline]
    fn inject(&mut self, event: Injection) {
        match event {
            Injection::Interrupt(vector) if hw::delivers_twice() => {
                self.virtual_vector = Some(vector);
                self.program_virtual_interrupt();
            }
            other => self.vmcb.event_injection = event_word(other),
        }
    }

    #[inline]
    fn is_injecting(&self) -> bool {
        self.vmcb.event_injection.valid() || self.virtual_vector.is_some()
    }

    #[inline]
    fn watch_window(&mut self, watch: bool) {
        self.watches = watch;
        self.program_virtual_interrupt();
    }

    #[inline]
    fn task_priority(&self) -> Option<u8> {
        Some(self.vmcb.virtual_interrupt.tpr() & 0xF)
    }

    fn set_task_priority(&mut self, class: u8) {
        let word = self.vmcb.virtual_interrupt;
        self.vmcb.virtual_interrupt = word.with_tpr(class & 0xF);
    }

    fn save(&self, out: &mut Cpu) {
        save(&self.vmcb, out);
        if let (Some(vector), 0) = (self.virtual_vector, out.event) {
            out.event = event_word(Injection::Interrupt(vector)).into_bits();
        }
    }

    fn restore(&mut self, state: &Cpu) {
        restore(&mut self.vmcb, state);
        self.virtual_vector = None;
        let event = self.vmcb.event_injection;
        if event.valid() && event.kind() == kind::INTERRUPT {
            self.vmcb.event_injection = EventWord::new();
            self.inject(Injection::Interrupt(event.vector()));
        }
        self.program_virtual_interrupt();
    }
}

impl SvmControl {
    /// Tells the VMCB of the interrupt that is injected as a virtual one, or of the one that only serves to watch for when
    /// the guest would take one: it has the highest priority and is never taken, as VINTR exits first. Behind an injected
    /// one, the end of its handler is watched for.
    fn program_virtual_interrupt(&mut self) {
        let watches_window = self.watches && self.virtual_vector.is_none();
        let watches_handler = self.watches && self.virtual_vector.is_some();
        let pending = self.watches || self.virtual_vector.is_some();
        let word = self.vmcb.virtual_interrupt;
        self.vmcb.virtual_interrupt = word
            .with_pending(pending)
            .with_ignores_tpr(pending)
            .with_priority(if pending { 0xF } else { 0 })
            .with_vector(self.virtual_vector.unwrap_or(0));
        let intercepts = &mut self.vmcb.intercepts1;
        intercepts.set(Intercepts1::VINTR, watches_window);
        intercepts.set(Intercepts1::IRET, watches_handler);
    }

    /// After an exit: an injected virtual interrupt was taken, or still is to be. In the second case it may also stand in
    /// EXITINTINFO, as what was being delivered: once is enough.
    #[cold]
    fn look_at_virtual_interrupt(&mut self) {
        if !self.vmcb.virtual_interrupt.pending() {
            self.virtual_vector = None;
            self.program_virtual_interrupt();
        } else if self.vmcb.event_injection.kind() == kind::INTERRUPT {
            self.vmcb.event_injection = EventWord::new();
        }
    }
}

fn event_word(event: Injection) -> EventWord {
    let word = EventWord::new().with_valid(true);
    match event {
        Injection::Interrupt(vector) => word.with_kind(kind::INTERRUPT).with_vector(vector),
        Injection::Nmi => word.with_kind(kind::NMI).with_vector(2),
        Injection::Exception(vector, error) => word
            .with_kind(kind::EXCEPTION)
            .with_vector(vector)
            .with_has_error(error.is_some())
            .with_error(error.unwrap_or(0)),
    }
}

fn table(segment: Segment) -> DescriptorTable {
    DescriptorTable {
        base: segment.base,
        limit: u64::from(segment.limit),
    }
}

fn table_segment(table: DescriptorTable) -> Segment {
    Segment {
        base: table.base,
        limit: table.limit as u32,
        ..Segment::default()
    }
}

fn save(vmcb: &Vmcb, out: &mut Cpu) {
    out.gpr[gpr::RSP] = vmcb.rsp;
    out.rip = vmcb.rip;
    out.rflags = vmcb.rflags;
    out.cr0 = vmcb.cr0;
    out.cr2 = vmcb.cr2;
    out.cr3 = vmcb.cr3;
    out.cr4 = vmcb.cr4;
    out.efer = vmcb.efer & !efer::SVME;
    out.dr6 = vmcb.dr6;
    out.dr7 = vmcb.dr7;
    out.es = vmcb.es;
    out.cs = vmcb.cs;
    out.ss = vmcb.ss;
    out.ds = vmcb.ds;
    out.fs = vmcb.fs;
    out.gs = vmcb.gs;
    out.ldtr = vmcb.ldtr;
    out.tr = vmcb.tr;
    out.gdtr = table(vmcb.gdtr);
    out.idtr = table(vmcb.idtr);
    out.star = vmcb.star;
    out.lstar = vmcb.lstar;
    out.cstar = vmcb.cstar;
    out.sfmask = vmcb.sfmask;
    out.kernel_gs_base = vmcb.kernel_gs_base;
    out.sysenter_cs = vmcb.sysenter_cs;
    out.sysenter_esp = vmcb.sysenter_esp;
    out.sysenter_eip = vmcb.sysenter_eip;
    out.pat = vmcb.guest_pat;
    out.activity |= vmcb.interrupt_shadow & 1;
    out.event = vmcb.event_injection.into_bits();
    // The privilege level is that of SS, whatever its descriptor said.
    out.ss.attributes = out.ss.attributes & !(3 << 5) | u16::from(vmcb.cpl) << 5;
}

fn restore(vmcb: &mut Vmcb, state: &Cpu) {
    vmcb.rsp = state.gpr[gpr::RSP];
    vmcb.rip = state.rip;
    vmcb.rflags = state.rflags;
    vmcb.cr0 = state.cr0;
    vmcb.cr2 = state.cr2;
    vmcb.cr3 = state.cr3;
    vmcb.cr4 = state.cr4;
    vmcb.efer = state.efer | efer::SVME;
    vmcb.dr6 = state.dr6;
    vmcb.dr7 = state.dr7;
    vmcb.es = state.es;
    vmcb.cs = state.cs;
    vmcb.ss = state.ss;
    vmcb.ds = state.ds;
    vmcb.fs = state.fs;
    vmcb.gs = state.gs;
    vmcb.ldtr = state.ldtr;
    vmcb.tr = state.tr;
    vmcb.gdtr = table_segment(state.gdtr);
    vmcb.idtr = table_segment(state.idtr);
    vmcb.star = state.star;
    vmcb.lstar = state.lstar;
    vmcb.cstar = state.cstar;
    vmcb.sfmask = state.sfmask;
    vmcb.kernel_gs_base = state.kernel_gs_base;
    vmcb.sysenter_cs = state.sysenter_cs;
    vmcb.sysenter_esp = state.sysenter_esp;
    vmcb.sysenter_eip = state.sysenter_eip;
    vmcb.guest_pat = state.pat;
    vmcb.interrupt_shadow = state.activity & 1;
    vmcb.event_injection = EventWord::from_bits(state.event);
    vmcb.cpl = (state.ss.attributes >> 5 & 3) as u8;
}
