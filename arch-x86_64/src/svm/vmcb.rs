//! The VMCB (AMD APM, volume 2, appendix B).

use bitfield_struct::bitfield;
use bitflags::bitflags;
use hv_abi::record::x86::Segment;

bitflags! {
    /// Intercepts at offset 0xC.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    #[repr(transparent)]
    pub(crate) struct Intercepts1: u32 {
        const INTR = 1 << 0;
        const NMI = 1 << 1;
        const SMI = 1 << 2;
        const INIT = 1 << 3;
        const VINTR = 1 << 4;
        const RDPMC = 1 << 15;
        const CPUID = 1 << 18;
        const IRET = 1 << 20;
        const INVD = 1 << 22;
        const PAUSE = 1 << 23;
        const HLT = 1 << 24;
        const INVLPGA = 1 << 26;
        const IO = 1 << 27;
        const MSR = 1 << 28;
        const TASK_SWITCH = 1 << 29;
        const FERR_FREEZE = 1 << 30;
        const SHUTDOWN = 1 << 31;
    }
}

bitflags! {
    /// Intercepts at offset 0x10.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    #[repr(transparent)]
    pub(crate) struct Intercepts2: u32 {
        const VMRUN = 1 << 0;
        const VMMCALL = 1 << 1;
        const VMLOAD = 1 << 2;
        const VMSAVE = 1 << 3;
        const STGI = 1 << 4;
        const CLGI = 1 << 5;
        const SKINIT = 1 << 6;
        const WBINVD = 1 << 9;
        const MONITOR = 1 << 10;
        const MWAIT = 1 << 11;
        const MWAIT_ARMED = 1 << 12;
        const XSETBV = 1 << 13;
        const RDPRU = 1 << 14;
    }
}

/// The word at offset 0x60.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(crate) struct VirtualInterrupt {
    pub(crate) tpr: u8,
    pub(crate) pending: bool,
    pub(crate) global: bool,
    #[bits(6)]
    __: u8,
    #[bits(4)]
    pub(crate) priority: u8,
    pub(crate) ignores_tpr: bool,
    #[bits(3)]
    __: u8,
    /// The guest's IF and CR8 concern the guest's interrupts only.
    pub(crate) masking: bool,
    #[bits(7)]
    __: u8,
    pub(crate) vector: u8,
    #[bits(24)]
    __: u32,
}

/// EVENTINJ and EXITINTINFO.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(crate) struct EventWord {
    pub(crate) vector: u8,
    #[bits(3)]
    pub(crate) kind: u8,
    pub(crate) has_error: bool,
    #[bits(19)]
    __: u32,
    pub(crate) valid: bool,
    pub(crate) error: u32,
}

/// Kinds of [`EventWord`].
pub(crate) mod kind {
    pub(crate) const INTERRUPT: u8 = 0;
    pub(crate) const NMI: u8 = 2;
    pub(crate) const EXCEPTION: u8 = 3;
    pub(crate) const SOFTWARE: u8 = 4;
}

/// What [`Vmcb::tlb_control`] says.
pub(crate) mod tlb {
    pub(crate) const KEEP: u8 = 0;
    pub(crate) const FLUSH_ALL: u8 = 1;
}

/// A VMCB.
#[repr(C, align(4096))]
pub(crate) struct Vmcb {
    pub(crate) intercept_control_registers: u32,
    pub(crate) intercept_debug_registers: u32,
    pub(crate) intercept_exceptions: u32,
    pub(crate) intercepts1: Intercepts1,
    pub(crate) intercepts2: Intercepts2,
    pub(crate) intercepts3: u32,
    __018: [u8; 0x24],
    pub(crate) pause_filter: u32,
    pub(crate) io_map: u64,
    pub(crate) msr_map: u64,
    pub(crate) tsc_offset: u64,
    pub(crate) asid: u32,
    pub(crate) tlb_control: u8,
    __05d: [u8; 3],
    pub(crate) virtual_interrupt: VirtualInterrupt,
    /// Bit 0.
    pub(crate) interrupt_shadow: u64,
    pub(crate) exit_code: u64,
    pub(crate) exit_info1: u64,
    pub(crate) exit_info2: u64,
    pub(crate) exit_interrupt_info: EventWord,
    /// Bit 0: nested paging.
    pub(crate) nested_control: u64,
    __098: [u8; 0x10],
    pub(crate) event_injection: EventWord,
    pub(crate) nested_cr3: u64,
    pub(crate) lbr_control: u64,
    pub(crate) clean: u64,
    pub(crate) next_rip: u64,
    pub(crate) fetched: u8,
    pub(crate) instruction: [u8; 15],
    __0e0: [u8; 0x320],
    pub(crate) es: Segment,
    pub(crate) cs: Segment,
    pub(crate) ss: Segment,
    pub(crate) ds: Segment,
    pub(crate) fs: Segment,
    pub(crate) gs: Segment,
    pub(crate) gdtr: Segment,
    pub(crate) ldtr: Segment,
    pub(crate) idtr: Segment,
    pub(crate) tr: Segment,
    __4a0: [u8; 0x2B],
    pub(crate) cpl: u8,
    __4cc: [u8; 4],
    pub(crate) efer: u64,
    __4d8: [u8; 0x70],
    pub(crate) cr4: u64,
    pub(crate) cr3: u64,
    pub(crate) cr0: u64,
    pub(crate) dr7: u64,
    pub(crate) dr6: u64,
    pub(crate) rflags: u64,
    pub(crate) rip: u64,
    __580: [u8; 0x58],
    pub(crate) rsp: u64,
    __5e0: [u8; 0x18],
    pub(crate) rax: u64,
    pub(crate) star: u64,
    pub(crate) lstar: u64,
    pub(crate) cstar: u64,
    pub(crate) sfmask: u64,
    pub(crate) kernel_gs_base: u64,
    pub(crate) sysenter_cs: u64,
    pub(crate) sysenter_esp: u64,
    pub(crate) sysenter_eip: u64,
    pub(crate) cr2: u64,
    __648: [u8; 0x20],
    pub(crate) guest_pat: u64,
    __670: [u8; 0x990],
}

