// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host and its domains at one moment: counters that only grow, so that two samples give rates.

use super::domain::DomainSummary;
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
    /// Exits of its vCPUs that were more than the fast path's business.
    #[n(2)]
    pub exits: u64,
    /// Hypercalls.
    #[n(3)]
    pub hypercalls: u64,
    /// Things it did that were refused.
    #[n(4)]
    pub refusals: u64,
}
