// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domains as a client sees them: how one is named, summarised and reported about.

use super::stats::Totals;
use alloc::{string::String, vec::Vec};
use core::fmt;
use minicbor::{Decode, Encode};

/// How a request names a domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum DomainRef {
    /// By host domid.
    #[n(0)]
    Id(#[n(0)] u16),
    /// By name.
    #[n(1)]
    Name(#[n(0)] String),
}

impl DomainRef {
    /// As an operator types it: a number is a domid, anything else a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.into()), Self::Id)
    }
}

impl fmt::Display for DomainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(domid) => write!(f, "{domid}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What kind of machine a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct DomainKind(#[n(0)] pub u8);

impl DomainKind {
    /// Xen-aware, without emulated devices.
    pub const PVH: Self = Self(0);
    /// A machine for guests that know nothing of Xen.
    pub const HVM: Self = Self(1);
    /// Domain-0 itself.
    pub const CONTROL: Self = Self(2);

    /// The word in `list`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PVH => "pvh",
            Self::HVM => "hvm",
            Self::CONTROL => "dom0",
            _ => "unknown",
        }
    }
}

/// What a domain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct DomainState(#[n(0)] pub u8);

impl DomainState {
    /// At least one vCPU runs or could.
    pub const RUNNING: Self = Self(0);
    /// All vCPUs wait for an event.
    pub const BLOCKED: Self = Self(1);
    /// Stopped by the operator.
    pub const PAUSED: Self = Self(2);
    /// Shut down, kept by its policy or about to be cleaned up.
    pub const SHUTDOWN: Self = Self(3);
    /// Crashed, kept by its policy or about to be cleaned up.
    pub const CRASHED: Self = Self(4);
    /// Being taken apart.
    pub const DYING: Self = Self(5);
    /// Defined, and not running.
    pub const OFF: Self = Self(6);

    /// The word in `list`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RUNNING => "running",
            Self::BLOCKED => "blocked",
            Self::PAUSED => "paused",
            Self::SHUTDOWN => "shutdown",
            Self::CRASHED => "crashed",
            Self::DYING => "dying",
            Self::OFF => "off",
            _ => "unknown",
        }
    }
}

/// Further facts about a domain, as bits; unknown bits are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct DomainFlags(#[n(0)] pub u32);

impl DomainFlags {
    /// Still being built.
    pub const BUILDING: Self = Self(1);
    /// Being saved.
    pub const SAVING: Self = Self(1 << 1);
    /// Being restored.
    pub const RESTORING: Self = Self(1 << 2);
    /// Asked to shut down or reboot, not done yet.
    pub const SHUTTING_DOWN: Self = Self(1 << 3);
    /// Managed: xend keeps its definition.
    pub const MANAGED: Self = Self(1 << 4);
    /// Its definition cannot be read any more.
    pub const BROKEN: Self = Self(1 << 5);
    /// It crashed, and waits to be started again.
    pub const WAITING: Self = Self(1 << 6);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One line of `list`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DomainSummary {
    /// The host domid; [`DomainSummary::NO_DOMID`] for one that is off.
    #[n(0)]
    pub domid: u16,
    /// The name.
    #[n(1)]
    pub name: String,
    /// The UUID, in the order it is written.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub uuid: [u8; 16],
    /// The kind of machine.
    #[n(3)]
    pub kind: DomainKind,
    /// What it is doing.
    #[n(4)]
    pub state: DomainState,
    /// Virtual CPUs.
    #[n(5)]
    pub vcpus: u32,
    /// Guest memory in KiB.
    #[n(6)]
    pub memory_kib: u64,
    /// CPU time used by all vCPUs, in nanoseconds.
    #[n(7)]
    pub cpu_ns: u64,
    /// Time since it was created or restored here, in nanoseconds.
    #[n(8)]
    pub age_ns: u64,
    /// Further facts.
    #[n(9)]
    pub flags: DomainFlags,
}

impl DomainSummary {
    /// The domid of a domain that has none (Xen's `DOMID_INVALID`).
    pub const NO_DOMID: u16 = 0x7ff4;

    /// The host domid, if it has one.
    #[must_use]
    pub fn number(&self) -> Option<u16> {
        (self.domid != Self::NO_DOMID).then_some(self.domid)
    }
}

/// Everything xend knows about one domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DomainDetail {
    /// What `list` shows.
    #[n(0)]
    pub summary: DomainSummary,
    /// The configuration it was created with, as written.
    #[n(1)]
    pub config: String,
    /// Counters: guest mistakes, exits, event channels, grants, xenstore nodes.
    #[n(2)]
    pub counters: Vec<NamedCount>,
    /// The guest's own domid, where it differs from the host's (after a restore).
    #[n(3)]
    pub guest_domid: Option<u16>,
    /// What earlier runs of a managed domain used.
    #[n(4)]
    pub totals: Option<Totals>,
}

/// A counter and its name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NamedCount {
    /// What is counted.
    #[n(0)]
    pub name: String,
    /// How many.
    #[n(1)]
    pub count: u64,
}

/// What happened to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct EventKind(#[n(0)] pub u8);

impl EventKind {
    /// Created.
    pub const CREATED: Self = Self(0);
    /// Restored from a snapshot.
    pub const RESTORED: Self = Self(1);
    /// Paused.
    pub const PAUSED: Self = Self(2);
    /// Unpaused.
    pub const UNPAUSED: Self = Self(3);
    /// Shut down.
    pub const SHUTDOWN: Self = Self(4);
    /// Rebooted, or about to be.
    pub const REBOOTED: Self = Self(5);
    /// Crashed.
    pub const CRASHED: Self = Self(6);
    /// Saved, and gone.
    pub const SAVED: Self = Self(7);
    /// Gone.
    pub const DESTROYED: Self = Self(8);
    /// Renamed.
    pub const RENAMED: Self = Self(9);

    /// The event's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CREATED => "created",
            Self::RESTORED => "restored",
            Self::PAUSED => "paused",
            Self::UNPAUSED => "unpaused",
            Self::SHUTDOWN => "shutdown",
            Self::REBOOTED => "rebooted",
            Self::CRASHED => "crashed",
            Self::SAVED => "saved",
            Self::DESTROYED => "destroyed",
            Self::RENAMED => "renamed",
            _ => "unknown",
        }
    }
}

/// Something that happened to a domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Event {
    /// When, in nanoseconds since the host's start.
    #[n(0)]
    pub time_ns: u64,
    /// To which domain.
    #[n(1)]
    pub domid: u16,
    /// Its name then.
    #[n(2)]
    pub name: String,
    /// What.
    #[n(3)]
    pub kind: EventKind,
    /// Why, where there is more to say.
    #[n(4)]
    pub detail: Option<String>,
}
