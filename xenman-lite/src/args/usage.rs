// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a command line, and how it is written right.
//!
//! argh says what it missed in words of its own. They become a sentence that names the verb, with the verb's usage as the
//! remedy; words that are not known here are passed on as they are.

use super::Arguments;
use crate::{output::harmless, problem::Problem};
use argh::FromArgs;

/// The help of a verb, and of one below it: `path` is what comes after the program's name.
pub(super) fn help(program: &str, path: &[&str]) -> String {
    let words = [path, &["--help"]].concat();
    let exit = Arguments::from_args(&[program], &words).err();
    exit.map(|exit| exit.output).unwrap_or_default()
}

/// The problem with `words`, which begin with the verb, if there is one. `said` is argh's word for it.
pub(super) fn problem(program: &str, words: &[&str], said: &str) -> Problem {
    let path = path(program, words);
    let message = sentence(said.trim_end(), &help(program, path));
    problem_with(program, path, &message)
}

/// The problem with a verb, with its usage as the remedy.
pub(super) fn problem_with(program: &str, path: &[&str], message: &str) -> Problem {
    let help = help(program, path);
    let message = match path {
        [] => message.to_owned(),
        path => format!("{}: {message}", path.join(" ")),
    };
    let usage = help.lines().next().unwrap_or_default();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(usage);
    let command = [&[program], path].concat().join(" ");
    Problem::usage(harmless(&message))
        .with_remedy(format!("write {usage}; '{command} --help' explains it"))
}

/// The words that name a verb, or one below a verb.
fn path<'a>(program: &str, words: &'a [&'a str]) -> &'a [&'a str] {
    let names = |path: &[&str]| {
        let usage = [&["Usage:", program], path, &[""]].concat().join(" ");
        help(program, path).starts_with(&usage)
    };
    let lengths = (1..=2).rev().filter_map(|length| words.get(..length));
    lengths.into_iter().find(|path| names(path)).unwrap_or(&[])
}

fn sentence(said: &str, help: &str) -> String {
    if let Some(word) = said.strip_prefix("Unrecognized argument: ") {
        return unexpected(word, help);
    }
    if let Some(option) = quoted(said, "No value provided for option ") {
        return format!("{option} needs a value");
    }
    for kind in ["option", "positional argument"] {
        if let Some(refused) = refused_value(said, kind) {
            return refused;
        }
    }
    let (missing, verbs) = missing(said);
    match (missing.as_slice(), verbs.as_slice()) {
        ([], []) => said.to_owned(),
        ([], verbs) => format!("say what to do: {}", verbs.join(" or ")),
        ([one], _) => format!("{one} is missing"),
        ([first @ .., last], _) => format!("{} and {last} are missing", first.join(", ")),
    }
}

fn unexpected(word: &str, help: &str) -> String {
    if word.starts_with('-') {
        format!("there is no option '{word}'")
    } else if help.contains("\nCommands:\n") {
        format!("there is no verb '{word}'")
    } else {
        format!("'{word}' is an argument too many")
    }
}

/// What is between quotation marks behind a prefix.
fn quoted<'a>(said: &'a str, prefix: &str) -> Option<&'a str> {
    let behind = said.strip_prefix(prefix)?.strip_prefix('\'')?;
    behind.split_once('\'').map(|(text, _)| text)
}

fn refused_value(said: &str, kind: &str) -> Option<String> {
    let name = quoted(said, &format!("Error parsing {kind} "))?;
    let (_, behind) = said.split_once(" with value '")?;
    let (value, why) = behind.rsplit_once("': ")?;
    let why = match why {
        "invalid digit found in string" => "it is not a whole number of 0 or more",
        "invalid float literal" => "it is not a number",
        "duplicate values provided" => "it was given before",
        why if why.starts_with("number too large") => "it is too large",
        why if why.starts_with("cannot parse") => "it is empty",
        why => why,
    };
    Some(format!("'{value}' does not do for {name}: {why}"))
}

