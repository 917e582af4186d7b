//! `vcpu_op`: `(command, vcpu, argument)`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Initialise a vCPU (x86).
pub const INITIALISE: u64 = 0;
/// Start it (x86).
pub const UP: u64 = 1;
/// Stop it (x86).
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

/// Argument of [`REGISTER_RUNSTATE_MEMORY_AREA`]: the virtual address.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct RegisterRunstate {
    /// Virtual address of a [`RunstateInfo`].
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

const _: () = assert!(size_of::<RegisterVcpuInfo>() == 16);
const _: () = assert!(size_of::<RunstateInfo>() == 48);
