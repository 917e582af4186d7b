// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two samples make figures: shares of CPUs and events per second.

use crate::usage::usage_json;
use mgmt_proto::{
    config::uuid_text,
    messages::{DomainFlags, DomainStats, DomainSummary, HostStats, Stats},
};
use serde_json::{Value, json};

/// The host and its domains over the time between two samples.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) host: HostStats,
    /// Time between the samples, in nanoseconds; 0 for a first one.
    pub(crate) interval_ns: u64,
    /// Time that domains ran, of one CPU's, in percent: up to 100 times the CPUs. What ran in the hypervisor on behalf
    /// of a domain counts as the domain's.
    pub(crate) cpu_percent: Option<f64>,
    /// What the hypervisor and xend write to their logs.
    pub(crate) log_bytes_per_s: Option<f64>,
    pub(crate) domains: Vec<DomainFigures>,
}

/// One domain over that time.
#[derive(Clone, Debug)]
pub(crate) struct DomainFigures {
    pub(crate) stats: DomainStats,
    /// Time its vCPUs ran, of one CPU's, in percent: up to 100 times its vCPUs.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) exits_per_s: Option<f64>,
    pub(crate) hypercalls_per_s: Option<f64>,
}

impl Figures {
    /// The later sample, with rates since the earlier one. A host that has started again, or a domain that was not there
    /// before, has none.
    pub(crate) fn between(earlier: Option<&Stats>, later: Stats) -> Self {
        let earlier = earlier.filter(|earlier| earlier.host.time_ns < later.host.time_ns);
        let interval_ns = earlier.map_or(0, |it| later.host.time_ns - it.host.time_ns);
        let before = |domain: &DomainStats| {
            let is_same = |it: &&DomainStats| {
                it.summary.domid == domain.summary.domid && it.summary.uuid == domain.summary.uuid
            };
            earlier.and_then(|earlier| earlier.domains.iter().find(is_same))
        };
        let domains: Vec<DomainFigures> = later
            .domains
            .into_iter()
            .map(|stats| DomainFigures::between(before(&stats), stats, interval_ns))
            .collect();
        let logged =
            |host: &HostStats| host.hypervisor_log_bytes?.checked_add(host.xend_log_bytes?);
        let log_bytes = earlier.and_then(|it| logged(&later.host)?.checked_sub(logged(&it.host)?));
        let shares = domains.iter().filter_map(|domain| domain.cpu_percent);
        Self {
            host: later.host,
            interval_ns,
            cpu_percent: (interval_ns > 0).then(|| shares.sum()),
            log_bytes_per_s: log_bytes.map(|bytes| ratio(bytes, interval_ns.max(1)) * 1e9),
            domains,
        }
    }

    /// Memory that is not free, in KiB.
    pub(crate) fn used_kib(&self) -> u64 {
        self.host.total_kib.saturating_sub(self.host.free_kib)
    }

    /// The share of all CPUs that domains ran, in percent.
    pub(crate) fn load_percent(&self) -> Option<f64> {
        let cpus = f64::from(self.host.cpus.max(1));
        self.cpu_percent
            .map(|percent| (percent / cpus).clamp(0.0, 100.0))
    }

    pub(crate) fn json(&self) -> Value {
        let host = &self.host;
        json!({
            "interval_ns": self.interval_ns,
            "host": {
                "uptime_ns": host.time_ns,
                "cpus": host.cpus,
                "cpu_percent": rounded(self.cpu_percent),
                "idle_ns": host.idle_ns,
                "total_kib": host.total_kib,
                "free_kib": host.free_kib,
                "hypervisor_kib": host.hypervisor_kib,
                "dom0_kib": host.dom0_kib,
                "boot_kib": host.boot_kib,
                "store_kib": host.store_kib,
                "domains_kib": host.domains_kib,
                "hypervisor_log_bytes": host.hypervisor_log_bytes,
                "xend_log_bytes": host.xend_log_bytes,
                "log_bytes_per_s": rounded(self.log_bytes_per_s),
            },
            "domains": self.domains.iter().map(DomainFigures::json).collect::<Vec<_>>(),
        })
    }
}

impl DomainFigures {
    /// Of a domain that is defined alone.
    pub(crate) fn off(summary: DomainSummary) -> Self {
        let stats = DomainStats {
            summary,
            vcpus_online: 0,
            exits: 0,
            hypercalls: 0,
            refusals: 0,
            usage: None,
        };
        Self {
            stats,
            cpu_percent: None,
            exits_per_s: None,
            hypercalls_per_s: None,
        }
    }

    fn between(earlier: Option<&DomainStats>, later: DomainStats, interval_ns: u64) -> Self {
        let rate = |get: fn(&DomainStats) -> u64, unit: f64| {
            let grown = get(&later).saturating_sub(get(earlier?));
            (interval_ns > 0).then(|| ratio(grown, interval_ns) * unit)
        };
        let per_second = 1e9;
        Self {
            cpu_percent: rate(|it| it.summary.cpu_ns, 100.0),
            exits_per_s: rate(|it| it.exits, per_second),
            hypercalls_per_s: rate(|it| it.hypercalls, per_second),
            stats: later,
        }
    }

