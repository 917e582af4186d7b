// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets how much of which CPU.

use super::domain::{DomainRef, DomainState};
use alloc::string::String;
use minicbor::{Decode, Encode};

/// What a domain may use of the CPUs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DomainScheduling {
    /// Its host domid.
    #[n(0)]
    pub domid: u16,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// Its share of a CPU that others want too: twice the weight, twice the time.
    #[n(2)]
    pub weight: u32,
    /// Percent of one CPU it may use at most, all its vCPUs together; 0: no limit.
    #[n(3)]
    pub cap: u32,
}

/// Changes what a domain may use.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetScheduling {
    /// Which domain.
    #[n(0)]
    pub domain: DomainRef,
    /// The new weight, 1 to 65535; absent: as it is.
    #[n(1)]
    pub weight: Option<u32>,
    /// The new cap; absent: as it is.
    #[n(2)]
    pub cap: Option<u32>,
}

/// A vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VcpuSummary {
    /// Its domain's host domid.
    #[n(0)]
    pub domid: u16,
    /// Its domain's name.
    #[n(1)]
    pub name: String,
    /// Its number.
    #[n(2)]
    pub vcpu: u32,
    /// What it does; absent: it is switched off.
    #[n(3)]
    pub state: Option<DomainState>,
    /// The CPU it is on, or was on last.
    #[n(4)]
    pub cpu: u32,
    /// Time it ran, nanoseconds.
    #[n(5)]
    pub cpu_ns: u64,
    /// Where it may run: bit n for CPU n, of those that the host has.
    #[n(6)]
    pub affinity: u64,
}

/// Says where vCPUs may run.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PinVcpu {
    /// Which domain.
    #[n(0)]
    pub domain: DomainRef,
    /// Which vCPU; absent: all of them.
    #[n(1)]
    pub vcpu: Option<u32>,
    /// Where: bit n for CPU n.
    #[n(2)]
    pub cpus: u64,
}
