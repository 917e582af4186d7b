// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain used, down to its vCPUs.

use crate::{
    link::{Client, LinkError},
    output::seconds,
    problem::Problem,
};
use mgmt_proto::messages::{
    DomainRef, DomainSummary, DomainUsage, Reply, RequestBody, Totals, Usage,
};
use serde_json::{Value, json};

/// What a domain used; none if it does not run, or on a xend that does not tell.
pub(crate) fn of(
    client: &Client,
    summary: &DomainSummary,
) -> Result<Option<Box<DomainUsage>>, Problem> {
    let Some(domid) = summary.number() else {
        return Ok(None);
    };
    match client.call(RequestBody::Usage(DomainRef::Id(domid))) {
        Ok(Reply::Usage(used)) => Ok(Some(used)),
        Ok(_) => Err(Problem::nonsense("what the domain used")),
        // It may have ended since.
        Err(LinkError::Failed(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same for programs.
pub(crate) fn json(used: &DomainUsage) -> Value {
    let vcpus = used.vcpus.iter().map(|vcpu| {
        let mut shown = usage_json(&vcpu.usage);
        shown["vcpu"] = vcpu.summary.vcpu.into();
        shown["cpu_ns"] = vcpu.summary.cpu_ns.into();
        shown
    });
    let mut shown = json!(used.domain.usage.as_ref().map(usage_json));
    shown["vcpus"] = vcpus.collect();
    shown
}

/// The same for people.
pub(crate) fn lines(used: &DomainUsage) -> Vec<(String, String)> {
    let line = |what: &str, usage: &Usage, cpu_ns: u64| {
        let times = [cpu_ns, usage.runnable_ns, usage.blocked_ns].map(seconds);
        let [ran, waited, blocked] = times;
        (
            what.to_owned(),
            format!("ran {ran} s, waited for a CPU {waited} s, for events {blocked} s"),
        )
    };
    let vcpus = used.vcpus.iter().map(|vcpu| {
        let what = format!("vCPU {}", vcpu.summary.vcpu);
        line(&what, &vcpu.usage, vcpu.summary.cpu_ns)
    });
    let mut lines: Vec<_> = vcpus.collect();
    if let Some(usage) = &used.domain.usage {
        lines.extend(latency_lines(usage));
        let exits = usage.exits.by_name().into_iter();
        lines.extend(exits.map(|(kind, count)| (format!("exits: {kind}"), count.to_string())));
        lines.push(("interrupts".to_owned(), usage.interrupts.to_string()));
        lines.push(("events".to_owned(), usage.events.to_string()));
    }
    lines
}

fn latency_lines(usage: &Usage) -> [(String, String); 2] {
    let average = usage.queued_ns / usage.runs.max(1);
    let microseconds = |ns: u64| format!("{}.{:03} us", ns / 1000, ns % 1000);
    let text = format!(
        "{} on average, {} at most",
        microseconds(average),
        microseconds(usage.longest_queued_ns)
    );
    [
        ("got a CPU".to_owned(), format!("{} times", usage.runs)),
        ("scheduling latency".to_owned(), text),
    ]
}

/// What a vCPU or a domain used.
pub(crate) fn usage_json(usage: &Usage) -> Value {
    let exits = usage.exits.by_name().into_iter();
    let exits = exits.map(|(kind, count)| (kind.to_owned(), count.into()));
    json!({
        "runnable_ns": usage.runnable_ns,
        "blocked_ns": usage.blocked_ns,
        "runs": usage.runs,
        "queued_ns": usage.queued_ns,
        "longest_queued_ns": usage.longest_queued_ns,
        "exits": Value::Object(exits.collect()),
        "interrupts": usage.interrupts,
        "events": usage.events,
    })
}

/// What earlier runs of a managed domain used, for programs.
pub(crate) fn totals_json(totals: &Totals) -> Value {
    json!({
        "runs": totals.runs,
        "crashes": totals.crashes,
        "up_ns": totals.up_ns,
        "cpu_ns": totals.cpu_ns,
        "exits": totals.exits,
        "interrupts": totals.interrupts,
        "events": totals.events,
    })
}

/// The same for people.
pub(crate) fn totals_lines(totals: &Totals) -> [(String, String); 2] {
    let Totals {
        runs,
        crashes,
        up_ns,
        cpu_ns,
        ..
    } = totals;
    let (up, ran) = (seconds(*up_ns), seconds(*cpu_ns));
    [
        (
            "earlier runs".to_owned(),
            format!("{runs}, {crashes} of them ended with a crash"),
        ),
        (
            "used by them".to_owned(),
            format!("{ran} s of CPUs in {up} s"),
        ),
    ]
}
