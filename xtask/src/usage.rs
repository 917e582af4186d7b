//! The command line, and what is said about a wrong one.

use argh::{EarlyExit, FromArgs};

use crate::Arguments;

/// How the program is started.
const PROGRAM: [&str; 2] = ["cargo", "xtask"];

/// Reads a command line. Otherwise there is only something to print: help, or what is wrong.
pub(crate) fn parse(words: &[String]) -> Result<Arguments, EarlyExit> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    read(&words).map_err(|exit| match exit.status {
        Ok(()) => exit,
        Err(()) => EarlyExit::from(problem(&words, &exit.output)),
    })
}

fn read(words: &[&str]) -> Result<Arguments, EarlyExit> {
    Arguments::from_args(&PROGRAM, words)
}

/// argh's word for it, with the usage of the verb.
fn problem(words: &[&str], said: &str) -> String {
    let path = (0..=2).rev().filter_map(|length| words.get(..length));
    let (command, usage) = path.filter_map(usage_of).next().unwrap_or_default();
    let said: Vec<&str> = said.lines().map(str::trim).collect();
    format!(
        "xtask: {}\n  help: write {usage}; `{command} --help` explains it\n",
        said.join(" ")
    )
}

/// A verb as it is typed, and its usage, if these words are the name of one.
fn usage_of(path: &[&str]) -> Option<(String, String)> {
    let command = [&PROGRAM, path].concat().join(" ");
    let help = read(&[path, &["--help"]].concat()).err()?.output;
    let usage = help.lines().next()?.strip_prefix("Usage: ")?;
    let is_it = usage == command || usage.starts_with(&format!("{command} "));
    is_it.then(|| (command, usage.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> EarlyExit {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).err().expect("it is refused")
    }

    #[test]
    fn a_wrong_line_is_answered_with_its_cause_and_the_verbs_usage() {
        for (line, cause, command) in [
            ("demo --frob", "--frob", "cargo xtask demo"),
            ("test --board", "'--board'", "cargo xtask test"),
            ("fuzz --seconds x", "'x'", "cargo xtask fuzz"),
            ("check-deps all", "all", "cargo xtask check-deps"),
            ("guest", "fetch", "cargo xtask guest"),
            ("guest fetch now", "now", "cargo xtask guest fetch"),
            ("frob", "frob", "cargo xtask"),
            ("", "bench build", "cargo xtask"),
        ] {
            let exit = said(line);
            assert!(exit.status.is_err(), "{line}");
            let (first, help) = exit.output.split_once("\n  help: write ").expect(line);
            assert!(first.contains(cause), "{line}: {first}");
            assert!(help.starts_with(command), "{line}: {help}");
            let explained = format!("; `{command} --help` explains it\n");
            assert!(help.ends_with(&explained), "{line}: {help}");
        }
    }

    #[test]
    fn help_is_no_failure() {
        let exit = said("run --help");
        assert!(exit.status.is_ok());
        assert!(exit.output.starts_with("Usage: cargo xtask run "));
    }
}
