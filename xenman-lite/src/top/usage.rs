// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain and its vCPUs did: since the domain was made, and between the last two times that were looked at.

use super::figures::{percent, rate, share};
use crate::output::{harmless, seconds};
use mgmt_proto::{
    config::CpuSet,
    messages::{DomainUsage, Usage, VcpuUsage},
};

/// The last two looks.
#[derive(Debug, Default)]
pub(super) struct Looks {
    earlier: Option<DomainUsage>,
    later: Option<DomainUsage>,
}

impl Looks {
    /// Takes in another look. A domain that was started anew begins anew.
    pub(super) fn add(&mut self, used: DomainUsage) {
        let same = |it: &DomainUsage| {
            it.domain.summary.domid == used.domain.summary.domid && it.time_ns < used.time_ns
        };
        self.earlier = self.later.take().filter(same);
        self.later = Some(used);
    }

    /// How much a number has grown in a second; the first look has no rates.
    fn per_second(&self, get: impl Fn(&DomainUsage) -> Option<u64>) -> Option<f64> {
        let (earlier, later) = (self.earlier.as_ref()?, self.later.as_ref()?);
        let grown = get(later)?.saturating_sub(get(earlier)?);
        let passed = later.time_ns.saturating_sub(earlier.time_ns);
        // A share of a second's nanoseconds, times how many they are.
        Some(share(grown, passed) / 100.0 * 1e9)
    }

    /// A time's share of the time that passed, in percent.
    fn percent(&self, get: impl Fn(&DomainUsage) -> Option<u64>) -> String {
        let shown = self.per_second(get).map(|ns| ns / 1e9 * 100.0);
        format!("{} %", percent(shown))
    }

    /// A vCPU a line.
    pub(super) fn vcpu_lines(&self) -> Vec<String> {
        let vcpus = self.later.iter().flat_map(|it| &it.vcpus);
        let lines: Vec<String> = vcpus.map(|vcpu| self.vcpu_line(vcpu)).collect();
        if lines.is_empty() {
            return lines;
        }
        let heading = "  vCPU  state     CPU     runs   queued   blocked  ran        may run on";
        [heading.to_owned()].into_iter().chain(lines).collect()
    }

    fn vcpu_line(&self, vcpu: &VcpuUsage) -> String {
        let summary = &vcpu.summary;
        let of = |get: fn(&VcpuUsage) -> u64| {
            self.percent(move |used| {
                let mut vcpus = used.vcpus.iter();
                vcpus.find(|it| it.summary.vcpu == summary.vcpu).map(get)
            })
        };
        format!(
            "  {:<4}  {:<8}  {:>3}  {:>7}  {:>7}  {:>8}  {:<9}  {}",
            summary.vcpu,
            summary.state.map_or("offline", |state| state.name()),
            summary.cpu,
            of(|it| it.summary.cpu_ns),
            of(|it| it.usage.runnable_ns),
            of(|it| it.usage.blocked_ns),
            format!("{} s", seconds(summary.cpu_ns)),
            CpuSet(summary.affinity),
        )
    }