const _: () = assert!(size_of::<Vmcb>() == 4096);
const _: () = assert!(core::mem::offset_of!(Vmcb, pause_filter) == 0x3C);
const _: () = assert!(core::mem::offset_of!(Vmcb, virtual_interrupt) == 0x60);
const _: () = assert!(core::mem::offset_of!(Vmcb, event_injection) == 0xA8);
const _: () = assert!(core::mem::offset_of!(Vmcb, next_rip) == 0xC8);
const _: () = assert!(core::mem::offset_of!(Vmcb, es) == 0x400);
const _: () = assert!(core::mem::offset_of!(Vmcb, cpl) == 0x4CB);
const _: () = assert!(core::mem::offset_of!(Vmcb, efer) == 0x4D0);
const _: () = assert!(core::mem::offset_of!(Vmcb, cr4) == 0x548);
const _: () = assert!(core::mem::offset_of!(Vmcb, rip) == 0x578);
const _: () = assert!(core::mem::offset_of!(Vmcb, rsp) == 0x5D8);
const _: () = assert!(core::mem::offset_of!(Vmcb, rax) == 0x5F8);
const _: () = assert!(core::mem::offset_of!(Vmcb, cr2) == 0x640);
const _: () = assert!(core::mem::offset_of!(Vmcb, guest_pat) == 0x668);

impl Vmcb {
    /// One with nothing in it.
    pub(crate) const fn new() -> Self {
        const NONE: Segment = Segment {
            selector: 0,
            attributes: 0,
            limit: 0,
            base: 0,
        };
        Self {
            intercept_control_registers: 0,
            intercept_debug_registers: 0,
            intercept_exceptions: 0,
            intercepts1: Intercepts1::empty(),
            intercepts2: Intercepts2::empty(),
            intercepts3: 0,
            __018: [0; 0x24],
            pause_filter: 0,
            io_map: 0,
            msr_map: 0,
            tsc_offset: 0,
            asid: 0,
            tlb_control: 0,
            __05d: [0; 3],
            virtual_interrupt: VirtualInterrupt::new(),
            interrupt_shadow: 0,
            exit_code: 0,
            exit_info1: 0,
            exit_info2: 0,
            exit_interrupt_info: EventWord::new(),
            nested_control: 0,
            __098: [0; 0x10],
            event_injection: EventWord::new(),
            nested_cr3: 0,
            lbr_control: 0,
            clean: 0,
            next_rip: 0,
            fetched: 0,
            instruction: [0; 15],
            __0e0: [0; 0x320],
            es: NONE,
            cs: NONE,
            ss: NONE,
            ds: NONE,
            fs: NONE,
            gs: NONE,
            gdtr: NONE,
            ldtr: NONE,
            idtr: NONE,
            tr: NONE,
            __4a0: [0; 0x2B],
            cpl: 0,
            __4cc: [0; 4],
            efer: 0,
            __4d8: [0; 0x70],
            cr4: 0,
            cr3: 0,
            cr0: 0,
            dr7: 0,
            dr6: 0,
            rflags: 0,
            rip: 0,
            __580: [0; 0x58],
            rsp: 0,
            __5e0: [0; 0x18],
            rax: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            cr2: 0,
            __648: [0; 0x20],
            guest_pat: 0,
            __670: [0; 0x990],
        }
    }
}
