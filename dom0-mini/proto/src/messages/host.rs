// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host as `info` shows it.

use alloc::{boxed::Box, string::String, vec::Vec};
use minicbor::{Decode, Encode};

/// The host's facts. The seven memory parts add up: `total = free + hypervisor + dom0 + boot + store +
/// domains`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostInfo {
    /// RAM of the machine, in KiB.
    #[n(0)]
    pub total_kib: u64,
    /// Free for new domains and blobs.
    #[n(1)]
    pub free_kib: u64,
    /// Kept by the hypervisor: image, tables, metadata.
    #[n(2)]
    pub hypervisor_kib: u64,
    /// Domain-0's memory.
    #[n(3)]
    pub dom0_kib: u64,
    /// The boot bundle, where the boot loader put it.
    #[n(4)]
    pub boot_kib: u64,
    /// Blobs and snapshots kept in memory.
    #[n(5)]
    pub store_kib: u64,
    /// Memory of all other domains.
    #[n(6)]
    pub domains_kib: u64,
    /// Physical CPUs that run.
    #[n(7)]
    pub cpus: u32,
    /// `aarch64` or `x86_64`.
    #[n(8)]
    pub arch: String,
    /// The board's name.
    #[n(9)]
    pub board: String,
    /// Time since the host's start, in nanoseconds.
    #[n(10)]
    pub uptime_ns: u64,
    /// The hypervisor's name and version.
    #[n(11)]
    pub hypervisor: String,
    /// xend's name and version.
    #[n(12)]
    pub xend: String,
    /// How long each phase from reset on took.
    #[n(13)]
    pub boot_phases: Vec<BootPhase>,
    /// Bytes in use on Domain-0's heap.
    #[n(14)]
    pub heap_used: u64,
    /// Size of Domain-0's heap in bytes.
    #[n(15)]
    pub heap_size: u64,
    /// Domains, Domain-0 included.
    #[n(16)]
    pub domains: u32,
    /// The host's wall-clock time, in nanoseconds since 1970; absent without a clock.
    #[n(17)]
    pub wall_clock_ns: Option<u64>,
    /// What of the CPU guests run by, such as `Intel VMX`; absent from an older xend.
    #[n(18)]
    pub virtualization: Option<String>,
    /// Where the store keeps what it keeps; absent from an older xend.
    #[n(19)]
    pub store: Option<Box<StoreInfo>>,
}

/// The host's store of configurations, snapshots and the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StoreInfo {
    /// Where it is.
    #[n(0)]
    pub place: StorePlace,
    /// The disk's size in KiB; 0 without one.
    #[n(1)]
    pub size_kib: u64,
    /// Why nothing is written to the disk.
    #[n(2)]
    pub reason: Option<String>,
    /// Room on the disk for snapshots and what else is large, in KiB.
    #[n(3)]
    pub free_kib: Option<u64>,
}

/// Where a store is: an open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct StorePlace(#[n(0)] pub u8);

impl StorePlace {
    /// In memory: it ends with the host.
    pub const MEMORY: Self = Self(0);
    /// On a disk.
    pub const DISK: Self = Self(1);
    /// In memory, as the disk is not to be written to.
    pub const RESCUE: Self = Self(2);

    /// Its name, for `--json`; `unknown` for one from the future.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MEMORY => "memory",
            Self::DISK => "disk",
            Self::RESCUE => "rescue",
            _ => "unknown",
        }
    }
}

/// A phase of the host's start.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BootPhase {
    /// What was done.
    #[n(0)]
    pub name: String,
    /// How long it took, in nanoseconds.
    #[n(1)]
    pub duration_ns: u64,
}
