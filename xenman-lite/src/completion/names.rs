// SPDX-License-Identifier: MIT OR Apache-2.0
//! `complete-names KIND`: what the host has, a name on a line, for the scripts.
//!
//! It is asked while somebody types: it says nothing rather than to complain, and nothing after a second. A serial line is
//! not opened for it, for that would end the sessions of whoever has it.

use crate::{
    conf::Conf,
    link::{Client, Host},
    output::Output,
    problem::Problem,
};
use mgmt_proto::messages::{Reply, RequestBody};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long somebody who types is kept waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prints the names of a kind, as far as they can be had.
pub(crate) fn print(
    host: Option<&Host>,
    client: &str,
    kind: &str,
    output: Output,
) -> Result<(), Problem> {
    let names = host.and_then(|host| within_patience(host.clone(), client, kind));
    lines(names.unwrap_or_default(), output)
}

/// Prints the hosts that have names, for which nobody is asked.
pub(crate) fn print_hosts(conf: &Conf, output: Output) -> Result<(), Problem> {
    let hosts = conf.hosts().unwrap_or_default();
    lines(hosts.into_iter().map(|host| host.name).collect(), output)
}

fn lines(names: Vec<String>, output: Output) -> Result<(), Problem> {
    let lines: String = names
        .iter()
        .filter(|name| !name.is_empty() && !name.contains(char::is_control))
        .map(|name| format!("{name}\n"))
        .collect();
    output.bytes(lines.as_bytes())
}

fn within_patience(host: Host, client: &str, kind: &str) -> Option<Vec<String>> {
    let request = request(kind)?;
    if matches!(host, Host::Serial { .. }) {
        return None;
    }
    let give_up = Instant::now() + PATIENCE;
    let (tell, told) = mpsc::channel();
    let client = client.to_owned();
    thread::spawn(move || {
        // Nobody may be there any more to be told.
        if let Ok(client) = Client::connect_within(&host, &client, PATIENCE)
            && let Ok(reply) = client.call(request)
        {
            drop(tell.send(names(reply)));
        }
    });
    told.recv_timeout(give_up.saturating_duration_since(Instant::now()))
        .ok()
}

fn request(kind: &str) -> Option<RequestBody> {
    match kind {
        "domains" => Some(RequestBody::List),
        "images" => Some(RequestBody::ImageList),
        "snapshots" => Some(RequestBody::SnapshotList),
        _ => None,
    }
}

fn names(reply: Reply) -> Vec<String> {
    match reply {
        Reply::List(all) => all.into_iter().map(|domain| domain.name).collect(),
        Reply::Images(all) => all.into_iter().map(|image| image.name).collect(),
        Reply::Snapshots(all) => all.into_iter().map(|snapshot| snapshot.label).collect(),
        _ => Vec::new(),
    }
}
