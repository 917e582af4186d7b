//! What `xend-config.sxp` means.
//!
//! The file of the original reads: keys that mean something here are taken, keys that meant something there are warned
//! about with what to do instead, unknown ones by name. xend always comes up: whatever is wrong leaves that one setting
//! at its default and is a [`Remark`] with its place, for the log and for `xenman config check`.

use crate::console::SCROLLBACK_BYTES;
use crate::logbook::Level;
use crate::sxp::{self, Place, Sxp};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use mgmt_proto::config::suggest;

/// Where the log is found unless configured otherwise.
pub const LOGFILE: &str = "/var/log/xend.log";

/// The largest scrollback of one domain, in KiB.
const CONSOLE_LIMIT_MAX_KIB: usize = 1024;

/// Remarks kept; a file can be wrong in more places than anybody reads.
const REMARKS_MAX: usize = 100;

/// xend's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `logfile`: the path under which the log is presented.
    pub logfile: String,
    /// `loglevel`: what goes into the log.
    pub loglevel: Level,
    /// `console-limit`: scrollback per domain, in bytes (in the file: KiB).
    pub console_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            logfile: LOGFILE.to_string(),
            loglevel: Level::Info,
            console_limit: SCROLLBACK_BYTES,
        }
    }
}

/// How bad a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Understood, without effect.
    Warning,
    /// Not understood; the default holds.
    Error,
}

/// Something to say about the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What is the matter, and what to do about it.
    pub message: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(
            f,
            "xend-config.sxp:{}: {severity}: {}",
            self.place, self.message
        )
    }
}

/// The keys that mean something here.
const KEYS: [&str; 3] = ["logfile", "loglevel", "console-limit"];

/// Keys of the original without a meaning here, by how they begin, and what to do instead.
const FOREIGN: [(&str, &str); 20] = [
    (
        "dom0-min-mem",
        "Domain-0's memory is fixed at boot: use dom0_mem= on the hypervisor's command line",
    ),
    (
        "dom0-cpus",
        "Domain-0's CPUs are fixed at boot: use dom0_cpus= on the hypervisor's command line",
    ),
    ("xend-api-server", "xend is reached with xenman only"),
    ("xend-http-server", "xend is reached with xenman only"),
    ("xend-unix", "xend is reached with xenman only"),
    ("xend-tcp", "xend is reached with xenman only"),
    ("xen-tcp", "xend is reached with xenman only"),
    (
        "xend-relocation",
        "domains move with xenman save and restore",
    ),
    ("xend-port", "xend is reached with xenman only"),
    ("xend-address", "xend is reached with xenman only"),
    (
        "external-migration-tool",
        "domains move with xenman save and restore",
    ),
    ("network-script", "there are no scripts in Domain-0"),
    ("vif-script", "there are no scripts in Domain-0"),
    (
        "enable-dump",
        "crashed domains are kept with on_crash=\"preserve\" in their configuration",
    ),
    ("vnc", "there is no graphical console; use xenman console"),
    (
        "keymap",
        "there is no graphical console; use xenman console",
    ),
    (
        "resource-label-change-script",
        "there are no scripts in Domain-0",
    ),
    ("on_", "write it in the configuration of each domain"),
    (
        "on-",
        "write it as on_poweroff, on_reboot or on_crash in the configuration of each domain",
    ),
    ("console-", "console-limit is the only setting of consoles"),
];

impl Settings {
    /// Reads a file. Remarks are in the order of the file.
    pub fn read(text: &str) -> (Self, Vec<Remark>) {
        let mut reader = Reader {
            settings: Self::default(),
            remarks: Vec::new(),
            seen: Vec::new(),
        };
        match sxp::parse(text) {
            Ok(expressions) => expressions
                .iter()
                .for_each(|expression| reader.entry(expression)),
            Err(error) => {
                let message = error.to_string();
                let message = message
                    .split_once(": ")
                    .map_or(message.as_str(), |(_, message)| message);
                reader.remark(
                    Severity::Error,
                    error.place,
                    format!("{message}; nothing of this file is used"),
                );
            }
        }
        (reader.settings, reader.remarks)
    }
}

