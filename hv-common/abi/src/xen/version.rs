//! `xen_version`: `(command, argument)`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// -> `major << 16 | minor`.
pub const VERSION: u64 = 0;
/// Extra version: 16 bytes.
pub const EXTRAVERSION: u64 = 1;
/// Compile information.
pub const COMPILE_INFO: u64 = 2;
/// Capabilities: 1024 bytes.
pub const CAPABILITIES: u64 = 3;
/// Change set: 64 bytes.
pub const CHANGESET: u64 = 4;
/// Platform parameters: one word.
pub const PLATFORM_PARAMETERS: u64 = 5;
/// `feature_info` in and out.
pub const GET_FEATURES: u64 = 6;
/// -> page size.
pub const PAGESIZE: u64 = 7;
/// The caller's domain handle: 16 bytes.
pub const GUEST_HANDLE: u64 = 8;
/// The hypervisor's command line: 1024 bytes.
pub const COMMANDLINE: u64 = 9;
/// Build ID.
pub const BUILD_ID: u64 = 10;

/// The version reported: 4.17.
pub const REPORTED: u64 = (4 << 16) | 17;
/// The extra version reported, NUL-padded.
pub const REPORTED_EXTRA: [u8; 16] = *b"-alcove\0\0\0\0\0\0\0\0\0";

/// Argument of [`GET_FEATURES`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct FeatureInfo {
    /// In: which submap.
    pub submap_index: u32,
    /// Out: its bits.
    pub submap: u32,
}

/// Feature bits of submap 0.
pub mod feature {
    /// Page tables may be written by the guest.
    pub const WRITABLE_PAGE_TABLES: u32 = 1 << 0;
    /// The guest's frame numbers are translated for it.
    pub const AUTO_TRANSLATED_PHYSMAP: u32 = 1 << 2;
    /// Event upcalls may come as a callback vector (x86).
    pub const HVM_CALLBACK_VECTOR: u32 = 1 << 8;
    /// The PV clock works in HVM guests (x86).
    pub const HVM_SAFE_PVCLOCK: u32 = 1 << 9;
    /// The caller is Domain-0.
    pub const DOM0: u32 = 1 << 11;
    /// Grants map at a guest frame of the caller's choosing (ARM: always).
    pub const GRANT_MAP_IDENTITY: u32 = 1 << 12;
    /// Memory operations take a vnode.
    pub const MEMORY_OP_VNODE_SUPPORTED: u32 = 1 << 13;
    /// Hypercalls use the SMCCC registers (ARM).
    pub const ARM_SMCCC_SUPPORTED: u32 = 1 << 14;
    /// Frames of Domain-0 are not identity-mapped by default.
    pub const NOT_DIRECT_MAPPED: u32 = 1 << 16;
    /// Frames of the guest are identity-mapped.
    pub const DIRECT_MAPPED: u32 = 1 << 17;
}
