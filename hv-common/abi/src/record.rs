//! Saved state of a domain: a header and a body per stateful piece.
//!
//! A record holds architectural guest state only, never a control register of ours, and is read as if the guest had
//! written it. Bodies that only one architecture has are in the module of that architecture.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod arm;
pub mod x86;

/// What a record's body is: an open set. Bit 15: per vCPU.
#[repr(transparent)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Kind(pub u16);

impl Kind {
    /// [`Domain`].
    pub const DOMAIN: Self = Self(1);
    /// [`Event`] entries, one for each port in use.
    pub const EVENTS: Self = Self(2);
    /// [`Grants`].
    pub const GRANTS: Self = Self(3);
    /// [`Platform`]: what the host must have too.
    pub const PLATFORM: Self = Self(4);
    /// [`Pl011`].
    pub const PL011: Self = Self(5);
    /// [`Pl031`].
    pub const PL031: Self = Self(6);
    /// [`arm::Distributor`].
    pub const ARM_DISTRIBUTOR: Self = Self(0x0100);
    /// [`arm::Gicv2Distributor`].
    pub const ARM_GICV2_DISTRIBUTOR: Self = Self(0x0120);
    /// [`Vcpu`].
    pub const VCPU: Self = Self(0x8001);
    /// [`Clock`].
    pub const CLOCK: Self = Self(0x8002);
    /// [`arm::Cpu`].
    pub const ARM_CPU: Self = Self(0x8100);
    /// [`arm::FloatingPoint`].
    pub const ARM_FLOATING_POINT: Self = Self(0x8101);
    /// [`arm::Timer`].
    pub const ARM_TIMER: Self = Self(0x8102);
    /// [`arm::Redistributor`].
    pub const ARM_REDISTRIBUTOR: Self = Self(0x8103);
    /// [`arm::Gicv2Interface`].
    pub const ARM_GICV2_INTERFACE: Self = Self(0x8120);

    /// [`x86::Cpu`] of a vCPU on VMX.
    pub const VMX_CPU: Self = Self(0x8200);
    /// [`x86::Cpu`] of a vCPU on SVM.
    pub const SVM_CPU: Self = Self(0x8201);
    /// [`x86::Apic`].
    pub const X86_APIC: Self = Self(0x8202);
    /// [`x86::ExtendedState`].
    pub const X86_EXTENDED_STATE: Self = Self(0x8203);

    /// Whether there is one for each vCPU.
    #[must_use]
    pub const fn is_per_vcpu(self) -> bool {
        self.0 & 0x8000 != 0
    }
}

/// In front of every body.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Version of its layout: 1.
    pub version: u16,
    /// Of which vCPU; 0 for records of the domain.
    pub vcpu: u32,
    /// Bytes of the body; the next header follows at the next multiple of 8.
    pub length: u64,
}

/// The domain as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Domain {
    /// Guest frame of `shared_info`, [`NO_FRAME`] if none.
    pub shared_info_gfn: u64,
    /// Bits of enabled assists.
    pub assists: u64,
    /// Guest counter when the domain was saved, in ticks.
    pub guest_counter: u64,
    /// Guest's system time then, nanoseconds since it was made.
    pub system_time_ns: u64,
    /// HVM parameters.
    pub params: [u64; crate::xen::hvm::param::COUNT as usize],
    /// `shared_info` as the guest saw it (all zero if it is not mapped).
    pub shared_info: [u8; crate::FRAME_SIZE],
}

/// "No frame" in records.
pub const NO_FRAME: u64 = u64::MAX;

/// What the host must have too.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Platform {
    /// Counter ticks per second.
    pub counter_hz: u64,
    /// CPU feature words the guest was shown, in the architecture's order.
    pub features: [u64; 16],
    /// Guest-physical address bits.
    pub ipa_bits: u32,
    /// Interrupt controller version (ARM), 0 elsewhere.
    pub interrupt_controller_version: u32,
}

/// Whether a guest that was saved on a machine whose counter has one rate can go on where it has another. Rates that are
/// measured at boot, as on x86, are never quite the same; those of different machines differ by more.
#[must_use]
pub const fn do_rates_agree(saved_hz: u64, here_hz: u64) -> bool {
    const TOLERANCE: u64 = 50;
    saved_hz.abs_diff(here_hz) <= here_hz / TOLERANCE
}

/// A port in use.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Event {
    /// Its number.
    pub port: u32,
    /// One of [`crate::xen::event::status`]. An interdomain port to Domain-0 is saved as unbound, to be bound again.
    pub status: u32,
    /// vCPU that is notified.
    pub vcpu: u32,
    /// VIRQ number, or the peer's domid (only 0 is accepted back).
    pub detail: u32,
}

/// The grant table. The frames' contents follow the body: `frames` times 4096 bytes are saved as records of their own
/// (`index` says which), because they belong to the hypervisor's side.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Grants {
    /// Which frame this is.
    pub index: u32,
    /// Frames of the table.
    pub frames: u32,
    /// Guest frame it is mapped at, [`NO_FRAME`] if none.
    pub gfn: u64,
    /// Its content; reading and writing flags are recomputed.
    pub content: [u8; crate::FRAME_SIZE],
}

/// An emulated PL011 (DDI 0183). What it has received and not delivered, and sent, is in the console's ring.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Pl011 {
    /// UARTILPR.
    pub ilpr: u32,
    /// UARTIBRD.
    pub ibrd: u32,
    /// UARTFBRD.
    pub fbrd: u32,
    /// UARTLCR_H.
    pub lcr_h: u32,
    /// UARTCR.
    pub cr: u32,
    /// UARTIFLS.
    pub ifls: u32,
    /// UARTIMSC.
    pub imsc: u32,
    /// 1: the transmit interrupt is raised.
    pub sent: u32,
    /// UARTDMACR.
    pub dmacr: u32,
    /// Reserved.
    pub reserved: u32,
}

/// An emulated PL031 (DDI 0224).
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Pl031 {
    /// RTCDR minus the wall-clock time in seconds, modulo 2^32.
    pub offset: u32,
    /// RTCMR.
    pub mr: u32,
    /// RTCLR as last written.
    pub lr: u32,
    /// RTCIMSC.
    pub imsc: u32,
    /// RTCRIS.
    pub ris: u32,
    /// Reserved.
    pub reserved: u32,
    /// Wall-clock time in seconds at which RTCDR reaches RTCMR; `u64::MAX`: never.
    pub due_s: u64,
}

/// Where a vCPU keeps a copy of how time comes of its counter. Only of those that do.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Clock {
    /// Guest-physical address.
    pub gpa: u64,
}

/// A vCPU, apart from its registers.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Vcpu {
    /// 0: off, 1: switched on, 2: off with registers that it can be switched on with again.
    pub online: u32,
    /// 1: waits for an event.
    pub blocked: u32,
    /// Guest frame of its `vcpu_info`, [`NO_FRAME`]: the one in `shared_info`.
    pub info_gfn: u64,
    /// Offset in that frame.
    pub info_offset: u64,
    /// Guest-physical address of its runstate area, [`NO_FRAME`]: none.
    pub runstate_gpa: u64,
    /// Singleshot timer, guest system time in nanoseconds; 0: none.
    pub singleshot_ns: u64,
    /// Runstate times so far.
    pub runstate_time: [u64; 4],
    /// 1: waits in a poll.
    pub polling: u32,
    /// Port it polls for; 0: any.
    pub poll_port: u32,
}
