//! `vcpu_op`: `(command, vcpu, argument)`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Give a vCPU its first registers, once (x86: [`HvmContext32`], [`HvmContext64`]).
pub const INITIALISE: u64 = 0;
/// Start it, or let it go on where it was stopped (x86).
pub const UP: u64 = 1;
/// Stop it; the last one switches the domain off (x86).
pub const DOWN: u64 = 2;
/// -> 1 when it is up.
pub const IS_UP: u64 = 3;
/// [`RunstateInfo`] out.
pub const GET_RUNSTATE_INFO: u64 = 4;
/// Virtual address of a [`RunstateInfo`] to keep up to date.
pub const REGISTER_RUNSTATE_MEMORY_AREA: u64 = 5;
/// Period, ns.
pub const SET_PERIODIC_TIMER: u64 = 6;
/// No period.
pub const STOP_PERIODIC_TIMER: u64 = 7;
/// [`SetSingleshotTimer`].
pub const SET_SINGLESHOT_TIMER: u64 = 8;
/// No singleshot timer.
pub const STOP_SINGLESHOT_TIMER: u64 = 9;
/// [`RegisterVcpuInfo`].
pub const REGISTER_VCPU_INFO: u64 = 10;
/// Non-maskable interrupt (x86).
pub const SEND_NMI: u64 = 11;
/// [`RegisterArea`]: a second copy of the time in its `vcpu_info`, for user space to read.
pub const REGISTER_VCPU_TIME_MEMORY_AREA: u64 = 13;

/// Argument of [`REGISTER_VCPU_INFO`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct RegisterVcpuInfo {
    /// Guest frame.
    pub mfn: u64,
    /// Offset in it.
    pub offset: u32,
    /// Padding.
    pub reserved: u32,
}

/// Argument of [`REGISTER_RUNSTATE_MEMORY_AREA`] and [`REGISTER_VCPU_TIME_MEMORY_AREA`]: the virtual address.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct RegisterArea {
    /// Virtual address of the area, 0: none any more.
    pub address: u64,
}

/// Argument of [`SET_SINGLESHOT_TIMER`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct SetSingleshotTimer {
    /// System time, nanoseconds.
    pub timeout_abs_ns: u64,
    /// Bit 0: fail with `ETIME` if the time is past.
    pub flags: u32,
    /// Padding.
    pub reserved: u32,
}

/// States of [`RunstateInfo`].
pub mod runstate {
    /// On a CPU.
    pub const RUNNING: u32 = 0;
    /// Waits for a CPU.
    pub const RUNNABLE: u32 = 1;
    /// Waits for an event.
    pub const BLOCKED: u32 = 2;
    /// Off or paused.
    pub const OFFLINE: u32 = 3;
    /// Set in the entry time while the record is written.
    pub const UPDATE: u64 = 1 << 63;
}

/// A vCPU's run state, as guests read it.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct RunstateInfo {
    /// One of [`runstate`].
    pub state: u32,
    /// Padding.
    pub reserved: u32,
    /// When it was entered, system time in nanoseconds.
    pub state_entry_time: u64,
    /// Time spent in each, nanoseconds.
    pub time: [u64; 4],
}

/// [`HvmContextHead::mode`]: [`HvmContext32`] follows.
pub const MODE_32: u32 = 0;
/// [`HvmContextHead::mode`]: [`HvmContext64`] follows.
pub const MODE_64: u32 = 1;

/// Bytes of a `vcpu_time_info`.
pub const TIME_INFO_SIZE: usize = 32;

/// Bytes of a context whatever its mode (`hvm/hvm_vcpu.h`).
pub const HVM_CONTEXT_SIZE: usize = 128;

/// What the context of [`INITIALISE`] begins with.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct HvmContextHead {
    /// One of the modes.
    pub mode: u32,
    /// Padding.
    pub pad: u32,
}

/// A vCPU in 16- or 32-bit mode, compatibility mode included. `*_ar`: attributes as in [`crate::record::x86::Segment`],
/// bits 12 to 15 zero.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[allow(
    missing_docs,
    reason = "fields are named as the architecture names the registers"
)]
pub struct HvmContext32 {
    /// EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI: in the order of their encoding.
    pub gpr: [u32; 8],
    pub eip: u32,
    pub eflags: u32,
    pub cr0: u32,
    pub cr3: u32,
    pub cr4: u32,
    pub pad1: u32,
    pub efer: u64,
    pub cs_base: u32,
    pub ds_base: u32,
    pub ss_base: u32,
    pub es_base: u32,
    pub tr_base: u32,
    pub cs_limit: u32,
    pub ds_limit: u32,
    pub ss_limit: u32,
    pub es_limit: u32,
    pub tr_limit: u32,
    pub cs_ar: u16,
    pub ds_ar: u16,
    pub ss_ar: u16,
    pub es_ar: u16,
    pub tr_ar: u16,
    pub pad2: [u16; 3],
}

/// A vCPU in 64-bit mode.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[allow(
    missing_docs,
    reason = "fields are named as the architecture names the registers"
)]
pub struct HvmContext64 {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI: in the order of their encoding.
    pub gpr: [u64; 8],
    pub rip: u64,
    pub rflags: u64,
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
}

const _: () = assert!(size_of::<HvmContextHead>() == 8);
const _: () = assert!(size_of::<HvmContext32>() == 120);
const _: () = assert!(core::mem::offset_of!(HvmContext32, efer) == 56);
const _: () = assert!(size_of::<HvmContext64>() == 112);
const _: () = assert!(size_of::<RegisterVcpuInfo>() == 16);
const _: () = assert!(size_of::<RunstateInfo>() == 48);
