// SPDX-License-Identifier: MIT OR Apache-2.0
//! What takes more than one request, or a while: adding, starting, restoring.

use super::{
    action::{Machine, Place, Wish},
    feed::News,
};
use crate::{
    conf::Conf, create, images, link::Client, managed, output::harmless, problem::Problem,
};
use mgmt_proto::messages::{Created, Progress, Reply, RequestBody, RestoreFromStore};

/// Says what is under way.
type Tell<'a> = &'a dyn Fn(String);

fn done(sentence: String) -> Result<News, Problem> {
    Ok(News::Done(Ok(sentence)))
}

/// How far something is, in words.
fn words(doing: &str, progress: &Progress) -> String {
    let what = &progress.what;
    match progress.total {
        0 => format!("{doing}: {what}"),
        total => format!("{doing}: {} of {total} {what}", progress.done.min(total)),
    }
}

/// Makes a domain from an image.
pub(super) fn add(
    client: &Client,
    conf: &Conf,
    wish: &Wish,
    tell: Tell<'_>,
) -> Result<News, Problem> {
    let name = &wish.name;
    let overrides = [
        format!("memory={}", wish.memory_mib),
        format!("vcpus={}", wish.vcpus),
    ];
    let prepared = images::domain(client, conf, (&wish.image, name), &overrides)?;
    let doing = format!("adding '{name}'");
    let on_progress = |progress: &Progress| tell(words(&doing, progress));
    if !wish.is_managed {
        let created = create::build(client, &prepared, !wish.is_started, on_progress)?;
        let paused = if wish.is_started { "" } else { " and paused" };
        return done(format!("'{name}' is created{paused}{}", warnings(&created)));
    }
    managed::define(client, &prepared)?;
    if !wish.is_started {
        return done(format!("'{name}' is defined, and off: s starts it"));
    }
    let started = managed::launch(client, name, false, on_progress)?;
    done(format!(
        "'{name}' is defined and started{}",
        warnings(&started)
    ))
}

/// Starts a managed domain.
pub(super) fn start(client: &Client, name: &str, tell: Tell<'_>) -> Result<News, Problem> {
    let doing = format!("starting '{name}'");
    let started = managed::launch(client, name, false, |it| tell(words(&doing, it)))?;
    done(format!("'{name}' is started{}", warnings(&started)))
}

/// Restores a snapshot from the host's store.
pub(super) fn restore(client: &Client, label: String, tell: Tell<'_>) -> Result<News, Problem> {
    let doing = format!("restoring '{label}'");
    let body = RequestBody::RestoreFromStore(RestoreFromStore {
        label,
        paused: false,
        name: None,
    });
    match client.call_with_progress(body, |it| tell(words(&doing, it)))? {
        Reply::Created(created) => done(format!(
            "'{}' is restored{}",
            created.name,
            warnings(&created)
        )),
        _ => Err(Problem::nonsense("a restored domain")),
    }
}

/// Deletes a saved machine; what is saved then.
pub(super) fn delete_saved(
    client: &Client,
    conf: &Conf,
    machine: Machine,
    tell: Tell<'_>,
) -> Result<News, Problem> {
    let label = machine.label;
    match machine.place {
        Place::Store => drop(client.call(RequestBody::SnapshotDelete(label.clone()))?),
        Place::Here(_) => conf.saved()?.delete(&label)?,
    }
    tell(format!("'{label}' is deleted"));
    super::feed::machines(client, conf)
}

fn warnings(created: &Created) -> String {
    let told = created.warnings.iter();
    told.map(|warning| format!("; warning: {}", harmless(warning)))
        .collect()
}