struct Reader {
    settings: Settings,
    remarks: Vec<Remark>,
    seen: Vec<(String, Place)>,
}

impl Reader {
    fn entry(&mut self, expression: &Sxp) {
        let parts = expression.list().and_then(|list| list.split_first());
        let key = parts.and_then(|(key, values)| Some((key.text()?, values)));
        match key {
            Some((key, values)) if KEYS.contains(&key) => {
                self.setting(key, values, expression.place)
            }
            Some((key, _)) => self.without_meaning(key, expression.place),
            None => {
                let message = format!(
                    "expected `(key value)`, found `{}`",
                    shortened(&expression.to_string())
                );
                self.remark(Severity::Error, expression.place, message);
            }
        }
    }

    fn setting(&mut self, key: &str, values: &[Sxp], place: Place) {
        if let Some((_, first)) = self.seen.iter().find(|(seen, _)| seen == key) {
            let message = format!(
                "{key} was set at {first} already; this one is used: remove one of the two"
            );
            self.remark(Severity::Warning, place, message);
        }
        self.seen.push((key.to_string(), place));
        let [value] = values else {
            let message = format!("{key} takes one value: write `({key} {})`", example(key));
            return self.remark(Severity::Error, place, message);
        };
        if !value.text().is_some_and(|text| self.set(key, text)) {
            let found = shortened(&value.to_string());
            let message = format!("{key} cannot be `{found}`: write {}", remedy(key));
            self.remark(Severity::Error, value.place, message);
        }
    }

    /// Returns whether the value is one for this key.
    fn set(&mut self, key: &str, value: &str) -> bool {
        match key {
            "logfile" => {
                let valid = value.starts_with('/')
                    && value.len() <= 255
                    && !value.contains(char::is_control);
                if valid {
                    self.settings.logfile = value.to_string();
                }
                valid
            }
            "loglevel" => Level::from_name(value)
                .map(|level| self.settings.loglevel = level)
                .is_some(),
            _ => console_limit(value)
                .map(|bytes| self.settings.console_limit = bytes)
                .is_some(),
        }
    }

    fn without_meaning(&mut self, key: &str, place: Place) {
        let shown = shortened(key);
        let foreign = FOREIGN.iter().find(|(begin, _)| key.starts_with(begin));
        let message = match (foreign, suggest(key, KEYS)) {
            (Some((_, instead)), _) => format!("{shown} has no effect: {instead}"),
            (None, Some(near)) => format!("unknown setting {shown}: did you mean {near}?"),
            (None, None) => format!("unknown setting {shown}: known are {}", KEYS.join(", ")),
        };
        self.remark(Severity::Warning, place, message);
    }

    fn remark(&mut self, severity: Severity, place: Place, message: String) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(Remark {
                place,
                severity,
                message,
            });
        }
    }
}

fn console_limit(value: &str) -> Option<usize> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let kib: usize = value.parse().ok().filter(|_| digits)?;
    (1..=CONSOLE_LIMIT_MAX_KIB)
        .contains(&kib)
        .then_some(kib.checked_mul(1024)?)
}

fn example(key: &str) -> &'static str {
    match key {
        "logfile" => LOGFILE,
        "loglevel" => "INFO",
        _ => "64",
    }
}

fn remedy(key: &str) -> String {
    match key {
        "logfile" => format!("an absolute path such as {LOGFILE}"),
        "loglevel" => format!("one of {}", Level::ALL.map(Level::name).join(", ")),
        _ => format!("a number of KiB from 1 to {CONSOLE_LIMIT_MAX_KIB}"),
    }
}

