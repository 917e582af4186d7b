//! Memory of domains ([`CallNumber::CONTROL_MEMORY`](crate::CallNumber)). There is no foreign mapping: data moves by copy.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `(inout: *mut Extent)` -> frames populated from `gfn` on, at least one unless refused: call again for the rest.
/// New frames are not cleared; the domain cannot start before they are ([`CLEAR`], or [`COPY_TO`] over all of a frame).
pub const POPULATE: u64 = 0;
/// `(in: *const Copy)` -> bytes copied into the domain.
pub const COPY_TO: u64 = 1;
/// `(in: *const Copy)` -> bytes copied out of the domain.
pub const COPY_FROM: u64 = 2;
/// `(inout: *mut Extent)` -> 1 and the next populated extent at or after `gfn`, with its frame count (at most `count`
/// if that is not 0), or 0 when there is none.
pub const NEXT_EXTENT: u64 = 3;
/// `(in: *const Extent)` -> frames looked at from `gfn` on, those not cleared yet cleared. At least one unless refused.
pub const CLEAR: u64 = 4;

/// A range of guest frames.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Extent {
    /// Whose.
    pub domid: DomId,
    /// Zero.
    pub reserved: [u16; 3],
    /// First guest frame.
    pub gfn: u64,
    /// Frames.
    pub count: u64,
}

/// A copy between Domain-0's virtual memory and a domain's guest-physical memory.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Copy {
    /// Whose memory.
    pub domid: DomId,
    /// Zero.
    pub reserved: [u16; 3],
    /// First byte there: guest-physical.
    pub gpa: u64,
    /// First byte here: virtual address.
    pub buffer: u64,
    /// Bytes, at most [`super::COPY_MAX`].
    pub length: u64,
}

impl Default for DomId {
    fn default() -> Self {
        Self::ZERO
    }
}
