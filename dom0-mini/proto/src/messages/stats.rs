// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host and its domains at one moment: counters that only grow, so that two samples give rates.

use super::{domain::DomainSummary, scheduling::VcpuSummary};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// One sample. All its numbers are as of [`HostStats::time_ns`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Stats {
    /// The host.
    #[n(0)]
    pub host: HostStats,
    /// All domains that exist, Domain-0 first, then by domid.
    #[n(1)]
    pub domains: Vec<DomainStats>,
}

/// The host's part of a sample. The memory parts add up as in [`HostInfo`](super::HostInfo).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostStats {
    /// The moment: time since the host's start, in nanoseconds.
    #[n(0)]
    pub time_ns: u64,
    /// Physical CPUs that run.
    #[n(1)]
    pub cpus: u32,
    /// Time that CPUs waited with nothing to run, all together, in nanoseconds. A wait counts when it is over.
    #[n(2)]
    pub idle_ns: u64,
    /// RAM of the machine, in KiB.
    #[n(3)]
    pub total_kib: u64,
    /// Free for new domains and blobs.
    #[n(4)]
    pub free_kib: u64,
    /// Kept by the hypervisor.
    #[n(5)]
    pub hypervisor_kib: u64,
    /// Domain-0's memory.
    #[n(6)]
    pub dom0_kib: u64,
    /// The boot bundle.
    #[n(7)]
    pub boot_kib: u64,
    /// Blobs and snapshots kept in memory.
    #[n(8)]
    pub store_kib: u64,
    /// Memory of all other domains.
    #[n(9)]
    pub domains_kib: u64,
    /// Bytes written to the hypervisor's log. Absent: xend is older than this field.
    #[n(10)]
    pub hypervisor_log_bytes: Option<u64>,
    /// Bytes written to xend's log. Absent: xend is older than this field.
    #[n(11)]
    pub xend_log_bytes: Option<u64>,
}

/// A domain's part of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DomainStats {
    /// What `list` shows.
    #[n(0)]
    pub summary: DomainSummary,
    /// vCPUs that are switched on.
    #[n(1)]
    pub vcpus_online: u32,
    /// Exits of its vCPUs.
    #[n(2)]
    pub exits: u64,
    /// Hypercalls.
    #[n(3)]
    pub hypercalls: u64,
    /// Things it did that were refused.
    #[n(4)]
    pub refusals: u64,
    /// What its vCPUs did, all together. Absent: xend is older than this field.
    #[n(5)]
    pub usage: Option<Usage>,
}

/// What a vCPU, or all of a domain's together, did since the domain was made; CPU time is in its summary. All but the
/// longest wait only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Usage {
    /// Time it wanted to run and did not, in nanoseconds: others ran, or its domain's cap held it back.
    #[n(0)]
    pub runnable_ns: u64,
    /// Time it waited for an event, in nanoseconds.
    #[n(1)]
    pub blocked_ns: u64,
    /// How often it got a CPU.
    #[n(2)]
    pub runs: u64,
    /// Time from when it could have run until it did, in nanoseconds, all of these runs together: its latency.
    #[n(3)]
    pub queued_ns: u64,
    /// The longest of them; of a domain, that of the vCPU that waited longest.
    #[n(4)]
    pub longest_queued_ns: u64,
    /// Exits by what they were for.
    #[n(5)]
    pub exits: ExitCounts,
    /// Interrupts it took.
    #[n(6)]
    pub interrupts: u64,
    /// Notifications that came by its event channels.
    #[n(7)]
    pub events: u64,
}

/// Exits by what they were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ExitCounts {
    /// Hypercalls.
    #[n(0)]
    pub hypercalls: u64,
    /// Loads and stores of emulated devices, and where nothing is.
    #[n(1)]
    pub accesses: u64,
    /// It waited for an interrupt.
    #[n(2)]
    pub idle: u64,
    /// The host's own interrupts.
    #[n(3)]
    pub interrupted: u64,
    /// Interrupts for its domain's other vCPUs.
    #[n(4)]
    pub ipis: u64,
    /// Calls about the power of vCPUs and the domain.
    #[n(5)]
    pub power: u64,
    /// Instructions that were refused.
    #[n(6)]
    pub refused: u64,
    /// What the architecture deals with by itself: system registers, the interrupt controller, firmware calls.
    #[n(7)]
    pub architecture: u64,
}

impl ExitCounts {
    /// The kinds with their names, in order.
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, u64); 8] {
        [
            ("hypercalls", self.hypercalls),
            ("accesses", self.accesses),
            ("idle", self.idle),
            ("interrupted", self.interrupted),
            ("ipis", self.ipis),
            ("power", self.power),
            ("refused", self.refused),
            ("architecture", self.architecture),
        ]
    }
}

/// One domain at one moment, down to its vCPUs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DomainUsage {
    /// The moment: time since the host's start, in nanoseconds.
    #[n(0)]
    pub time_ns: u64,
    /// The domain.
    #[n(1)]
    pub domain: DomainStats,
    /// Its vCPUs in order. Each is as of a moment of its own, a little later.
    #[n(2)]
    pub vcpus: Vec<VcpuUsage>,
}

/// One vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VcpuUsage {
    /// What `vcpu-list` shows.
    #[n(0)]
    pub summary: VcpuSummary,
    /// What it did.
    #[n(1)]
    pub usage: Usage,
}

/// What the runs of a managed domain used that are over, all together. Kept with its definition, across restarts of the
/// host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Totals {
    /// How many runs: from a start to a stop, a reboot, a save or a crash.
    #[n(0)]
    pub runs: u64,
    /// Those that ended with a crash.
    #[n(1)]
    pub crashes: u64,
    /// Time it was there, in nanoseconds.
    #[n(2)]
    pub up_ns: u64,
    /// Time its vCPUs ran, in nanoseconds.
    #[n(3)]
    pub cpu_ns: u64,
    /// Exits.
    #[n(4)]
    pub exits: u64,
    /// Interrupts it took.
    #[n(5)]
    pub interrupts: u64,
    /// Notifications that came by its event channels.
    #[n(6)]
    pub events: u64,
}