/// What somebody wrote, short enough for a line of a log.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{FOREIGN, REMARKS_MAX, Settings, Severity};
    use crate::logbook::Level;
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    fn remarks(text: &str) -> Vec<String> {
        Settings::read(text)
            .1
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(
            Settings::read("# nothing\n"),
            (Settings::default(), Vec::new())
        );
    }

    #[test]
    fn what_is_set_is_taken() {
        let (settings, remarks) =
            Settings::read("(logfile /var/log/x.log)\n(loglevel debug)\n(console-limit 128)");
        let expected = Settings {
            logfile: "/var/log/x.log".to_string(),
            loglevel: Level::Debug,
            console_limit: 131_072,
        };
        assert_eq!((settings, remarks.len()), (expected, 0));
    }

    #[test]
    fn bad_values_are_errors_with_place_and_remedy_and_the_rest_holds() {
        let (settings, found) =
            Settings::read("(console-limit 0)\n(loglevel LOUD)\n(logfile x)\n(loglevel ERROR)");
        assert_eq!(settings.loglevel, Level::Error);
        assert_eq!(
            (settings.console_limit, settings.logfile.as_str()),
            (65_536, "/var/log/xend.log")
        );
        assert_eq!(
            found
                .iter()
                .filter(|remark| remark.severity == Severity::Error)
                .count(),
            3
        );
        for (text, expected) in [
            (
                "(console-limit 0)",
                "1:16: error: console-limit cannot be `0`: write a number of KiB from 1 to 1024",
            ),
            (
                "(console-limit +5)",
                "1:16: error: console-limit cannot be `+5`: write a number of KiB from 1 to 1024",
            ),
            (
                "(loglevel LOUD)",
                "1:11: error: loglevel cannot be `LOUD`: write one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
            ),
            (
                "\n (logfile a)",
                "2:11: error: logfile cannot be `a`: write an absolute path such as /var/log/xend.log",
            ),
            (
                "(logfile (a b))",
                "1:10: error: logfile cannot be `(a b)`: write an absolute path such as /var/log/xend.log",
            ),
            (
                "(loglevel)",
                "1:1: error: loglevel takes one value: write `(loglevel INFO)`",
            ),
            (
                "(loglevel INFO DEBUG)",
                "1:1: error: loglevel takes one value: write `(loglevel INFO)`",
            ),
            (
                "loglevel",
                "1:1: error: expected `(key value)`, found `loglevel`",
            ),
            ("()", "1:1: error: expected `(key value)`, found `()`"),
            (
                "(loglevel INFO",
                "1:1: error: this `(` is never closed: add a `)`; nothing of this file is used",
            ),
        ] {
            assert_eq!(remarks(text), [format!("xend-config.sxp:{expected}")]);
        }
    }

    #[test]
    fn keys_without_meaning_are_warned_about_by_name() {
        for (text, expected) in [
            (
                "(dom0-min-mem 196)",
                "dom0-min-mem has no effect: Domain-0's memory is fixed at boot",
            ),
            (
                "(xend-unix-path /x)",
                "xend-unix-path has no effect: xend is reached with xenman only",
            ),
            (
                "(vnc-listen '127.0.0.1')",
                "vnc-listen has no effect: there is no graphical console",
            ),
            (
                "(on_crash destroy)",
                "on_crash has no effect: write it in the configuration of each domain",
            ),
            (
                "(logfiel /x)",
                "unknown setting logfiel: did you mean logfile?",
            ),
            (
                "(colour blue)",
                "unknown setting colour: known are logfile, loglevel, console-limit",
            ),
        ] {
            let found = remarks(text);
            assert!(
                found.len() == 1 && found[0].contains(&format!("warning: {expected}")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_original_file_gives_warnings_only() {
        let keys = FOREIGN.iter().filter(|(key, _)| !key.ends_with(['-', '_']));
        let text: String = keys
            .map(|(key, _)| format!("({key} something)\n"))
            .collect();
        let (settings, remarks) = Settings::read(&text);
        assert_eq!(settings, Settings::default());
        assert!(
            remarks
                .iter()
                .all(|remark| remark.severity == Severity::Warning)
        );
        assert_eq!(remarks.len(), text.lines().count());
    }

    #[test]
    fn a_key_set_twice_is_remarked_and_the_last_one_holds() {
        let (settings, remarks) = Settings::read("(loglevel DEBUG)\n(loglevel ERROR)");
        assert_eq!((settings.loglevel, remarks.len()), (Level::Error, 1));
        assert!(remarks[0].message.contains("set at 1:1 already"));
    }

    #[test]
    fn remarks_are_bounded() {
        assert_eq!(remarks(&"(x y)\n".repeat(2000)).len(), REMARKS_MAX);
        assert!(remarks(&format!("({} y)", "k".repeat(3000)))[0].len() < 200);
    }
}
