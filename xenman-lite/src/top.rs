// SPDX-License-Identifier: MIT OR Apache-2.0
//! `top`: the dashboard, and one sample of it for scripts.

mod action;
mod charts;
mod choice;
mod columns;
mod dashboard;
mod detail;
mod events;
mod feed;
mod figures;
mod form;
mod help;
mod history;
mod hosts;
mod journal;
mod keys;
mod model;
mod palette;
mod recall;
#[cfg(test)]
mod samples;
mod saved;
mod screen;
mod table;
mod usage;
mod view;
mod work;

use crate::{
    args,
    conf::Conf,
    link::{Client, Host},
    output::{Output, size},
    problem::Problem,
};
use figures::{DomainFigures, Figures};
use mgmt_proto::messages::{Reply, RequestBody, Stats};
use std::{
    io::{IsTerminal, stdin, stdout},
    sync::Arc,
    thread,
    time::Duration,
};

/// The time between two samples that one set of figures comes from, unless said otherwise.
const INTERVAL: Duration = Duration::from_secs(1);

fn sample(client: &Client) -> Result<Stats, Problem> {
    match client.call(RequestBody::Stats)? {
        Reply::Stats(stats) => Ok(stats),
        _ => Err(Problem::nonsense("a sample")),
    }
}

/// Refuses what cannot be shown, before there is a host to ask.
pub(crate) fn check(top: &args::Top, output: Output) -> Result<(), Problem> {
    interval(top)?;
    if top.once {
        return Ok(());
    }
    if output.json {
        return Err(Problem::usage("the dashboard is no JSON")
            .with_remedy("'top --once --json' prints one sample"));
    }
    if is_on_terminal() {
        return Ok(());
    }
    Err(Problem::usage("the dashboard needs a terminal")
        .with_remedy("'top --once' prints one sample"))
}

/// Whether there is a terminal to show the dashboard on.
pub(crate) fn is_on_terminal() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// `top`.
pub(crate) fn show(host: Host, conf: Arc<Conf>, top: &args::Top) -> Result<(), Problem> {
    let client = Client::connect(&host, &crate::client_name())?;
    dashboard::Dashboard::new((host, client), conf, interval(top)?)?.run()
}

/// `top --once`.
pub(crate) fn once(client: &Client, output: Output, top: &args::Top) -> Result<(), Problem> {
    let (first, interval) = (sample(client)?, interval(top)?);
    let mut last = first.clone();
    for _ in 0..top.intervals.max(1) {
        thread::sleep(interval);
        last = sample(client)?;
    }
    let figures = Figures::between(Some(&first), last);
    if output.json {
        return output.json(&figures.json());
    }
    output.line(&host_line(&figures))?;
    let rows: Vec<Vec<String>> = figures.domains.iter().map(row).collect();
    output.table(
        &[
            "Name", "ID", "Type", "State", "CPU%", "Mem", "VCPUs", "Exits/s", "Uptime",
        ],
        &["ID", "CPU%", "Mem", "VCPUs", "Exits/s", "Uptime"],
        &rows,
    )
}

/// The interval that was asked for.
fn interval(top: &args::Top) -> Result<Duration, Problem> {
    match top.interval {
        None => Ok(INTERVAL),
        Some(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err(Problem::usage("the interval is 0.1 to 3600 seconds")),
    }
}

fn host_line(figures: &Figures) -> String {
    let host = &figures.host;
    format!(
        "up {}, {}, {}% busy, {} of {} used",
        figures::uptime(host.time_ns),
        cpus(host.cpus),
        figures::percent(figures.load_percent()),
        size(figures.used_kib()),
        size(host.total_kib)
    )
}

fn cpus(count: u32) -> String {
    match count {
        1 => "1 CPU".to_owned(),
        _ => format!("{count} CPUs"),
    }
}

fn row(domain: &DomainFigures) -> Vec<String> {
    let summary = domain.summary();
    vec![
        summary.name.clone(),
        summary.domid.to_string(),
        summary.kind.name().to_owned(),
        domain.doing().to_owned(),
        figures::percent(domain.cpu_percent),
        (summary.memory_kib / 1024).to_string(),
        summary.vcpus.to_string(),
        figures::rate(domain.exits_per_s),
        figures::uptime(summary.age_ns),
    ]
}
