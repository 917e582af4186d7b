// SPDX-License-Identifier: MIT OR Apache-2.0
//! xenman: the operator's command line.
//!
//! It only ever talks to xend, in the published protocol; everything it knows about a host it asks for.
#![forbid(unsafe_code)]

mod args;
mod cache;
mod client_log;
mod completion;
mod conf;
mod console;
mod create;
mod definition;
mod disks;
mod domains;
mod history;
mod home;
mod host;
mod hosts;
mod image;
mod images;
mod link;
mod man;
mod managed;
mod output;
mod problem;
mod restore;
mod save;
mod saved;
mod scheduling;
mod settings;
mod signals;
mod snapshots;
mod top;
mod upload;
mod usage;

use args::{Asked, ConfigVerb, Description, HostVerb, ImageVerb, SnapshotVerb, Source, Verb};
use conf::Conf;
use link::{Client, Host};
use mgmt_proto::messages::RequestBody;
use output::{Output, note};
use problem::Problem;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{cell::OnceCell, path::Path, process::ExitCode, sync::Arc};

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
    let outcome = match args::parse(&words, top::is_on_terminal()) {
        Ok(Asked::Text(text)) => Output { json: false }.bytes(text.as_bytes()),
        Ok(Asked::Names { host, kind }) => names(host, &kind),
        Ok(Asked::Verb(arguments)) => run(arguments, words.get(1..).unwrap_or_default()),
        Err(problem) => Err(problem),
    };
    match outcome {
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

/// Names for a shell that completes a command line.
fn names(host: Option<String>, kind: &str) -> Result<(), Problem> {
    let session = Session {
        conf: Arc::new(Conf::of_operator()),
        option: host,
        host: OnceCell::new(),
    };
    let output = Output { json: false };
    if kind == "hosts" {
        return completion::print_hosts(&session.conf, output);
    }
    let host = session.host().ok();
    completion::print_names(host.as_ref(), &client_name(), kind, output)
}

/// Does what was asked for, and keeps a line about it if a host had to do with it.
fn run(arguments: args::Arguments, words: &[String]) -> Result<(), Problem> {
    let session = Session {
        conf: Arc::new(Conf::of_operator()),
        option: arguments.host,
        host: OnceCell::new(),
    };
    let output = Output {
        json: arguments.json,
    };
    let outcome = session.run(output, arguments.verb);
    if let Some(host) = session.host.get() {
        keep_in_mind(&session.conf, host, &words.join(" "), &outcome);
    }
    outcome
}

/// Keeps a line in the log, if there is one. That it cannot be kept is told of, and no reason to fail; where there is no
/// folder yet, and none can be made, nobody misses it.
fn keep_in_mind(conf: &Conf, host: &str, asked: &str, outcome: &Result<(), Problem>) {
    let kept = conf.log().and_then(|log| match log {
        Some(log) => log.add(host, asked, outcome),
        None => Ok(()),
    });
    if let Err(problem) = kept
        && conf.home().path().is_ok_and(Path::is_dir)
    {
        note(&problem.to_string());
    }
}

/// What one command has to do with.
struct Session {
    conf: Arc<Conf>,
    /// The host that the command line names.
    option: Option<String>,
    /// The host that was meant, once that was found out.
    host: OnceCell<String>,
}

impl Session {
    fn run(&self, output: Output, verb: Verb) -> Result<(), Problem> {
        let conf = &self.conf;
        // What needs no host, or checks something before it needs one.
        match verb {
            Verb::Config(args::Config {
                verb: ConfigVerb::Check(check),
            }) if !settings::is_settings(&check.file) => create::check(&check, conf, output),
            Verb::Host(args::HostGroup { verb }) => self.hosts(output, &verb),
            Verb::Completion(it) => completion::completion(&it, output),
            Verb::Man(_) => man::man(output),
            Verb::Serve(serve) => broker(&self.host()?, &serve),
            Verb::Create(create) => {
                let (client, prepared) = self.prepare(create.description())?;
                create::create(&Arc::new(client), output, &create, &prepared)
            }
            Verb::New(new) => {
                let (client, prepared) = self.prepare(new.description())?;
                managed::new(&client, output, &prepared)
            }
            Verb::Image(args::Image { verb }) => self.images(output, &verb),
            Verb::Snapshot(args::Snapshot { verb }) => self.snapshots(output, &verb),
            Verb::Top(top) => {
                top::check(&top, output)?;
                let host = self.host()?;
                if top.once {
                    top::once(&Client::connect(&host, &client_name())?, output, &top)
                } else {
                    top::show(host, conf.clone(), &top)
                }
            }
            Verb::Restore(restore) => {
                restore::restore(|| self.connect_for_long(), output, conf, &restore)
            }
            verb @ (Verb::Start(_) | Verb::Save(_)) => {
                with_client(&Arc::new(self.connect_for_long()?), output, conf, verb)
            }
            verb => with_client(&Arc::new(self.connect()?), output, conf, verb),
        }
    }

    fn hosts(&self, output: Output, verb: &HostVerb) -> Result<(), Problem> {
        match verb {
            HostVerb::Add(add) => hosts::add(&self.conf, output, add),
            HostVerb::List(_) => hosts::list(&self.conf, output),
            HostVerb::Rm(it) => hosts::remove(&self.conf, output, &it.name),
            HostVerb::Init(init) => host::init(&self.connect()?, output, init.force),
        }
    }

    fn images(&self, output: Output, verb: &ImageVerb) -> Result<(), Problem> {
        match verb {
            ImageVerb::Add(add) => {
                let new = images::prepare(&self.conf, add)?;
                images::add(&self.connect_for_long()?, output, new)
            }
            ImageVerb::Default(it) => images::default(&self.conf, output, it),
            verb => images::image(&self.connect_for_long()?, output, verb),
        }
    }

    fn snapshots(&self, output: Output, verb: &SnapshotVerb) -> Result<(), Problem> {
        if let SnapshotVerb::Delete(delete) = verb
            && let Some(name) = snapshots::named_here(delete)
        {
            return snapshots::delete_here(output, &self.conf, name);
        }
        snapshots::snapshot(&self.connect()?, output, &self.conf, verb)
    }

    /// Checks a new domain's description before the host is asked, as far as it is here.
    fn prepare(
        &self,
        description: Result<Description, &'static str>,
    ) -> Result<(Client, create::Prepared), Problem> {
        let Description { source, overrides } = description.map_err(Problem::usage)?;
        match source {
            Source::File(file) => {
                let prepared = create::prepare(&self.conf, &file, &overrides)?;
                prepared.tell();
                Ok((self.connect_for_long()?, prepared))
            }
            Source::Image { image, name } => {
                let image = image.map_or_else(|| self.default_image(), Ok)?;
                let client = self.connect_for_long()?;
                let prepared = images::domain(&client, &self.conf, (&image, &name), &overrides)?;
                prepared.tell();
                Ok((client, prepared))
            }
        }
    }

    fn default_image(&self) -> Result<String, Problem> {
        let image = self.conf.default_image()?;
        image.ok_or_else(|| {
            Problem::usage("from which image? There is no default image")
                .with_remedy("say --image NAME, or set it: xenman image default NAME")
        })
    }

    /// The host that is meant.
    fn host(&self) -> Result<Host, Problem> {
        let from_environment = || {
            let host = std::env::var("XENMAN_HOST").ok();
            host.filter(|host| !host.is_empty())
        };
        let word = match self.option.clone().or_else(from_environment) {
            Some(word) => Some(word),
            None => self.conf.default_host()?,
        };
        let Some(word) = word else {
            return Err(Problem::usage("which host?").with_remedy(args::HOST_REMEDY));
        };
        let host = self.conf.host(&word)?;
        self.host.get_or_init(|| host.to_string());
        Ok(host)
    }

    fn connect(&self) -> Result<Client, Problem> {
        Ok(Client::connect(&self.host()?, &client_name())?)
    }

    /// A session for work that takes long: it can be interrupted between any two answers, and says Bye then.
    fn connect_for_long(&self) -> Result<Client, Problem> {
        let client = self.connect()?;
        Ok(client.interruptible(signals::watch(&[SIGINT, SIGTERM])?))
    }
}

fn with_client(
    client: &Arc<Client>,
    output: Output,
    conf: &Conf,
    verb: Verb,
) -> Result<(), Problem> {
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
        Verb::Save(save) => save::save(client, output, conf, &save),
        Verb::Config(config) => settings::config(client, output, conf, config.verb),
        Verb::Domid(domid) => domains::domid(client, output, &domid.name),
        Verb::Domname(domname) => domains::domname(client, output, domname.domid),
        Verb::Serve(_)
        | Verb::Create(_)
        | Verb::New(_)
        | Verb::Restore(_)
        | Verb::Snapshot(_)
        | Verb::Image(_)
        | Verb::Host(_)
        | Verb::Top(_)
        | Verb::Completion(_)
        | Verb::Man(_) => Ok(()),
    }
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
