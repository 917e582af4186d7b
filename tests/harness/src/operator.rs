//! An operator: `xenman` commands that have to work, their answers as values, and waiting for what they lead to.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::{CALL_LIMIT, Host, Session};

const POLL: Duration = Duration::from_millis(200);
/// How long a shell may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What went wrong, as a sentence.
#[derive(Debug)]
pub struct Trouble(pub String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

pub(crate) fn trouble(why: impl fmt::Display) -> Trouble {
    Trouble(why.to_string())
}

/// Commands on one host.
#[derive(Clone, Copy)]
pub struct Operator<'a> {
    host: &'a Host,
}

impl<'a> Operator<'a> {
    /// On this host.
    #[must_use]
    pub fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// Runs a command that has to succeed; what it printed.
    pub fn run(self, words: &[&str]) -> Result<String, Trouble> {
        self.run_within(words, CALL_LIMIT)
    }

    /// The same with a time limit of its own.
    pub fn run_within(self, words: &[&str], limit: Duration) -> Result<String, Trouble> {
        let told = self.host.xenman_within(words, limit).map_err(trouble)?;
        match told.success() {
            true => Ok(told.stdout),
            false => Err(Trouble(format!(
                "xenman {} ended with {:?}: {}",
                words.join(" "),
                told.end,
                told.stderr.trim_end()
            ))),
        }
    }

    /// Runs a command that has to be refused (exit status 1); what it said.
    pub fn refused(self, words: &[&str]) -> Result<String, Trouble> {
        let told = self.host.xenman(words).map_err(trouble)?;
        match told.end {
            crate::process::End::Status(1) => Ok(told.stderr),
            end => Err(Trouble(format!(
                "xenman {} was to be refused and ended with {end:?}: {}{}",
                words.join(" "),
                told.stdout,
                told.stderr
            ))),
        }
    }

    /// The JSON that a command prints.
    pub fn json(self, words: &[&str]) -> Result<Value, Trouble> {
        let text = self.run(&[&["--json"], words].concat())?;
        serde_json::from_str(&text).map_err(|error| Trouble(format!("{error} in {text:?}")))
    }

    /// One number of `info`.
    pub fn info(self, key: &str) -> Result<u64, Trouble> {
        let info = self.json(&["info"])?;
        let number = info.get(key).and_then(Value::as_u64);
        number.ok_or_else(|| Trouble(format!("info has no number {key}: {info}")))
    }

    /// The state of a domain; `None`: it is not listed.
    pub fn state(self, name: &str) -> Result<Option<String>, Trouble> {
        let list = self.json(&["list"])?;
        let domains = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let domain = domains.iter().find(|domain| domain["name"] == name);
        Ok(domain.and_then(|domain| domain["state"].as_str().map(str::to_owned)))
    }

    /// Waits until a domain is not listed any more.
    pub fn gone(self, name: &str, limit: Duration) -> Result<(), Trouble> {
        wait(limit, &format!("{name} is still there"), || {
            Ok(self.state(name)?.is_none())
        })
    }

    /// Waits until the host has this much free memory.
    pub fn free_again(self, kib: u64, limit: Duration) -> Result<(), Trouble> {
        let what = format!("free memory is not {kib} KiB again");
        let outcome = wait(limit, &what, || Ok(self.info("free_kib")? == kib));
        outcome.map_err(|trouble| match self.json(&["info"]) {
            Ok(info) => Trouble(format!("{trouble}: {info}")),
            Err(_) => trouble,
        })
    }

    /// What a domain's console has said.
    pub fn said(self, name: &str) -> Result<String, Trouble> {
        self.run(&["console", name, "--dump"])
    }

    /// Waits until a domain's console has said something.
    pub fn says(self, name: &str, phrase: &str, limit: Duration) -> Result<(), Trouble> {
        let what = format!("the console of {name} did not say {phrase:?}");
        let outcome = wait(limit, &what, || Ok(self.said(name)?.contains(phrase)));
        outcome.map_err(|trouble| match self.said(name) {
            Ok(said) => Trouble(format!("{trouble}; it said:\n{said}")),
            Err(_) => trouble,
        })
    }

    /// Attaches to a domain's console.
    pub fn console(self, name: &str) -> Result<Console, Trouble> {
        let session = self.host.session(["console", name]).map_err(trouble)?;
        Ok(Console { session })
    }
}

/// Looks again and again until something holds.
pub fn wait(
    limit: Duration,
    otherwise: &str,
    mut holds: impl FnMut() -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        if Instant::now() > deadline {
            let seconds = limit.as_secs();
            return Err(Trouble(format!("{otherwise} after {seconds} s")));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// An attached console with a shell at the other end.
pub struct Console {
    session: Session,
}

impl Console {
    /// Waits for a whole line with a phrase in it.
    pub fn line(&self, phrase: &str, limit: Duration) -> Result<String, Trouble> {
        let found = self.session.output().expect_line(phrase, limit);
        found.map_err(|missing| {
            let complaint = self.session.errors().tail();
            Trouble(format!("{missing}\n{complaint}"))
        })
    }

    /// Types something.
    pub fn send(&mut self, text: &str) -> Result<(), Trouble> {
        self.session.send(text).map_err(trouble)
    }

    /// Has the shell run a command that prints one line; that line.
    ///
    /// The answer is marked with a number that was never used before, so that neither the echo of what was typed nor
    /// older output is taken for it.
    pub fn ask(&mut self, command: &str) -> Result<String, Trouble> {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let number = ASKED.fetch_add(1, Ordering::Relaxed);
        self.send(&format!("echo A\"\"{number}: $({command})\n"))?;
        let mark = format!("A{number}: ");
        let line = self.line(&mark, ANSWER_LIMIT)?;
        let answer = line.split_once(&mark).map(|(_, answer)| answer.trim());
        Ok(answer.unwrap_or_default().to_owned())
    }

    /// The same for a command that prints a number.
    pub fn ask_number(&mut self, command: &str) -> Result<u64, Trouble> {
        let answer = self.ask(command)?;
        let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
        digits
            .parse()
            .map_err(|_| Trouble(format!("{command} answered {answer:?}")))
    }
}
