// SPDX-License-Identifier: MIT OR Apache-2.0
//! What domains used.

use super::{debian, stats};
use mgmt_proto::messages::*;

pub(super) fn request() -> (&'static str, RequestBody) {
    ("usage", RequestBody::Usage(debian()))
}

fn usage() -> Usage {
    Usage {
        runnable_ns: 20_000_000,
        blocked_ns: 80_000_000_000,
        runs: 4_000,
        queued_ns: 19_000_000,
        longest_queued_ns: 9_500_000,
        exits: ExitCounts {
            hypercalls: 60_000,
            accesses: 300,
            idle: 4_000,
            interrupted: 500,
            ipis: 40,
            power: 1,
            refused: 2,
            architecture: 5_157,
        },
        interrupts: 9_000,
        events: 3_000,
    }
}

pub(super) fn replies() -> [(&'static str, Reply); 3] {
    let mut all = stats();
    all.host.hypervisor_log_bytes = Some(12_345);
    all.host.xend_log_bytes = Some(678);
    for domain in &mut all.domains {
        domain.usage = Some(usage());
    }
    let vcpu = VcpuUsage {
        summary: VcpuSummary {
            domid: 3,
            name: "debian".into(),
            vcpu: 0,
            state: Some(DomainState::BLOCKED),
            cpu: 1,
            cpu_ns: 1_500_000_000,
            affinity: 0b11,
        },
        usage: usage(),
    };
    let domain = DomainUsage {
        time_ns: 90_000_000_000,
        domain: all.domains[0].clone(),
        vcpus: vec![vcpu],
    };
    let detail = DomainDetail {
        summary: all.domains[0].summary.clone(),
        config: "name = 'debian'\n".into(),
        counters: Vec::new(),
        guest_domid: None,
        totals: Some(Totals {
            runs: 12,
            crashes: 1,
            up_ns: 86_400_000_000_000,
            cpu_ns: 360_000_000_000,
            exits: 7_000_000,
            interrupts: 900_000,
            events: 300_000,
        }),
    };
    [
        ("stats-usage", Reply::Stats(all)),
        ("usage", Reply::Usage(Box::new(domain))),
        ("domain-totals", Reply::Domain(detail)),
    ]
}