    /// What all vCPUs did together.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(later) = &self.later else {
            return Vec::new();
        };
        let Some(usage) = &later.domain.usage else {
            return Vec::new();
        };
        let mut lines = vec![line("", "now", "since its start")];
        lines.extend(self.times(later, usage));
        let counts = self.counts(later, usage).into_iter();
        lines.extend(counts.map(|(what, count, now)| {
            line(&what, &format!("{}/s", rate(now)), &count.to_string())
        }));
        lines
    }

    /// What is counted: how often since the start, and per second.
    fn counts(&self, later: &DomainUsage, usage: &Usage) -> Vec<(String, u64, Option<f64>)> {
        let used = |what: &str, count: u64, get: fn(&Usage) -> u64| {
            (what.to_owned(), count, self.per_second(of(get)))
        };
        let exits = self.per_second(|it| Some(it.domain.exits));
        let refusals = self.per_second(|it| Some(it.domain.refusals));
        let kinds = usage.exits.by_name().into_iter().enumerate();
        let kinds = kinds.map(|(place, (kind, count))| {
            let kind_of = |used: &DomainUsage| {
                let kinds = used.domain.usage.as_ref()?.exits.by_name();
                kinds.get(place).map(|(_, count)| *count)
            };
            (format!("  {kind}"), count, self.per_second(kind_of))
        });
        let mut counts = vec![("exits".to_owned(), later.domain.exits, exits)];
        counts.extend(kinds);
        counts.extend([
            used("interrupts", usage.interrupts, |it| it.interrupts),
            used("events", usage.events, |it| it.events),
            ("refusals".to_owned(), later.domain.refusals, refusals),
        ]);
        counts
    }

    /// Where the time went, and how long it took to get a CPU.
    fn times(&self, later: &DomainUsage, usage: &Usage) -> Vec<String> {
        let time = |ns| format!("{} s", seconds(ns));
        let queued = self.per_second(of(|it| it.queued_ns));
        let runs = self.per_second(of(|it| it.runs));
        let latency = queued.zip(runs).filter(|(_, runs)| *runs > 0.0);
        let latency = latency.map_or_else(
            || "-".to_owned(),
            |(queued, runs)| microseconds(queued / runs),
        );
        let average = share(usage.queued_ns, usage.runs) / 100.0;
        vec![
            line(
                "runs",
                &self.percent(|it| Some(it.domain.summary.cpu_ns)),
                &time(later.domain.summary.cpu_ns),
            ),
            line(
                "queued for a CPU",
                &self.percent(of(|it| it.runnable_ns)),
                &time(usage.runnable_ns),
            ),
            line(
                "blocked for events",
                &self.percent(of(|it| it.blocked_ns)),
                &time(usage.blocked_ns),
            ),
            line(
                "gets a CPU",
                &format!("{}/s", rate(runs)),
                &usage.runs.to_string(),
            ),
            line("  after, on average", &latency, &microseconds(average)),
            line(
                "  after, at most",
                "",
                &microseconds(share(usage.longest_queued_ns, 1) / 100.0),
            ),
        ]
    }
}

/// A number of what all vCPUs used together.
fn of(get: fn(&Usage) -> u64) -> impl Fn(&DomainUsage) -> Option<u64> {
    move |used| used.domain.usage.as_ref().map(get)
}

fn line(what: &str, now: &str, total: &str) -> String {
    let line = format!("  {:<24}{now:>14}{total:>18}", harmless(what));
    line.trim_end().to_owned()
}

fn microseconds(ns: f64) -> String {
    format!("{:.1} us", ns / 1e3)
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    fn look(seconds: u64, domid: u16, cpu_ms: u64) -> DomainUsage {
        let stats = samples::stats(seconds, &[("web", domid, cpu_ms)]);
        DomainUsage {
            time_ns: stats.host.time_ns,
            domain: stats.domains[0].clone(),
            vcpus: Vec::new(),
        }
    }

    fn words(looks: &Looks, start: &str) -> Vec<String> {
        let lines = looks.lines();
        let line = lines
            .iter()
            .find(|line| line.trim_start().starts_with(start));
        let words = line
            .expect("it is there")
            .trim_start()
            .strip_prefix(start)
            .unwrap_or_default();
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn two_looks_make_rates() {
        let mut looks = Looks::default();
        looks.add(look(10, 1, 1000));
        assert_eq!(words(&looks, "interrupts"), ["-/s", "3000"]);
        looks.add(look(12, 1, 2000));
        assert_eq!(words(&looks, "interrupts"), ["1500/s", "6000"]);
        assert_eq!(words(&looks, "runs"), ["50.0", "%", "2.0", "s"]);
        assert_eq!(words(&looks, "queued for a CPU"), ["50.0", "%", "2.0", "s"]);
        assert_eq!(
            words(&looks, "blocked for events"),
            ["100.0", "%", "4.0", "s"]
        );
        assert_eq!(
            words(&looks, "after, on average"),
            ["1000.0", "us", "1000.0", "us"]
        );
        assert_eq!(words(&looks, "after, at most"), ["3000.0", "us"]);
        assert_eq!(words(&looks, "idle"), ["0/s", "300"]);
    }

    #[test]
    fn a_domain_that_was_started_anew_has_no_rates_yet() {
        let mut looks = Looks::default();
        looks.add(look(10, 1, 1000));
        looks.add(look(11, 2, 50));
        assert_eq!(words(&looks, "interrupts"), ["-/s", "150"]);
        assert!(looks.vcpu_lines().is_empty());
    }
}
