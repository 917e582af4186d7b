//! `event_channel_op`: `(command, argument)`; the 2-level ABI.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bind to a port that a peer left for us: [`BindInterdomain`].
pub const BIND_INTERDOMAIN: u64 = 0;
/// Bind a virtual interrupt: [`BindVirq`].
pub const BIND_VIRQ: u64 = 1;
/// Bind a physical interrupt: not offered.
pub const BIND_PIRQ: u64 = 2;
/// [`Port`].
pub const CLOSE: u64 = 3;
/// [`Port`].
pub const SEND: u64 = 4;
/// [`Status`].
pub const STATUS: u64 = 5;
/// Leave a port for a peer: [`AllocUnbound`].
pub const ALLOC_UNBOUND: u64 = 6;
/// Bind an interrupt between vCPUs: [`BindIpi`].
pub const BIND_IPI: u64 = 7;
/// Move a port to another vCPU: [`BindVcpu`].
pub const BIND_VCPU: u64 = 8;
/// [`Port`].
pub const UNMASK: u64 = 9;
/// Close all ports.
pub const RESET: u64 = 10;
/// FIFO ABI: `ENOSYS`.
pub const INIT_CONTROL: u64 = 11;
/// FIFO ABI: `ENOSYS`.
pub const EXPAND_ARRAY: u64 = 12;
/// FIFO ABI: `ENOSYS`.
pub const SET_PRIORITY: u64 = 13;

/// Ports of the 2-level ABI with 64-bit words, port 0 never used.
pub const PORTS: u32 = 4096;

/// Virtual interrupts of [`BIND_VIRQ`].
pub mod virq {
    /// Per vCPU: the singleshot timer, and on x86 the periodic one.
    pub const TIMER: u32 = 0;
    /// Per vCPU: asked for by the operator.
    pub const DEBUG: u32 = 1;
    /// Domain-0: input on the hypervisor's console.
    pub const CONSOLE: u32 = 2;
    /// Domain-0: a domain changed its state.
    pub const DOM_EXC: u32 = 3;
    /// Domain-0: new text in the hypervisor's log.
    pub const CON_RING: u32 = 8;
    /// How many there are.
    pub const COUNT: u32 = 24;
}

/// Status values of [`Status::status`].
pub mod status {
    /// Not in use.
    pub const CLOSED: u32 = 0;
    /// Waits for a peer.
    pub const UNBOUND: u32 = 1;
    /// Connected to another domain.
    pub const INTERDOMAIN: u32 = 2;
    /// A physical interrupt.
    pub const PIRQ: u32 = 3;
    /// A virtual interrupt.
    pub const VIRQ: u32 = 4;
    /// Between vCPUs.
    pub const IPI: u32 = 5;
}

/// Argument of [`ALLOC_UNBOUND`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct AllocUnbound {
    /// Whose port.
    pub dom: DomId,
    /// Who may bind to it.
    pub remote_dom: DomId,
    /// Out: the port.
    pub port: u32,
}

/// Argument of [`BIND_INTERDOMAIN`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct BindInterdomain {
    /// The peer.
    pub remote_dom: DomId,
    /// Padding.
    pub reserved: u16,
    /// Its port.
    pub remote_port: u32,
    /// Out: ours.
    pub local_port: u32,
}

/// Argument of [`BIND_VIRQ`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct BindVirq {
    /// One of [`virq`].
    pub virq: u32,
    /// For which vCPU.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

/// Argument of [`BIND_IPI`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct BindIpi {
    /// Which vCPU is notified.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

/// Argument of [`BIND_VCPU`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct BindVcpu {
    /// The port.
    pub port: u32,
    /// Which vCPU is notified from now on.
    pub vcpu: u32,
}

/// Argument of [`CLOSE`], [`SEND`], [`UNMASK`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Port {
    /// The port.
    pub port: u32,
}

/// Argument of [`STATUS`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Status {
    /// Whose port.
    pub dom: DomId,
    /// Padding.
    pub reserved: u16,
    /// Which.
    pub port: u32,
    /// Out: one of [`status`].
    pub status: u32,
    /// Out: which vCPU is notified.
    pub vcpu: u32,
    /// Out: peer domid, virq, ….
    pub detail: [u32; 2],
}

/// Argument of [`RESET`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Reset {
    /// Whose ports.
    pub dom: DomId,
}

const _: () = assert!(size_of::<AllocUnbound>() == 8);
const _: () = assert!(size_of::<BindInterdomain>() == 12);
const _: () = assert!(size_of::<Status>() == 24);
