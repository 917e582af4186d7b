// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples for tests.

use mgmt_proto::messages::{
    DomainFlags, DomainKind, DomainState, DomainStats, DomainSummary, ExitCounts, HostStats, Stats,
    Usage,
};

/// A sample of a host with two CPUs and 1 GiB, up for so many seconds; domains by name, domid and milliseconds of CPU
/// time. The name decides the UUID; one with "hvm" in it is of that type.
pub(crate) fn stats(seconds: u64, domains: &[(&str, u16, u64)]) -> Stats {
    Stats {
        host: HostStats {
            time_ns: seconds * 1_000_000_000,
            cpus: 2,
            idle_ns: 0,
            total_kib: 1 << 20,
            free_kib: 3 << 18,
            hypervisor_kib: 4096,
            dom0_kib: 24 << 10,
            boot_kib: 2048,
            store_kib: 0,
            domains_kib: 64 << 10,
            hypervisor_log_bytes: Some(seconds * 100),
            xend_log_bytes: Some(seconds * 20),
        },
        domains: domains
            .iter()
            .map(|(name, domid, cpu_ms)| domain(name, *domid, *cpu_ms, seconds))
            .collect(),
    }
}

fn domain(name: &str, domid: u16, cpu_ms: u64, seconds: u64) -> DomainStats {
    let mut uuid = [0; 16];
    uuid.iter_mut()
        .zip(name.bytes())
        .for_each(|(to, from)| *to = from);
    let kind = match domid {
        0 => DomainKind::CONTROL,
        _ if name.contains("hvm") => DomainKind::HVM,
        _ => DomainKind::PVH,
    };
    DomainStats {
        summary: DomainSummary {
            domid,
            name: name.into(),
            uuid,
            kind,
            state: DomainState::RUNNING,
            vcpus: 1,
            memory_kib: 64 << 10,
            cpu_ns: cpu_ms * 1_000_000,
            age_ns: seconds * 1_000_000_000,
            flags: DomainFlags::default(),
        },
        vcpus_online: 1,
        exits: 1000,
        hypercalls: 500,
        refusals: 0,
        usage: Some(usage(cpu_ms)),
    }
}

/// It waits as long for a CPU as it runs, 1 ms each time.
fn usage(cpu_ms: u64) -> Usage {
    Usage {
        runnable_ns: cpu_ms * 1_000_000,
        blocked_ns: cpu_ms * 2_000_000,
        runs: cpu_ms,
        queued_ns: cpu_ms * 1_000_000,
        longest_queued_ns: 3_000_000,
        exits: ExitCounts {
            hypercalls: 500,
            idle: 300,
            architecture: 200,
            ..ExitCounts::default()
        },
        interrupts: cpu_ms * 3,
        events: cpu_ms,
    }
}
