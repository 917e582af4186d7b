//! `hvm_op`: `(command, argument)`.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Set a parameter: [`Param`].
pub const SET_PARAM: u64 = 0;
/// Read a parameter: [`Param`].
pub const GET_PARAM: u64 = 1;
/// Per-vCPU upcall vector (x86): `(vcpu u32, vector u8)`.
pub const SET_EVTCHN_UPCALL_VECTOR: u64 = 23;
/// A page table is about to go: a hint for hypervisors that shadow page tables.
pub const PAGETABLE_DYING: u64 = 9;

/// Parameters.
pub mod param {
    /// How event upcalls arrive.
    pub const CALLBACK_IRQ: u32 = 0;
    /// Guest frame of the xenstore ring.
    pub const STORE_PFN: u32 = 1;
    /// Its event channel.
    pub const STORE_EVTCHN: u32 = 2;
    /// Guest frame of the PV console's ring.
    pub const CONSOLE_PFN: u32 = 17;
    /// Its event channel.
    pub const CONSOLE_EVTCHN: u32 = 18;
    /// How many there are.
    pub const COUNT: u32 = 40;
}

/// Argument of [`SET_PARAM`] and [`GET_PARAM`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Param {
    /// Whose.
    pub domid: DomId,
    /// Padding.
    pub reserved: u16,
    /// One of [`param`].
    pub index: u32,
    /// The value.
    pub value: u64,
}

const _: () = assert!(size_of::<Param>() == 16);

/// Argument of [`SET_EVTCHN_UPCALL_VECTOR`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct UpcallVector {
    /// Which vCPU.
    pub vcpu: u32,
    /// The vector; 0: the domain's way again.
    pub vector: u8,
    /// Padding.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<UpcallVector>() == 8);

/// [`param::CALLBACK_IRQ`]: how upcalls come is in the upper eight bits.
pub mod callback {
    /// Shift of the kind.
    pub const KIND_SHIFT: u32 = 56;
    /// Kind: a vector (x86), in the lowest eight bits.
    pub const VECTOR: u64 = 2;
}
