// SPDX-License-Identifier: MIT OR Apache-2.0
//! `snapshot`: saved machines, in the host's store and on this computer.

use crate::{
    args::{SnapshotDelete, SnapshotVerb},
    conf::Conf,
    link::Client,
    output::{Output, harmless, note, size},
    problem::Problem,
    saved::SavedMachine,
};
use mgmt_proto::{
    config::uuid_text,
    messages::{Reply, RequestBody, SnapshotSummary},
};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// What a name begins with that means a machine on this computer.
const HERE: &str = "here:";

/// What a label begins with that means one in the host's store.
const STORE: &str = "store:";

/// `snapshot`.
pub(crate) fn snapshot(
    client: &Client,
    output: Output,
    conf: &Conf,
    verb: &SnapshotVerb,
) -> Result<(), Problem> {
    match verb {
        SnapshotVerb::List(_) => list(client, output, conf),
        SnapshotVerb::Delete(it) => delete(client, output, conf, &it.label),
    }
}

/// The machine on this computer that is to be deleted, if the host has nothing to do with it.
pub(crate) fn named_here(delete: &SnapshotDelete) -> Option<&str> {
    delete.label.strip_prefix(HERE)
}

/// `snapshot delete here:NAME`.
pub(crate) fn delete_here(output: Output, conf: &Conf, name: &str) -> Result<(), Problem> {
    conf.saved()?.delete(name)?;
    output.done()
}

/// `snapshot delete NAME`, wherever it is.
fn delete(client: &Client, output: Output, conf: &Conf, label: &str) -> Result<(), Problem> {
    let in_store = label.strip_prefix(STORE);
    let here = conf.saved().ok().filter(|it| it.find(label).is_some());
    if let (None, Some(saved)) = (in_store, here) {
        if stored(client)?.iter().any(|it| it.label == label) {
            let label = harmless(label);
            return Err(Problem::new(format!(
                "'{label}' is in the host's store and on this computer"
            ))
            .with_remedy(format!("say {STORE}{label} or {HERE}{label}")));
        }
        saved.delete(label)?;
    } else {
        let label = in_store.unwrap_or(label).to_owned();
        client.call(RequestBody::SnapshotDelete(label))?;
    }
    output.done()
}

fn stored(client: &Client) -> Result<Vec<SnapshotSummary>, Problem> {
    match client.call(RequestBody::SnapshotList)? {
        Reply::Snapshots(snapshots) => Ok(snapshots),
        _ => Err(Problem::nonsense("a list of snapshots")),
    }
}

/// What is saved on this computer. That it cannot be known is no reason not to tell what the host has.
fn here(conf: &Conf) -> Vec<SavedMachine> {
    match conf.saved() {
        Ok(saved) => saved.list(),
        Err(problem) => {
            note(&problem.to_string());
            Vec::new()
        }
    }
}

/// `snapshot list`: what the host has, then what is here.
fn list(client: &Client, output: Output, conf: &Conf) -> Result<(), Problem> {
    let (stored, here) = (stored(client)?, here(conf));
    if output.json {
        let stored = stored.iter().map(stored_json);
        return output.json(&stored.chain(here.iter().map(here_json)).collect());
    }
    let rows = stored.iter().map(stored_row);
    let rows: Vec<Vec<String>> = rows.chain(here.iter().map(here_row)).collect();
    output.table(
        &["Label", "Where", "Domain", "Memory", "Stored", "Saved"],
        &["Memory", "Stored"],
        &rows,
    )
}

fn stored_row(snapshot: &SnapshotSummary) -> Vec<String> {
    vec![
        snapshot.label.clone(),
        "store".to_owned(),
        snapshot.domain.clone(),
        size(snapshot.memory_kib),
        size(snapshot.stored_kib),
        snapshot.saved_ns.map_or_else(|| "-".to_owned(), date),
    ]
}

fn here_row(machine: &SavedMachine) -> Vec<String> {
    let manifest = machine.manifest.as_ref();
    vec![
        machine.name.clone(),
        "here".to_owned(),
        manifest.map_or_else(|| "(damaged)".to_owned(), |it| it.name.clone()),
        manifest.map_or_else(|| "-".to_owned(), |it| size(it.memory_length() / 1024)),
        size(machine.bytes.div_ceil(1024)),
        date(machine.saved_ns),
    ]
}

/// A time as people write it, in UTC.
pub(crate) fn date(ns: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_nanos(ns);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").replace('Z', "")
}

fn stored_json(snapshot: &SnapshotSummary) -> Value {
    json!({
        "label": snapshot.label,
        "where": "store",
        "domain": snapshot.domain,
        "uuid": uuid_text(&snapshot.uuid),
        "memory_kib": snapshot.memory_kib,
        "stored_kib": snapshot.stored_kib,
        "saved_ns": snapshot.saved_ns,
    })
}

fn here_json(machine: &SavedMachine) -> Value {
    let manifest = machine.manifest.as_ref();
    json!({
        "label": machine.name,
        "where": "here",
        "path": machine.path.to_string_lossy(),
        "domain": manifest.map(|it| it.name.as_str()),
        "uuid": manifest.map(|it| uuid_text(&it.uuid)),
        "memory_kib": manifest.map(|it| it.memory_length() / 1024),
        "stored_kib": machine.bytes.div_ceil(1024),
        "saved_ns": machine.saved_ns,
    })
}