    pub(crate) fn summary(&self) -> &DomainSummary {
        &self.stats.summary
    }

    /// What it is doing: what xend does to it counts more than its state.
    pub(crate) fn doing(&self) -> &'static str {
        let summary = self.summary();
        [
            (DomainFlags::BUILDING, "building"),
            (DomainFlags::SAVING, "saving"),
            (DomainFlags::RESTORING, "restoring"),
            (DomainFlags::SHUTTING_DOWN, "stopping"),
            (DomainFlags::BROKEN, "broken"),
            (DomainFlags::WAITING, "waiting"),
        ]
        .into_iter()
        .find(|(flag, _)| summary.flags.contains(*flag))
        .map_or(summary.state.name(), |(_, word)| word)
    }

    fn json(&self) -> Value {
        let (stats, summary) = (&self.stats, self.summary());
        json!({
            "domid": summary.domid,
            "name": summary.name,
            "uuid": uuid_text(&summary.uuid),
            "type": summary.kind.name(),
            "state": summary.state.name(),
            "vcpus": summary.vcpus,
            "vcpus_online": stats.vcpus_online,
            "memory_kib": summary.memory_kib,
            "uptime_ns": summary.age_ns,
            "cpu_ns": summary.cpu_ns,
            "cpu_percent": rounded(self.cpu_percent),
            "exits": stats.exits,
            "exits_per_s": rounded(self.exits_per_s),
            "hypercalls": stats.hypercalls,
            "hypercalls_per_s": rounded(self.hypercalls_per_s),
            "refusals": stats.refusals,
            "usage": stats.usage.as_ref().map(usage_json),
        })
    }
}

/// Counters are far below 2^52.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share or a rate needs no more digits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// A part of a whole, in percent.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    ratio(part, whole.max(1)) * 100.0
}

fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 100.0).round() / 100.0)
}

/// A share with one digit behind the point.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

/// A rate in five columns.
pub(crate) fn rate(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 9_999.5 => format!("{value:.0}"),
        Some(value) if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        Some(value) => format!("{:.1}M", value / 1e6),
    }
}

/// Time since something: `59s`, `3m07s`, `5h02m`, `12d03h`.
pub(crate) fn uptime(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A size in few letters.
pub(crate) fn short(kib: u64) -> String {
    match kib {
        0..10_240 => format!("{kib}K"),
        10_240..10_485_760 => format!("{}M", kib >> 10),
        _ => format!("{}G", kib >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    #[test]
    fn rates_are_per_time_of_the_samples() {
        let first = samples::stats(10, &[("Domain-0", 0, 0), ("web", 1, 0)]);
        let mut second = samples::stats(12, &[("Domain-0", 0, 500), ("web", 1, 3000)]);
        second.domains[1].exits += 4000;
        let figures = Figures::between(Some(&first), second);
        assert_eq!(figures.interval_ns, 2_000_000_000);
        let web = &figures.domains[1];
        assert_eq!(
            (web.cpu_percent, web.exits_per_s),
            (Some(150.0), Some(2000.0))
        );
        assert_eq!(figures.cpu_percent, Some(175.0));
        assert_eq!(figures.load_percent(), Some(87.5), "of two CPUs");
        assert_eq!(figures.json()["host"]["log_bytes_per_s"], 120.0);
        assert_eq!(figures.json()["domains"][1]["cpu_percent"], 150.0);
    }

    #[test]
    fn what_was_not_there_before_has_no_rates() {
        let first = samples::stats(10, &[("Domain-0", 0, 0), ("web", 1, 900)]);
        let second = samples::stats(11, &[("Domain-0", 0, 10), ("web", 2, 40)]);
        let figures = Figures::between(Some(&first), second.clone());
        assert_eq!(figures.domains[1].cpu_percent, None, "it has rebooted");
        assert!(figures.domains[0].cpu_percent.is_some());
        let later = samples::stats(3, &[("Domain-0", 0, 5)]);
        let figures = Figures::between(Some(&second), later);
        assert_eq!(
            (figures.interval_ns, figures.cpu_percent),
            (0, None),
            "the host has started again"
        );
    }

    #[test]
    fn numbers_stay_within_their_columns() {
        for (value, text) in [
            (0.0, "0"),
            (9999.4, "9999"),
            (12_345.0, "12k"),
            (2.5e6, "2.5M"),
        ] {
            assert_eq!(rate(Some(value)), text);
        }
        for (seconds, text) in [
            (59, "59s"),
            (187, "3m07s"),
            (18_120, "5h02m"),
            (1_047_600, "12d03h"),
        ] {
            assert_eq!(uptime(seconds * 1_000_000_000), text);
        }
        for (kib, text) in [(10_239, "10239K"), (24 << 10, "24M"), (10 << 20, "10G")] {
            assert_eq!(short(kib), text);
        }
        assert_eq!(
            (percent(None), percent(Some(99.96))),
            ("-".into(), "100.0".into())
        );
    }
}
