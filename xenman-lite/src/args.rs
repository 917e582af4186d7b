// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: verbs, their arguments, and the options that may stand anywhere.

mod config;
mod create;
mod host;
mod image;
mod shell;
mod usage;

use crate::{output::harmless, problem::Problem};
use argh::{ArgsInfo, FromArgs};
use mgmt_proto::config::suggest;

pub(crate) use config::{Config, ConfigCheck, ConfigShow, ConfigVerb};
pub(crate) use create::{Create, Description, New, Source, name_is};
pub(crate) use host::{HostAdd, HostGroup, HostVerb};
pub(crate) use image::{Image, ImageAdd, ImageDefault, ImageExport, ImageVerb};
pub(crate) use shell::{Completion, Man, Shell};

/// xenman: control a host and its domains.
///
/// HOST is unix:PATH (a broker's or an emulator's socket), serial:/dev/tty…[@BAUD], or a name that 'xenman host add' gave to one;
/// without -H it is taken from XENMAN_HOST, and then from default_host in xenman.conf.
/// -H and --json may stand before or after the verb.
///
/// Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 cannot reach xend, 130 or 143 interrupted.
#[derive(ArgsInfo, FromArgs, Debug)]
pub(crate) struct Arguments {
    /// the host to talk to
    #[argh(option, short = 'H', arg_name = "host")]
    pub(crate) host: Option<String>,
    /// write JSON instead of text
    #[argh(switch)]
    pub(crate) json: bool,
    #[argh(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum Verb {
    Info(Info),
    List(List),
    Dmesg(Dmesg),
    Log(Log),
    Create(Create),
    New(New),
    Start(Start),
    Delete(Delete),
    Destroy(Destroy),
    Shutdown(Shutdown),
    Reboot(Reboot),
    Pause(Pause),
    Unpause(Unpause),
    Rename(Rename),
    Sched(Sched),
    VcpuList(VcpuList),
    VcpuPin(VcpuPin),
    Console(Console),
    Save(Save),
    Restore(Restore),
    Snapshot(Snapshot),
    Image(Image),
    Domid(Domid),
    Domname(Domname),
    Serve(Serve),
    Config(Config),
    Host(HostGroup),
    Top(Top),
    Completion(Completion),
    Man(Man),
}

/// How a host is named.
pub(crate) const HOST_REMEDY: &str = "say -H unix:PATH, -H serial:/dev/tty… or -H NAME, or set XENMAN_HOST, or default_host in xenman.conf";

/// How an address is written.
pub(crate) const ADDRESS_REMEDY: &str = "write unix:PATH or serial:/dev/tty…[@BAUD]";

/// The verbs, for suggestions.
const VERBS: [&str; 30] = [
    "top",
    "info",
    "list",
    "dmesg",
    "log",
    "create",
    "new",
    "start",
    "delete",
    "destroy",
    "shutdown",
    "reboot",
    "pause",
    "unpause",
    "rename",
    "sched",
    "vcpu-list",
    "vcpu-pin",
    "console",
    "save",
    "restore",
    "snapshot",
    "image",
    "domid",
    "domname",
    "serve",
    "config",
    "host",
    "completion",
    "man",
];

/// Show the host: its memory, processors, versions and start. Or a domain: what it used, and what was refused to it.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "info")]
pub(crate) struct Info {
    /// a domain, by name or number
    #[argh(positional)]
    pub(crate) domain: Option<String>,
}

/// List the domains, Domain-0 first, and last those that are defined and do not run.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub(crate) struct List {
    /// only these domains, by name or number
    #[argh(positional, arg_name = "domain")]
    pub(crate) domains: Vec<String>,
}

/// Print the hypervisor's log.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "dmesg")]
pub(crate) struct Dmesg {
    /// go on with what is new, until interrupted
    #[argh(switch, short = 'f')]
    pub(crate) follow: bool,
}

/// Print xend's log.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "log")]
pub(crate) struct Log {
    /// go on with what is new, until interrupted
    #[argh(switch, short = 'f')]
    pub(crate) follow: bool,
}

/// Start a managed domain.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "start")]
pub(crate) struct Start {
    /// the domain's name
    #[argh(positional)]
    pub(crate) name: String,
    /// leave the domain paused
    #[argh(switch, short = 'p')]
    pub(crate) paused: bool,
    /// attach to the domain's console
    #[argh(switch, short = 'c')]
    pub(crate) console: bool,
}

/// Forget the definition of a managed domain that does not run.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "delete")]
pub(crate) struct Delete {
    /// the domain's name
    #[argh(positional)]
    pub(crate) name: String,
}

/// Take a domain apart at once, without asking the guest.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "destroy")]
pub(crate) struct Destroy {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
}

/// Ask a domain's guest to shut down.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "shutdown")]
pub(crate) struct Shutdown {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: Option<String>,
    /// all domains but Domain-0
    #[argh(switch, short = 'a')]
    pub(crate) all: bool,
    /// wait until it has happened
    #[argh(switch, short = 'w')]
    pub(crate) wait: bool,
}

