//! Making, listing and ending domains ([`CallNumber::CONTROL_DOMAIN`](crate::CallNumber)).
//!
//! A domain is made paused and empty; memory, context and parameters come by other calls; the first `UNPAUSE` starts
//! it and is refused while frames are not cleared yet (`EBUSY`) or the first vCPU has no context (`EINVAL`).

use super::vcpu::Usage;
use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `(in: *const CreateDomain)` -> domid. `ENOMEM`, `ENOSPC` (no free slot), `EINVAL`.
pub const CREATE: u64 = 0;
/// `(domid)` -> 0 when everything is returned, 1 when there is more to do: call again. The hypervisor goes on by
/// itself if nobody does.
pub const DESTROY: u64 = 1;
/// `(domid)` -> 0 once no vCPU of it runs. Pauses nest by caller, not by count: one `UNPAUSE` undoes it.
pub const PAUSE: u64 = 2;
/// `(domid)` -> 0.
pub const UNPAUSE: u64 = 3;
/// `(first domid, out: *mut DomainInfo, capacity)` -> entries written, ascending from the first existing domain.
pub const LIST: u64 = 4;
/// `(domid, in: *const u8, length <= BLOB_MAX)` -> 0: keep xend's own record with the domain.
pub const SET_BLOB: u64 = 5;
/// `(domid, out: *mut u8, capacity)` -> bytes of the record (at most `capacity` are written).
pub const GET_BLOB: u64 = 6;

/// `(domid, weight, cap)` -> 0: its share of a CPU that others want too (1 to [`WEIGHT_MAX`]; 256 is usual), and percent
/// of one CPU that its vCPUs together may use at most (0 to [`CAP_MAX`]; 0: no limit).
pub const SET_SCHEDULING: u64 = 32;
/// `(domid)` -> the weight, and the cap shifted left by [`CAP_SHIFT`].
pub const GET_SCHEDULING: u64 = 33;
/// Largest weight.
pub const WEIGHT_MAX: u32 = 65_535;
/// Largest cap: all vCPUs that a domain may have.
pub const CAP_MAX: u32 = 100 * VCPUS_MAX;
/// See [`GET_SCHEDULING`].
pub const CAP_SHIFT: u32 = 32;

/// Bytes of xend's record of a domain.
pub const BLOB_MAX: usize = 4096;
/// vCPUs of a domain at most.
pub const VCPUS_MAX: u32 = 16;

/// How a domain is built: an open set.
#[repr(transparent)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct DomainKind(pub u32);

impl DomainKind {
    /// Uses the Xen interface.
    pub const PVH: Self = Self(0);
    /// Knows nothing of it: emulated devices.
    pub const HVM: Self = Self(1);
}

/// Arguments of [`CREATE`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct CreateDomain {
    /// The domain's UUID.
    pub uuid: [u8; 16],
    /// How it is built.
    pub kind: DomainKind,
    /// vCPUs, 1 to [`VCPUS_MAX`].
    pub vcpus: u32,
    /// RAM it may have, in frames; `CREATE` reserves them. The few frames for rings are within
    /// [`EXTRA_FRAMES`] on top.
    pub frames_max: u64,
    /// What the guest is told its domid is; 0: the same as the host's.
    pub guest_domid: DomId,
    /// Zero.
    pub reserved: [u16; 3],
}

/// Frames beyond RAM that a domain may have: rings and grant frames.
pub const EXTRA_FRAMES: u64 = 80;

/// State bits of [`DomainInfo::state`].
pub mod state {
    /// A vCPU is on a CPU, or wants to be.
    pub const RUNNABLE: u32 = 1;
    /// All its vCPUs wait for an event.
    pub const BLOCKED: u32 = 2;
    /// Paused by Domain-0, or never started.
    pub const PAUSED: u32 = 4;
    /// It shut down: see the reason.
    pub const SHUTDOWN: u32 = 8;
    /// Being destroyed.
    pub const DYING: u32 = 16;
}

/// Why a domain shut down (`sched_op`'s reasons).
#[repr(transparent)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct ShutdownReason(pub u32);

impl ShutdownReason {
    /// It switched itself off.
    pub const POWEROFF: Self = Self(0);
    /// It wants to be started again.
    pub const REBOOT: Self = Self(1);
    /// It suspended itself.
    pub const SUSPEND: Self = Self(2);
    /// It crashed, or the hypervisor stopped it for a fault it cannot handle.
    pub const CRASH: Self = Self(3);
    /// Its watchdog fired.
    pub const WATCHDOG: Self = Self(4);
}

/// What a domain did that was refused, by kind.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Refusals {
    /// Hypercalls that do not exist, or are not for it.
    pub calls: u64,
    /// Hypercalls with pointers to nothing, or to what it may not read or write.
    pub pointers: u64,
    /// Loads, stores and instruction fetches where nothing is, or nothing that allows them.
    pub accesses: u64,
    /// Instructions and system registers that were trapped and are not there.
    pub instructions: u64,
    /// Calls of firmware that nobody but a hypervisor may call.
    pub firmware: u64,
}

impl Refusals {
    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let kinds = [
            self.calls,
            self.pointers,
            self.accesses,
            self.instructions,
            self.firmware,
        ];
        kinds.into_iter().fold(0, u64::saturating_add)
    }
}

/// One domain, as [`LIST`] shows it.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct DomainInfo {
    /// Its number here.
    pub domid: DomId,
    /// The number it is told.
    pub guest_domid: DomId,
    /// Bits of [`state`].
    pub state: u32,
    /// How it is built.
    pub kind: DomainKind,
    /// Why it shut down, if it did.
    pub shutdown_reason: ShutdownReason,
    /// vCPUs it has.
    pub vcpus: u32,
    /// vCPUs that are switched on.
    pub vcpus_online: u32,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Frames of RAM and rings it has.
    pub frames: u64,
    /// Frames it may have.
    pub frames_max: u64,
    /// Frames of it that still hold somebody else's data: never visible to it.
    pub frames_uncleared: u64,
    /// Frames the hypervisor uses for it: tables and records.
    pub overhead_frames: u64,
    /// What its vCPUs did.
    pub usage: Usage,
    /// Things it did that were refused.
    pub refusals: Refusals,
    /// System time it was made at, nanoseconds.
    pub created_ns: u64,
}
