// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fake's domains used.

use mgmt_proto::messages::{
    DomainStats, DomainUsage, ExitCounts, Reply, Totals, Usage, VcpuSummary, VcpuUsage,
};

/// What a domain used after so many seconds.
pub(super) fn used(seconds: u64) -> Usage {
    Usage {
        runnable_ns: seconds * 1_500_000,
        blocked_ns: seconds * 498_500_000,
        runs: seconds * 100,
        queued_ns: seconds * 1_234_000,
        longest_queued_ns: 98_765,
        exits: ExitCounts {
            hypercalls: seconds * 200,
            idle: seconds * 100,
            architecture: seconds * 700,
            ..ExitCounts::default()
        },
        interrupts: seconds * 120,
        events: seconds * 30,
    }
}

/// The answer about a domain with this one vCPU.
pub(super) fn reply(domain: DomainStats, vcpu: VcpuSummary) -> Reply {
    Reply::Usage(Box::new(DomainUsage {
        time_ns: 1_000_000_000,
        vcpus: vec![VcpuUsage {
            summary: vcpu,
            usage: used(1),
        }],
        domain,
    }))
}

/// What earlier runs used.
pub(super) fn totals() -> Totals {
    Totals {
        runs: 12,
        crashes: 1,
        up_ns: 86_400_000_000_000,
        cpu_ns: 360_000_000_000,
        ..Totals::default()
    }
}