/// Ask a domain's guest to reboot.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "reboot")]
pub(crate) struct Reboot {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
    /// wait until it has happened
    #[argh(switch, short = 'w')]
    pub(crate) wait: bool,
}

/// Stop a domain's virtual CPUs.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "pause")]
pub(crate) struct Pause {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
}

/// Let a paused domain run again.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "unpause")]
pub(crate) struct Unpause {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
}

/// Give a domain another name.
///
/// A managed domain, running or off, has it in its definition too: the value of 'name' is replaced there, and all else stays as it was
/// written.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "rename")]
pub(crate) struct Rename {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
    /// its new name
    #[argh(positional)]
    pub(crate) name: String,
}

/// Show what domains may use of the CPUs, or change it for one.
///
/// A domain with twice the weight gets twice the time of a CPU that both want; 256 is usual. A cap is the percent of one CPU that all of
/// its vCPUs together get at most, even when nobody else wants it. Changes last through reboot, save and restore.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "sched")]
pub(crate) struct Sched {
    /// the domain's name or number; all domains, unless one is named
    #[argh(positional)]
    pub(crate) domain: Option<String>,
    /// its weight, 1 to 65535
    #[argh(option, short = 'w', arg_name = "n")]
    pub(crate) weight: Option<u32>,
    /// its cap in percent of one CPU; 0: none
    #[argh(option, short = 'c', arg_name = "percent")]
    pub(crate) cap: Option<u32>,
}

/// List virtual CPUs: where they run and where they may run.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "vcpu-list")]
pub(crate) struct VcpuList {
    /// only those of these domains, by name or number
    #[argh(positional, arg_name = "domain")]
    pub(crate) domains: Vec<String>,
}

/// Say on which CPUs a domain's virtual CPUs may run. Lasts through reboot, save and restore.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "vcpu-pin")]
pub(crate) struct VcpuPin {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
    /// the virtual CPU's number, or "all"
    #[argh(positional)]
    pub(crate) vcpu: String,
    /// the CPUs, such as 1, 0-3,^2 or all
    #[argh(positional)]
    pub(crate) cpus: String,
}

/// Attach to a domain's console; Ctrl-] leaves.
///
/// What the console said before is shown first. The console is followed across reboots and left when the domain is gone. When the
/// input is not a terminal, it is typed as it comes; after its end the console is left once it has been silent for a while.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "console")]
pub(crate) struct Console {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
    /// print what the console has said so far and leave; works for domains that are gone, too
    #[argh(switch)]
    pub(crate) dump: bool,
    /// seconds of silence after the end of the input before leaving (default 2)
    #[argh(option, default = "2", arg_name = "seconds")]
    pub(crate) linger: u32,
}

/// Save a domain and take it from the host.
///
/// The file appears, or replaces an older one, complete or not at all; a save that fails or is interrupted leaves the domain running.
/// Without a file it is put into the folder that xenman.conf names, by default ~/.xenman/snapshots, from where 'restore NAME' takes it.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "save")]
pub(crate) struct Save {
    /// the domain's name or number
    #[argh(positional)]
    pub(crate) domain: String,
    /// a file, or store:LABEL for the host's store
    #[argh(positional, arg_name = "file")]
    pub(crate) target: Option<String>,
}

/// Restore a saved domain; what it is restored from stays.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "restore")]
pub(crate) struct Restore {
    /// a file, store:LABEL for the host's store, or the name that a domain was saved under without a file
    #[argh(positional, arg_name = "file")]
    pub(crate) source: String,
    /// leave the domain paused
    #[argh(switch, short = 'p')]
    pub(crate) paused: bool,
    /// another name for the domain
    #[argh(option)]
    pub(crate) name: Option<String>,
}

/// Saved domains, in the host's store and on this computer.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "snapshot")]
pub(crate) struct Snapshot {
    #[argh(subcommand)]
    pub(crate) verb: SnapshotVerb,
}

#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum SnapshotVerb {
    List(SnapshotList),
    Delete(SnapshotDelete),
}

/// List what is saved in the host's store, and on this computer where 'save NAME' puts it.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub(crate) struct SnapshotList {}

/// Delete a saved domain from the host's store or from this computer. If both have it, say store:LABEL or here:LABEL.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "delete")]
pub(crate) struct SnapshotDelete {
    /// its label
    #[argh(positional)]
    pub(crate) label: String,
}

/// Print the number of the domain with a name.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "domid")]
pub(crate) struct Domid {
    /// the domain's name
    #[argh(positional)]
    pub(crate) name: String,
}

/// Print the name of the domain with a number.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "domname")]
pub(crate) struct Domname {
    /// the domain's number
    #[argh(positional)]
    pub(crate) domid: u16,
}

/// Share one connection to a host among many clients.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "serve")]
pub(crate) struct Serve {
    /// where clients connect: unix:PATH
    #[argh(option, arg_name = "unix:path")]
    pub(crate) listen: String,
}

