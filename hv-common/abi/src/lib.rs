//! The hypercall ABI, as plain data.
//!
//! Two interfaces live here, and nothing else:
//! - [`xen`]: the part of Xen's public guest interface that guests use, with Xen's numbers and layouts;
//! - [`control`]: Alcove's own interface for Domain-0 (building domains, memory, state, host facts), versioned by
//!   [`control::VERSION`] and refused to every other domain.
//!
//! [`record`] holds the bodies of saved state, [`start`] what Domain-0 finds when it starts, [`layout`] the memory map
//! of a guest. Every layout is `#[repr(C)]`, checked for its size at compile time, and may be made from any bytes:
//! a value that a guest made up is a value, never undefined behaviour.
#![no_std]
#![forbid(unsafe_code)]

pub mod control;
pub mod errno;
pub mod layout;
pub mod record;
pub mod start;
pub mod xen;

pub use errno::Errno;

/// Bytes in a frame, the unit of all memory calls.
pub const FRAME_SIZE: usize = 4096;
/// `log2(FRAME_SIZE)`.
pub const FRAME_SHIFT: u32 = 12;

/// A hypercall number: `x16` on ARM, `eax` on x86.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallNumber(pub u64);

impl CallNumber {
    /// `memory_op`: see [`xen::memory`].
    pub const MEMORY_OP: Self = Self(12);
    /// `multicall`: not offered.
    pub const MULTICALL: Self = Self(13);
    /// `set_timer_op`: one deadline in system time, nanoseconds.
    pub const SET_TIMER_OP: Self = Self(15);
    /// `xen_version`: see [`xen::version`].
    pub const XEN_VERSION: Self = Self(17);
    /// `console_io`: Domain-0's console and every domain's emergency console.
    pub const CONSOLE_IO: Self = Self(18);
    /// `grant_table_op`: see [`xen::grant`].
    pub const GRANT_TABLE_OP: Self = Self(20);
    /// `vm_assist`.
    pub const VM_ASSIST: Self = Self(21);
    /// `vcpu_op`: see [`xen::vcpu`].
    pub const VCPU_OP: Self = Self(24);
    /// `sched_op`: see [`xen::sched`].
    pub const SCHED_OP: Self = Self(29);
    /// `event_channel_op`: see [`xen::event`].
    pub const EVENT_CHANNEL_OP: Self = Self(32);
    /// `physdev_op`: not offered.
    pub const PHYSDEV_OP: Self = Self(33);
    /// `hvm_op`: see [`xen::hvm`].
    pub const HVM_OP: Self = Self(34);
    /// Facts of the host: [`control::host`]. The five control families take Xen's architecture-private numbers.
    pub const CONTROL_HOST: Self = Self(48);
    /// Domains: [`control::domain`].
    pub const CONTROL_DOMAIN: Self = Self(49);
    /// Memory of domains: [`control::memory`].
    pub const CONTROL_MEMORY: Self = Self(50);
    /// vCPUs of domains: [`control::vcpu`].
    pub const CONTROL_VCPU: Self = Self(51);
    /// Saved state: [`control::state`].
    pub const CONTROL_STATE: Self = Self(52);
}

/// The immediate of the `HVC` instruction that makes a hypercall on ARM (Xen's `XEN_HYPERCALL_TAG`).
pub const ARM_HYPERCALL_TAG: u16 = 0xEA1;

/// A domain's number on this host.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
)]
pub struct DomId(pub u16);

impl DomId {
    /// Domain-0.
    pub const ZERO: Self = Self(0);
    /// First number that is not a domain's.
    pub const FIRST_RESERVED: Self = Self(0x7FF0);
    /// "The caller", in calls that take a domain.
    pub const SELF: Self = Self(0x7FF0);
}
