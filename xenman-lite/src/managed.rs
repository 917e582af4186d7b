// SPDX-License-Identifier: MIT OR Apache-2.0
//! Managed domains: `new`, `start`, `delete`.

use crate::{
    args, console,
    create::{self, Prepared},
    domains::{ask, explain},
    link::Client,
    output::{Output, Progress, harmless},
    problem::Problem,
};
use mgmt_proto::{
    config::uuid_text,
    messages::{self, Created, Define, Defined, Reply, RequestBody, Start},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// `new`: uploads what xend lacks, and leaves the configuration with it.
pub(crate) fn new(client: &Client, output: Output, prepared: &Prepared) -> Result<(), Problem> {
    let defined = define(client, prepared)?;
    prepared.tell_more(&defined.warnings);
    let name = harmless(&defined.name);
    output.either(
        &as_json(&defined),
        &format!("defined domain '{name}'; 'xenman start {name}' starts it"),
    )
}

/// Uploads what xend lacks, and leaves the configuration with it.
pub(crate) fn define(client: &Client, prepared: &Prepared) -> Result<Defined, Problem> {
    let files = create::upload_files(client, prepared)?;
    let body = RequestBody::New(Define {
        config: prepared.written().to_owned(),
        origin: prepared.origin().to_owned(),
        files,
    });
    match client.call(body)? {
        Reply::Defined(defined) => Ok(defined),
        _ => Err(Problem::nonsense("a defined domain")),
    }
}

pub(crate) fn as_json(defined: &Defined) -> Value {
    json!({
        "name": defined.name,
        "uuid": uuid_text(&defined.uuid),
        "running": defined.running,
        "warnings": defined.warnings,
    })
}

/// `start`.
pub(crate) fn start(
    client: &Arc<Client>,
    output: Output,
    start: &args::Start,
) -> Result<(), Problem> {
    create::refuse_console_of_paused(start.console, start.paused)?;
    let progress = Progress::count("starting", 0);
    let started = launch(client, &start.name, start.paused, |said| {
        progress.report(said);
    });
    drop(progress);
    let started = started?;
    if !start.console || output.json {
        output.either(
            &json!({ "domid": started.domid, "name": started.name }),
            &format!(
                "started domain '{}' with the number {}",
                harmless(&started.name),
                started.domid
            ),
        )?;
    }
    if start.console {
        console::attach(client, &started.name, console::LINGER)
    } else {
        Ok(())
    }
}

/// Starts a managed domain.
pub(crate) fn launch(
    client: &Client,
    name: &str,
    paused: bool,
    on_progress: impl FnMut(&messages::Progress),
) -> Result<Created, Problem> {
    let body = RequestBody::Start(Start {
        name: name.to_owned(),
        paused,
    });
    let reply = client
        .call_with_progress(body, on_progress)
        .map_err(|error| explain(client, name, error.into()).if_interrupted(create::GOES_ON))?;
    match reply {
        Reply::Created(started) => Ok(started),
        _ => Err(Problem::nonsense("a domain that was started")),
    }
}

/// `delete`.
pub(crate) fn delete(client: &Client, output: Output, name: &str) -> Result<(), Problem> {
    ask(client, name, RequestBody::Delete(name.to_owned()))?;
    output.done()
}
