//! Saved state ([`CallNumber::CONTROL_STATE`](crate::CallNumber)): records of [`crate::record`], one after another.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `(inout: *mut StateWindow)` -> 1 when there are more records, 0 when these were the last. The domain must be paused
/// (`EBUSY`). Every record is a [`crate::record::Header`] followed by its body, padded to 8 bytes.
pub const SAVE: u64 = 0;
/// `(domid, in: *const u8, length)` -> 0: loads one record (header and body) into a domain that never ran. Any field
/// that a guest could not have made itself is refused with `EINVAL`, a version or kind we don't know with `EOPNOTSUPP`,
/// a guest that needs what this machine does not have with `EXDEV`. Records come in the order they were saved in, after
/// the memory they point at.
pub const RESTORE: u64 = 1;
/// Bytes of one record at most, header included.
pub const RECORD_MAX: usize = 32 * 1024;

/// A window on the records of a domain.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct StateWindow {
    /// Whose.
    pub domid: DomId,
    /// Zero.
    pub reserved: [u16; 3],
    /// In: number of the first wanted record. Out: number of the next one.
    pub cursor: u64,
    /// Virtual address of the buffer.
    pub buffer: u64,
    /// Bytes it holds; [`RECORD_MAX`] always suffices for one record.
    pub capacity: u64,
    /// Out: bytes written.
    pub length: u64,
}
