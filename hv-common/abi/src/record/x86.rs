//! Bodies of x86 records: registers as the manuals name them (Intel SDM, AMD APM), the same for both vendors.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A segment register with its hidden part.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Type (bits 0 to 3), S (4), DPL (5 and 6), P (7), AVL (8), L (9), D/B (10), G (11), as in a VMCB; bit 12:
    /// unusable, as in a VMCS.
    pub attributes: u16,
    /// Limit in bytes.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// GDTR or IDTR.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct DescriptorTable {
    /// Base.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u64,
}

/// Registers of a vCPU.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[allow(
    missing_docs,
    reason = "fields are named as the architecture names the registers"
)]
pub struct Cpu {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: in the order of their encoding.
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub xcr0: u64,
    pub efer: u64,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: DescriptorTable,
    pub idtr: DescriptorTable,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    /// Bit 0: interrupts are held back for one instruction (after STI or a load of SS); bit 2: an NMI is pending. All others
    /// are zero.
    pub activity: u64,
    /// An event whose delivery was interrupted: vector (bits 0 to 7), type (8 to 10), error code valid (11), valid (31),
    /// error code (32 to 63), as EXITINTINFO has it.
    pub event: u64,
}

/// The local APIC of a vCPU, in x2APIC's layout (Intel SDM, volume 3, "Local APIC").
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Apic {
    /// IA32_APIC_BASE.
    pub base: u64,
    /// Requested and not yet taken.
    pub irr: [u64; 4],
    /// Taken and not yet ended.
    pub isr: [u64; 4],
    /// Task priority.
    pub tpr: u32,
    /// Spurious vector.
    pub svr: u32,
    /// Errors that a write to ESR shows.
    pub esr: u32,
    /// Errors shown.
    pub esr_shown: u32,
    /// LVT: CMCI, timer, thermal, performance, LINT0, LINT1, error.
    pub lvt: [u32; 7],
    /// Timer's divide configuration.
    pub divide: u32,
    /// Timer's initial count.
    pub initial_count: u32,
    /// Vector of the event upcall of this vCPU, 0: the domain's.
    pub upcall_vector: u32,
    /// Interrupt command.
    pub icr: u64,
    /// Guest TSC at which the timer expires; 0: it does not run.
    pub deadline: u64,
    /// Bit 0: an upcall is pending. Bit 1: it waits for a start-up IPI.
    pub flags: u32,
    /// Logical destination (xAPIC mode).
    pub ldr: u32,
    /// Destination format (xAPIC mode).
    pub dfr: u32,
    /// Reserved.
    pub reserved: u32,
}

/// Bytes of [`ExtendedState::area`].
pub const XSAVE_SIZE: usize = 4096;

/// x87, SSE, AVX and further state: an XSAVE area in standard format.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ExtendedState {
    /// The area; its header says what is in it.
    pub area: [u8; XSAVE_SIZE],
}