/// The arguments that are missing, as the usage has them, and the verbs of which one is.
fn missing(said: &str) -> (Vec<String>, Vec<&str>) {
    let (mut missing, mut verbs) = (Vec::new(), Vec::new());
    let mut section = "";
    for line in said.lines() {
        match (line.strip_prefix("    "), section) {
            (None, _) => section = line,
            (Some("help"), _) => {}
            (Some(name), "Required positional arguments not provided:") => {
                missing.push(format!("<{name}>"));
            }
            (Some(name), "Required options not provided:") => missing.push(name.to_owned()),
            (Some(name), "One of the following subcommands must be present:") => verbs.push(name),
            _ => {}
        }
    }
    (missing, verbs)
}

#[cfg(test)]
mod tests {
    use crate::args::parse;

    fn refusal(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let problem = parse(&words, false).unwrap_err();
        assert_eq!(problem.status, 2, "{line}");
        problem.to_string()
    }

    /// A line, what is wrong with it, and with which verb.
    const WRONG: [(&str, &str, &str); 14] = [
        (
            "xenman vcpu-pin",
            "vcpu-pin: <domain>, <vcpu> and <cpus> are missing",
            "vcpu-pin",
        ),
        (
            "xenman vcpu-pin 1",
            "vcpu-pin: <vcpu> and <cpus> are missing",
            "vcpu-pin",
        ),
        ("xenman serve", "serve: --listen is missing", "serve"),
        (
            "xenman snapshot",
            "snapshot: say what to do: list or delete",
            "snapshot",
        ),
        (
            "xenman snapshot frob",
            "snapshot: there is no verb 'frob'",
            "snapshot",
        ),
        (
            "xenman --json snapshot delete",
            "snapshot delete: <label> is missing",
            "snapshot delete",
        ),
        (
            "xenman config",
            "config: say what to do: show or edit or set or check",
            "config",
        ),
        (
            "xenman pause a b",
            "pause: 'b' is an argument too many",
            "pause",
        ),
        (
            "xenman -H unix:/a list --frob",
            "list: there is no option '--frob'",
            "list",
        ),
        (
            "xenman console a --linger",
            "console: --linger needs a value",
            "console",
        ),
        (
            "xenman console a --linger y",
            "console: 'y' does not do for --linger: it is not a whole number of 0 or more",
            "console",
        ),
        (
            "xenman console a --linger 1 --linger 2",
            "'2' does not do for --linger: it was given before",
            "console",
        ),
        (
            "xenman domname 70000",
            "domname: '70000' does not do for domid: it is too large",
            "domname",
        ),
        (
            "xenman top --interval x",
            "top: 'x' does not do for --interval: it is not a number",
            "top",
        ),
    ];

    #[test]
    fn a_wrong_line_is_told_with_its_cause_and_the_verbs_usage() {
        assert_eq!(
            refusal("xenman create"),
            "xenman: create: <file> or --image is missing; --name alone means the default image\n  help: write xenman create [--image <image>] [--name <name>] \
             [--memory <mib>] [--vcpus <n>] [-p] [-c] [--] [<file|key=value...>]; \
             'xenman create --help' explains it"
        );
        for (line, cause, path) in WRONG {
            let told = refusal(line);
            assert!(told.contains(cause), "{line}: {told}");
            assert!(
                told.contains(&format!("help: write xenman {path} ")),
                "{line}: {told}"
            );
            assert!(
                told.ends_with(&format!("'xenman {path} --help' explains it")),
                "{line}: {told}"
            );
        }
    }

    #[test]
    fn an_option_before_the_verb_is_told_too() {
        let told = refusal("xm --frob list");
        assert!(told.contains("there is no option '--frob'"), "{told}");
        assert!(told.ends_with("'xm --help' explains it"), "{told}");
    }

    #[test]
    fn a_host_that_is_left_out_is_told() {
        for line in ["xenman -H", "xenman list -H", "xenman list --host"] {
            let told = refusal(line);
            assert!(
                told.contains("needs a host") && told.contains("help: say -H unix:PATH"),
                "{told}"
            );
        }
    }
}