/// The dashboard: the host and its domains as they run. Also what xenman does at a terminal without a verb.
///
/// CPU% is of one CPU: a domain with two busy vCPUs has 200. Keys are shown at the bottom of the screen. Colours are left out where
/// NO_COLOR is set.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "top")]
pub(crate) struct Top {
    /// print one sample and leave; rates are over one interval
    #[argh(switch)]
    pub(crate) once: bool,
    /// with --once: rates are over this many intervals, with a sample after each (default 1)
    #[argh(option, arg_name = "N", default = "1")]
    pub(crate) intervals: u32,
    /// seconds between samples (default 1)
    #[argh(option, arg_name = "seconds")]
    pub(crate) interval: Option<f64>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// To do something.
    Verb(Arguments),
    /// To print this: help, or the version.
    Text(String),
    /// To print names for a shell that completes a command line.
    Names { host: Option<String>, kind: String },
}

/// Reads a command line, the program's name first. Without a verb it asks for the dashboard, where there is a terminal.
pub(crate) fn parse(words: &[String], on_terminal: bool) -> Result<Asked, Problem> {
    let program = words
        .first()
        .map_or("xenman", |path| path.rsplit('/').next().unwrap_or(path));
    let words = hoist(words.get(1..).unwrap_or_default())?;
    if words.iter().any(|word| word == "--version" || word == "-V") {
        return Ok(Asked::Text(format!(
            "xenman {}\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["complete-names", kind] = from_verb(&words) {
        return Ok(Asked::Names {
            host: host_in_front(&words),
            kind: (*kind).to_owned(),
        });
    }
    if on_terminal && from_verb(&words).is_empty() {
        words.push("top");
    }
    check_verb(program, from_verb(&words).first().copied())?;
    match Arguments::from_args(&[program], &words) {
        Ok(arguments) => match misdescribed(&arguments.verb) {
            Some((verb, why)) => Err(usage::problem_with(program, &[verb], why)),
            None => Ok(Asked::Verb(arguments)),
        },
        Err(exit) if exit.status.is_ok() => Ok(Asked::Text(exit.output)),
        Err(exit) => Err(usage::problem(program, from_verb(&words), &exit.output)),
    }
}

/// What is wrong with how a new domain is described, and the verb.
fn misdescribed(verb: &Verb) -> Option<(&'static str, &'static str)> {
    match verb {
        Verb::Create(create) => create.description().err().map(|why| ("create", why)),
        Verb::New(new) => new.description().err().map(|why| ("new", why)),
        _ => None,
    }
}

/// Moves -H and --json to the front, from where people put them.
fn hoist(words: &[String]) -> Result<Vec<String>, Problem> {
    let mut front = Vec::new();
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-H" | "--host" => {
                let host = words.next().ok_or_else(|| {
                    Problem::usage(format!("{word} needs a host")).with_remedy(HOST_REMEDY)
                })?;
                front.extend([word.clone(), host.clone()]);
            }
            "--json" => front.push(word.clone()),
            "--" => {
                rest.push(word.clone());
                rest.extend(words.by_ref().cloned());
            }
            other => match other
                .strip_prefix("--host=")
                .or_else(|| attached_host(other))
            {
                Some(host) => front.extend(["--host".to_owned(), host.to_owned()]),
                None => rest.push(word.clone()),
            },
        }
    }
    front.extend(rest);
    Ok(front)
}

/// `-Hunix:…`.
fn attached_host(word: &str) -> Option<&str> {
    word.strip_prefix("-H").filter(|host| !host.is_empty())
}

/// What begins with the first word that is not one of the options in front.
fn from_verb<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    match words {
        ["-H" | "--host", _, rest @ ..] | ["--json", rest @ ..] => from_verb(rest),
        words => words,
    }
}

/// The host that one of the options in front names.
fn host_in_front(words: &[&str]) -> Option<String> {
    match words {
        ["-H" | "--host", host, ..] => Some((*host).to_owned()),
        ["--json", rest @ ..] => host_in_front(rest),
        _ => None,
    }
}

/// Refuses what is not a verb before argh does, with a guess at what was meant.
fn check_verb(program: &str, verb: Option<&str>) -> Result<(), Problem> {
    match verb {
        None => Err(Problem::usage_text(usage::help(program, &[]))),
        Some("--help" | "-h" | "help") => Ok(()),
        Some(option) if option.starts_with('-') => Ok(()),
        Some(verb) if VERBS.contains(&verb) => Ok(()),
        Some(verb) => {
            let problem = Problem::usage(format!("there is no verb '{}'", harmless(verb)));
            Err(match suggest(verb, VERBS) {
                Some(meant) => problem.with_remedy(format!("did you mean '{meant}'?")),
                None => problem.with_remedy(format!("'{program} --help' lists them")),
            })
        }
    }
}

#[cfg(test)]
mod tests;
