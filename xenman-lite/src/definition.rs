// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of a managed domain: `config show NAME`, `config edit NAME`, `config set NAME FILE`.
//!
//! It is edited in a temporary file that nobody else may read, checked here, and sent with what it was before: xend
//! refuses it if somebody was faster. Whatever goes wrong, the edited text stays, and the operator is told where.

use crate::{
    conf::Conf,
    create,
    domains::ask,
    link::Client,
    managed::as_json,
    output::{Output, harmless, note},
    problem::Problem,
    signals,
};
use mgmt_proto::{
    blob::Digest,
    config::{ConfigFile, DomainConfig, MAX_TEXT},
    messages::{Defined, Definition, Redefine, Reply, RequestBody},
};
use serde_json::json;
use signal_hook::consts::SIGINT;
use std::{
    io::Write,
    path::Path,
    process::{Command, ExitStatus},
};
use tempfile::NamedTempFile;

/// `config show NAME`: as it was written.
pub(crate) fn show(client: &Client, output: Output, name: &str) -> Result<(), Problem> {
    let definition = fetch(client, name)?;
    if let Some(reason) = &definition.broken {
        let reason = harmless(reason);
        note(&format!(
            "xenman: warning: '{name}' cannot be started: {reason}"
        ));
    }
    if output.json {
        return output.json(&json!({
            "name": definition.name,
            "path": definition.path,
            "text": definition.config,
            "changed_by": definition.changed_by,
            "changed_ns": definition.changed_ns,
            "broken": definition.broken,
        }));
    }
    output.bytes(definition.config.as_bytes())
}

fn fetch(client: &Client, name: &str) -> Result<Definition, Problem> {
    match ask(client, name, RequestBody::DefinitionShow(name.to_owned()))? {
        Reply::Definition(definition) => Ok(definition),
        _ => Err(Problem::nonsense("a definition")),
    }
}

/// `config edit NAME`.
pub(crate) fn edit(
    client: &Client,
    output: Output,
    conf: &Conf,
    name: &str,
) -> Result<(), Problem> {
    let definition = fetch(client, name)?;
    let file = copy(&definition)?;
    let edited = run_editor(file.path())
        .and_then(|()| create::read_text(&file.path().to_string_lossy(), MAX_TEXT as u64));
    let sent = match edited {
        Ok(text) if text == definition.config => {
            return output.either(&json!({ "changed": false }), "nothing is changed");
        }
        Ok(text) => send(client, conf, &definition, (&definition.path, &text)),
        Err(problem) => Err(problem),
    };
    let defined = sent.map_err(|problem| kept(file, problem))?;
    tell(output, &defined)
}

/// `config set NAME FILE`.
pub(crate) fn set(
    client: &Client,
    output: Output,
    conf: &Conf,
    (name, file): (&str, &str),
) -> Result<(), Problem> {
    let text = create::read_config_text(file)?;
    let definition = fetch(client, name)?;
    let defined = send(client, conf, &definition, (file, &text))?;
    tell(output, &defined)
}

/// Tells that a definition is another one now.
fn tell(output: Output, defined: &Defined) -> Result<(), Problem> {
    for warning in &defined.warnings {
        note(&format!("xenman: warning: {}", harmless(warning)));
    }
    let when = if defined.running {
        "; it is running: that has effect at its next start"
    } else {
        ""
    };
    let name = harmless(&defined.name);
    let text = format!("changed the definition of '{name}'{when}");
    output.either(&as_json(defined), &text)
}

/// A copy to edit. Its name ends like the definition's, for the editor to know what it is.
fn copy(definition: &Definition) -> Result<NamedTempFile, Problem> {
    let failed = |error| Problem::new(format!("cannot write a temporary file: {error}"));
    let suffix = match definition.path.rsplit_once('.') {
        Some((_, "hvm")) => ".hvm",
        _ => ".cfg",
    };
    let mut file = tempfile::Builder::new()
        .prefix("xenman-")
        .suffix(suffix)
        .tempfile()
        .map_err(failed)?;
    file.write_all(definition.config.as_bytes())
        .map_err(failed)?;
    Ok(file)
}

/// Lets the operator edit a file with the editor of their choice, which may be a command with arguments.
fn run_editor(path: &Path) -> Result<(), Problem> {
    let choice = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
    let editor = choice("VISUAL").or_else(|| choice("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // Ctrl-C is the editor's.
    let interrupts = signals::watch(&[SIGINT])?;
    let ended = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$@\""))
        .arg("sh")
        .arg(path)
        .status();
    drop(interrupts);
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(editor_failed(&editor, status)),
        Err(error) => Err(Problem::new(format!("cannot run {editor}: {error}"))),
    }
}

fn editor_failed(editor: &str, status: ExitStatus) -> Problem {
    Problem::new(format!(
        "the editor '{}' failed: {status}",
        harmless(editor)
    ))
    .with_remedy("name another one in VISUAL or EDITOR")
}

/// Sends a text that stands in the file `origin`.
fn send(
    client: &Client,
    conf: &Conf,
    before: &Definition,
    (origin, text): (&str, &str),
) -> Result<Defined, Problem> {
    let new = create::parse(conf, origin, text, &[])?;
    create::check_length(origin, new.file.text())?;
    let before_it = meaning(before);
    let files = create::upload_what_is_new(client, conf, &new.config, before_it.as_ref())?;
    let body = RequestBody::DefinitionSet(Redefine {
        name: before.name.clone(),
        was: Digest::of_chunk(before.config.as_bytes()),
        config: new.written,
        files,
    });
    match client.call(body)? {
        Reply::Defined(defined) => Ok(defined),
        _ => Err(Problem::nonsense("a defined domain")),
    }
}

/// What a definition meant, if it can be read.
fn meaning(definition: &Definition) -> Option<DomainConfig> {
    let file = ConfigFile::parse(&definition.path, &definition.config).ok()?;
    DomainConfig::from_file(&file)
        .ok()
        .map(|(config, _)| config)
}

/// Keeps the edited text, and says where.
fn kept(file: NamedTempFile, mut problem: Problem) -> Problem {
    problem.message = match file.keep() {
        Ok((_, path)) => format!("{}\nyour text is in {}", problem.message, path.display()),
        Err(error) => format!("{}\nyour text is lost: {}", problem.message, error.error),
    };
    problem
}
