// SPDX-License-Identifier: MIT OR Apache-2.0
//! xenman: the operator's command line.
//!
//! It only ever talks to xend, in the published protocol; everything it knows about a host it asks for.
#![forbid(unsafe_code)]

mod args;
mod console;
mod create;
mod definition;
mod domains;
mod host;
mod image;
mod images;
mod link;
mod managed;
mod output;
mod problem;
mod restore;
mod save;
mod scheduling;
mod settings;
mod signals;
mod top;
mod upload;
mod usage;

use args::{Asked, ConfigVerb, Description, ImageVerb, Source, Verb};
use link::{Client, Host};
use mgmt_proto::messages::RequestBody;
use output::{Output, note};
use problem::Problem;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{path::Path, process::ExitCode, sync::Arc};

/// How this client introduces itself: with the machine it runs on, where Linux tells it.
fn client_name() -> String {
    let name = concat!("xenman ", env!("CARGO_PKG_VERSION"));
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(machine) => format!("{name} on {}", machine.trim()),
        Err(_) => name.to_owned(),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let json = words.iter().any(|word| word == "--json");
    match args::parse(&words, top::is_on_terminal()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            report(&problem, json);
            ExitCode::from(problem.status)
        }
    }
}

/// Tells the operator, and a program that asked for JSON.
fn report(problem: &Problem, json: bool) {
    note(&problem.to_string());
    if json {
        let error = serde_json::json!({ "error": {
            "code": problem.code.map(|code| code.name()),
            "message": problem.message,
            "remedy": problem.remedy,
        } });
        // The exit status says it all the same.
        drop(Output { json }.json(&error));
    }
}

fn run(asked: Asked) -> Result<(), Problem> {
    let arguments = match asked {
        Asked::Text(text) => return Output { json: false }.bytes(text.as_bytes()),
        Asked::Verb(arguments) => arguments,
    };
    let output = Output {
        json: arguments.json,
    };
    // What needs no host, or checks something before it needs one.
    match arguments.verb {
        Verb::Config(args::Config {
            verb: ConfigVerb::Check(check),
        }) if !settings::is_settings(&check.file) => create::check(&check, output),
        Verb::Serve(serve) => broker(&host(arguments.host)?, &serve),
        Verb::Create(create) => {
            let (client, prepared) = prepare(arguments.host, create.description())?;
            create::create(&Arc::new(client), output, &create, &prepared)
        }
        Verb::New(new) => {
            let (client, prepared) = prepare(arguments.host, new.description())?;
            managed::new(&client, output, &prepared)
        }
        Verb::Image(args::Image {
            verb: ImageVerb::Add(add),
        }) => {
            let new = images::prepare(&add)?;
            images::add(&connect(arguments.host)?, output, new)
        }
        Verb::Top(top) => {
            top::check(&top, output)?;
            let host = host(arguments.host)?;
            if top.once {
                top::once(&Client::connect(&host, &client_name())?, output, &top)
            } else {
                top::show(host, &top)
            }
        }
        Verb::Restore(restore) => restore::restore(|| connect(arguments.host), output, &restore),
        verb => with_client(&Arc::new(connect(arguments.host)?), output, verb),
    }
}

/// Checks a new domain's description before the host is asked, as far as it is here.
fn prepare(
    host: Option<String>,
    description: Result<Description, &'static str>,
) -> Result<(Client, create::Prepared), Problem> {
    let Description { source, overrides } = description.map_err(Problem::usage)?;
    match source {
        Source::File(file) => {
            let prepared = create::prepare(&file, &overrides)?;
            Ok((connect(host)?, prepared))
        }
        Source::Image { image, name } => {
            let client = connect(host)?;
            let prepared = images::domain(&client, (&image, &name), &overrides)?;
            Ok((client, prepared))
        }
    }
}

fn with_client(client: &Arc<Client>, output: Output, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::Info(args::Info { domain: None }) => host::info(client, output),
        Verb::Info(args::Info { domain: Some(it) }) => domains::info(client, output, &it),
        Verb::List(list) => domains::list(client, output, &list.domains),
        Verb::Dmesg(dmesg) => host::text(client, output, dmesg.follow, RequestBody::Dmesg),
        Verb::Log(log) => host::text(client, output, log.follow, RequestBody::Log),
        Verb::Start(start) => managed::start(client, output, &start),
        Verb::Delete(it) => managed::delete(client, output, &it.name),
        Verb::Destroy(it) => domains::simple(client, output, &it.domain, RequestBody::Destroy),
        Verb::Pause(it) => domains::simple(client, output, &it.domain, RequestBody::Pause),
        Verb::Unpause(it) => domains::simple(client, output, &it.domain, RequestBody::Unpause),
        Verb::Shutdown(shutdown) => domains::shutdown(client, output, &shutdown),
        Verb::Reboot(reboot) => domains::reboot(client, output, &reboot),
        Verb::Rename(rename) => domains::rename(client, output, &rename),
        Verb::Sched(it) => scheduling::sched(client, output, &it),
        Verb::VcpuList(it) => scheduling::list(client, output, &it.domains),
        Verb::VcpuPin(it) => scheduling::pin(client, output, &it),
        Verb::Console(console) => console::console(client, output, &console),
        Verb::Save(save) => save::save(client, output, &save),
        Verb::Snapshot(snapshot) => host::snapshot(client, output, snapshot.verb),
        Verb::Image(image) => images::image(client, output, &image.verb),
        Verb::Config(config) => settings::config(client, output, config.verb),
        Verb::Host(group) => host::group(client, output, &group.verb),
        Verb::Domid(domid) => domains::domid(client, output, &domid.name),
        Verb::Domname(domname) => domains::domname(client, output, domname.domid),
        Verb::Serve(_) | Verb::Create(_) | Verb::New(_) | Verb::Restore(_) | Verb::Top(_) => Ok(()),
    }
}

/// The host that was asked for.
fn host(option: Option<String>) -> Result<Host, Problem> {
    let from_environment = || {
        std::env::var("XENMAN_HOST")
            .ok()
            .filter(|host| !host.is_empty())
    };
    let Some(host) = option.or_else(from_environment) else {
        return Err(Problem::usage("which host?").with_remedy(args::HOST_REMEDY));
    };
    Ok(host.parse()?)
}

fn connect(option: Option<String>) -> Result<Client, Problem> {
    Ok(Client::connect(&host(option)?, &client_name())?)
}

/// `serve`.
fn broker(host: &Host, serve: &args::Serve) -> Result<(), Problem> {
    let Some(path) = serve
        .listen
        .strip_prefix("unix:")
        .filter(|path| !path.is_empty())
    else {
        return Err(Problem::usage(format!(
            "cannot listen on '{}'",
            output::harmless(&serve.listen)
        ))
        .with_remedy("write --listen unix:PATH"));
    };
    let asked = signals::watch(&[SIGINT, SIGTERM, SIGHUP])?;
    link::serve(host, Path::new(path), |stopper| {
        signals::when(asked, move || stopper.stop());
        note(&format!("xenman: serving {host} on unix:{path}"));
    })?;
    Ok(())
}
