//! `sched_op`: `(command, argument)`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Let others run.
pub const YIELD: u64 = 0;
/// Wait for an event.
pub const BLOCK: u64 = 1;
/// [`Shutdown`].
pub const SHUTDOWN: u64 = 2;
/// Wait for one of some ports: [`Poll`].
pub const POLL: u64 = 3;
/// Shut down another domain: Domain-0 only.
pub const REMOTE_SHUTDOWN: u64 = 4;
/// [`Shutdown`]: remember the reason, do not shut down yet.
pub const SHUTDOWN_CODE: u64 = 5;
/// Watchdog: `(id u32, timeout u32)`.
pub const WATCHDOG: u64 = 6;

/// Argument of [`SHUTDOWN`] and [`SHUTDOWN_CODE`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Shutdown {
    /// A [`crate::control::domain::ShutdownReason`].
    pub reason: u32,
}

/// Argument of [`REMOTE_SHUTDOWN`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct RemoteShutdown {
    /// Which domain.
    pub domid: crate::DomId,
    /// Padding.
    pub reserved: u16,
    /// A [`crate::control::domain::ShutdownReason`].
    pub reason: u32,
}

/// Argument of [`POLL`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Poll {
    /// Ports: guest handle of u32.
    pub ports: u64,
    /// How many, at most 128.
    pub count: u32,
    /// Padding.
    pub reserved: u32,
    /// System time to give up at, nanoseconds; 0: never.
    pub timeout: u64,
}

const _: () = assert!(size_of::<Poll>() == 24);
