//! `grant_table_op`: `(command, array, count)`; version 1 of the table.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Map granted frames: [`MapGrantRef`].
pub const MAP_GRANT_REF: u64 = 0;
/// Unmap them: [`UnmapGrantRef`].
pub const UNMAP_GRANT_REF: u64 = 1;
/// [`SetupTable`].
pub const SETUP_TABLE: u64 = 2;
/// Copy between granted frames.
pub const COPY: u64 = 5;
/// [`QuerySize`].
pub const QUERY_SIZE: u64 = 6;
/// [`SetVersion`].
pub const SET_VERSION: u64 = 8;
/// [`GetVersion`].
pub const GET_VERSION: u64 = 10;

/// Grant reference of the PV console's ring page.
pub const CONSOLE_REFERENCE: u32 = 0;
/// Grant reference of the xenstore ring page.
pub const XENSTORE_REFERENCE: u32 = 1;
/// Entries of a version 1 frame.
pub const ENTRIES_PER_FRAME: u32 = 512;
/// Frames of a domain's table at most.
pub const FRAMES_MAX: u32 = 64;

/// Flags of a version 1 entry.
pub mod flags {
    /// Mask of the type.
    pub const TYPE_MASK: u16 = 3;
    /// Not in use.
    pub const INVALID: u16 = 0;
    /// The named domain may map the frame.
    pub const PERMIT_ACCESS: u16 = 1;
    /// Only for reading.
    pub const READONLY: u16 = 1 << 2;
    /// Set by the hypervisor: mapped.
    pub const READING: u16 = 1 << 3;
    /// Set by the hypervisor: mapped for writing.
    pub const WRITING: u16 = 1 << 4;
}

/// Flags of [`MapGrantRef::flags`].
pub mod map {
    /// For device access.
    pub const DEVICE_MAP: u32 = 1 << 0;
    /// Into the caller's address space.
    pub const HOST_MAP: u32 = 1 << 1;
    /// Read-only.
    pub const READONLY: u32 = 1 << 2;
}

/// Status of one grant operation (`GNTST_*`).
pub mod status {
    /// Done.
    pub const OKAY: i16 = 0;
    /// Anything else.
    pub const GENERAL_ERROR: i16 = -1;
    /// No such domain.
    pub const BAD_DOMAIN: i16 = -2;
    /// Reference out of range or not in use.
    pub const BAD_GNTREF: i16 = -3;
    /// Handle not in use.
    pub const BAD_HANDLE: i16 = -4;
    /// Address not usable.
    pub const BAD_VIRT_ADDR: i16 = -5;
    /// No space for the mapping.
    pub const NO_DEVICE_SPACE: i16 = -7;
    /// Not allowed.
    pub const PERMISSION_DENIED: i16 = -8;
    /// The frame is not usable.
    pub const BAD_PAGE: i16 = -9;
    /// Copy crosses a page.
    pub const BAD_COPY_ARG: i16 = -10;
    /// Address too large.
    pub const ADDRESS_TOO_BIG: i16 = -11;
    /// Try again.
    pub const EAGAIN: i16 = -12;
}

/// Element of [`MAP_GRANT_REF`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct MapGrantRef {
    /// Where to map: a guest-physical address of the caller.
    pub host_addr: u64,
    /// Bits of [`map`].
    pub flags: u32,
    /// The reference.
    pub reference: u32,
    /// Whose.
    pub dom: DomId,
    /// Out: one of [`status`].
    pub status: i16,
    /// Out: handle for unmapping.
    pub handle: u32,
    /// Out: address for device access.
    pub dev_bus_addr: u64,
}

/// Element of [`UNMAP_GRANT_REF`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct UnmapGrantRef {
    /// Where it is mapped.
    pub host_addr: u64,
    /// 0 or as mapped.
    pub dev_bus_addr: u64,
    /// The handle.
    pub handle: u32,
    /// Out: one of [`status`].
    pub status: i16,
    /// Padding.
    pub reserved: u16,
}

/// Element of [`SETUP_TABLE`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct SetupTable {
    /// Whose table.
    pub dom: DomId,
    /// Padding.
    pub reserved: u16,
    /// Frames wanted.
    pub frames: u32,
    /// Out: one of [`status`].
    pub status: i16,
    /// Padding.
    pub reserved2: [u16; 3],
    /// Out: frame list, guest handle of u64.
    pub frame_list: u64,
}

/// Element of [`QUERY_SIZE`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct QuerySize {
    /// Whose table.
    pub dom: DomId,
    /// Padding.
    pub reserved: u16,
    /// Out: frames it has.
    pub frames: u32,
    /// Out: frames it may have.
    pub frames_max: u32,
    /// Out: one of [`status`].
    pub status: i16,
    /// Padding.
    pub reserved2: u16,
}

/// Element of [`SET_VERSION`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct SetVersion {
    /// In: wanted; out: in use.
    pub version: u32,
}

/// Element of [`GET_VERSION`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct GetVersion {
    /// Whose table.
    pub dom: DomId,
    /// Padding.
    pub reserved: u16,
    /// Out: version in use.
    pub version: u32,
}

/// A version 1 entry: one 64-bit word.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct EntryV1 {
    /// Bits of [`flags`].
    pub flags: u16,
    /// Who may map.
    pub domid: DomId,
    /// The granter's guest frame.
    pub frame: u32,
}

const _: () = assert!(size_of::<MapGrantRef>() == 32);
const _: () = assert!(size_of::<UnmapGrantRef>() == 24);
const _: () = assert!(size_of::<SetupTable>() == 24);
const _: () = assert!(size_of::<QuerySize>() == 16);
const _: () = assert!(size_of::<EntryV1>() == 8);
