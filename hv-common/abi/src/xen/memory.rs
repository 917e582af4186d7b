//! `memory_op`: `(command | start extent << 6, argument)`.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits of the command; the rest is the extent to start at.
pub const COMMAND_BITS: u32 = 6;

/// Give frames back.
pub const DECREASE_RESERVATION: u64 = 1;
/// -> highest machine frame.
pub const MAXIMUM_RAM_PAGE: u64 = 2;
/// -> frames the domain has.
pub const CURRENT_RESERVATION: u64 = 3;
/// -> frames the domain may have.
pub const MAXIMUM_RESERVATION: u64 = 4;
/// Ask for frames.
pub const POPULATE_PHYSMAP: u64 = 6;
/// Map one special page: [`AddToPhysmap`].
pub const ADD_TO_PHYSMAP: u64 = 7;
/// The memory map (x86).
pub const MEMORY_MAP: u64 = 9;
/// -> highest guest frame.
pub const MAXIMUM_GPFN: u64 = 14;
/// Unmap a frame: [`RemoveFromPhysmap`].
pub const REMOVE_FROM_PHYSMAP: u64 = 15;
/// Map many special pages: [`AddToPhysmapBatch`].
pub const ADD_TO_PHYSMAP_BATCH: u64 = 23;
/// vNUMA topology: not offered (`EOPNOTSUPP`).
pub const GET_VNUMA_INFO: u64 = 26;

/// Spaces of [`AddToPhysmap`].
pub mod space {
    /// The shared info page (index 0).
    pub const SHARED_INFO: u16 = 0;
    /// Grant table frame `index`.
    pub const GRANT_TABLE: u16 = 1;
    /// A guest frame of the caller, moved.
    pub const GMFN: u16 = 2;
}

/// Set in the index of [`space::GRANT_TABLE`]: a status frame (grant v2).
pub const GRANT_INDEX_STATUS: u64 = 1 << 63;

/// Argument of [`ADD_TO_PHYSMAP`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct AddToPhysmap {
    /// Whose map.
    pub domid: DomId,
    /// Number of entries, for ranges.
    pub size: u16,
    /// One of [`space`]; 32 bits wide in the header.
    pub space: u32,
    /// Index in that space.
    pub index: u64,
    /// Guest frame to map at.
    pub gpfn: u64,
}

/// Argument of [`ADD_TO_PHYSMAP_BATCH`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct AddToPhysmapBatch {
    /// Whose map.
    pub domid: DomId,
    /// One of [`space`].
    pub space: u16,
    /// Entries.
    pub size: u16,
    /// For foreign space only.
    pub foreign_domid: u16,
    /// Indices: guest handle of u64.
    pub indices: u64,
    /// Guest frames: guest handle of u64.
    pub gpfns: u64,
    /// Results: guest handle of i32.
    pub errors: u64,
}

/// Argument of [`REMOVE_FROM_PHYSMAP`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct RemoveFromPhysmap {
    /// Whose map.
    pub domid: DomId,
    /// Zero.
    pub reserved: [u16; 3],
    /// Guest frame.
    pub gpfn: u64,
}

/// Argument of [`POPULATE_PHYSMAP`] and [`DECREASE_RESERVATION`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Reservation {
    /// Guest frames: guest handle of u64.
    pub extents: u64,
    /// Entries.
    pub count: u64,
    /// `log2` of frames per entry.
    pub order: u32,
    /// Address bits and flags: ignored.
    pub flags: u32,
    /// Whose.
    pub domid: DomId,
    /// Zero.
    pub reserved: [u16; 3],
}

const _: () = assert!(size_of::<AddToPhysmap>() == 24);
const _: () = assert!(size_of::<AddToPhysmapBatch>() == 32);
const _: () = assert!(size_of::<RemoveFromPhysmap>() == 16);
const _: () = assert!(size_of::<Reservation>() == 32);
