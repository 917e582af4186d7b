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
use mgmt_proto::config::{Action, Policies, suggest};

/// Where the log is found unless configured otherwise.
pub const LOGFILE: &str = "/var/log/xend.log";

/// The largest scrollback of one domain, in KiB.
const CONSOLE_LIMIT_MAX_KIB: u64 = 1024;

/// The most memory that `dom0-min-mem` may ask for, in MiB.
const DOM0_MEMORY_MAX_MIB: u64 = 1 << 20;

/// The most CPUs that `dom0-cpus` may ask for.
const DOM0_CPUS_MAX: u64 = 64;

/// The longest name of a bridge: that of a network interface of Linux.
const BRIDGE_MAX: usize = 15;

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
    /// `on_poweroff`, `on_reboot`, `on_crash`: what becomes of domains whose configuration does not say it.
    pub policies: Policies,
    /// `default-bridge` or `network-bridge`: kept for the network interfaces that domains do not have yet.
    pub bridge: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            logfile: LOGFILE.to_string(),
            loglevel: Level::Info,
            console_limit: SCROLLBACK_BYTES,
            policies: Policies::default(),
            bridge: None,
        }
    }
}

impl fmt::Display for Settings {
    /// As a file that says all of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "(logfile {})", self.logfile)?;
        writeln!(f, "(loglevel {})", self.loglevel.name())?;
        writeln!(f, "(console-limit {})", self.console_limit / 1024)?;
        let policies = &self.policies;
        for (key, action) in [
            ("on_poweroff", policies.on_poweroff),
            ("on_reboot", policies.on_reboot),
            ("on_crash", policies.on_crash),
        ] {
            writeln!(f, "({key} {})", action.name())?;
        }
        match &self.bridge {
            Some(bridge) => writeln!(f, "(default-bridge {bridge})"),
            None => Ok(()),
        }
    }
}

/// What Domain-0 was given at boot: settings about it are compared with that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Domain0 {
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// Its virtual CPUs.
    pub cpus: u32,
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
const KEYS: [&str; 9] = [
    "logfile",
    "loglevel",
    "console-limit",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "default-bridge",
    "dom0-min-mem",
    "dom0-cpus",
];

/// Other names of theirs.
const ALIASES: [(&str, &str); 4] = [
    ("on-poweroff", "on_poweroff"),
    ("on-reboot", "on_reboot"),
    ("on-crash", "on_crash"),
    ("network-bridge", "default-bridge"),
];

/// Keys of the original without a meaning here, by how they begin, and what to do instead.
const FOREIGN: [(&str, &str); 16] = [
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
    ("console-", "console-limit is the only setting of consoles"),
];

impl Settings {
    /// Reads a file. Remarks are in the order of the file.
    pub fn read(text: &str, domain_0: &Domain0) -> (Self, Vec<Remark>) {
        let mut reader = Reader {
            settings: Self::default(),
            domain_0: *domain_0,
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
    domain_0: Domain0,
    remarks: Vec<Remark>,
    seen: Vec<(String, Place)>,
}

impl Reader {
    fn entry(&mut self, expression: &Sxp) {
        let parts = expression.list().and_then(|list| list.split_first());
        let key = parts.and_then(|(key, values)| Some((canonical(key.text()?), values)));
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
        if value
            .text()
            .and_then(|text| self.set(key, text, value.place))
            .is_none()
        {
            let found = shortened(&value.to_string());
            let message = format!("{key} cannot be `{found}`: write {}", remedy(key));
            self.remark(Severity::Error, value.place, message);
        }
    }

    /// None if the value is not one for this key.
    fn set(&mut self, key: &str, value: &str, place: Place) -> Option<()> {
        let settings = &mut self.settings;
        match key {
            "logfile" => settings.logfile = path(value)?,
            "loglevel" => settings.loglevel = Level::from_name(value)?,
            "console-limit" => settings.console_limit = console_limit(value)?,
            "on_poweroff" => settings.policies.on_poweroff = Action::parse(value)?,
            "on_reboot" => settings.policies.on_reboot = Action::parse(value)?,
            "on_crash" => settings.policies.on_crash = Action::parse(value)?,
            "default-bridge" => settings.bridge = Some(bridge(value)?),
            "dom0-min-mem" => self.compare_memory(number(value, DOM0_MEMORY_MAX_MIB)?, place),
            _ => self.compare_cpus(number(value, DOM0_CPUS_MAX)?, place),
        }
        Some(())
    }

    fn compare_memory(&mut self, wanted_mib: u64, place: Place) {
        let has = self.domain_0.memory_mib;
        if has < wanted_mib {
            let message = format!(
                "dom0-min-mem asks for {wanted_mib} MiB and Domain-0 has {has}: its memory is fixed at boot: use \
                 dom0_mem= on the hypervisor's command line"
            );
            self.remark(Severity::Warning, place, message);
        }
    }

    /// As in the original, 0 stands for all it may have.
    fn compare_cpus(&mut self, wanted: u64, place: Place) {
        let has = u64::from(self.domain_0.cpus);
        if wanted != 0 && wanted != has {
            let message = format!(
                "dom0-cpus asks for {wanted} and Domain-0 has {has}: its CPUs are fixed at boot: use dom0_cpus= on \
                 the hypervisor's command line"
            );
            self.remark(Severity::Warning, place, message);
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

/// The name under which a key is listed.
fn canonical(key: &str) -> &str {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == key);
    alias.map_or(key, |(_, name)| name)
}

fn path(value: &str) -> Option<String> {
    let valid = value.starts_with('/') && value.len() <= 255 && !value.contains(char::is_control);
    valid.then(|| value.to_string())
}

/// A number up to `most`, in digits alone.
fn number(value: &str, most: u64) -> Option<u64> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|number| digits && *number <= most)
}

fn console_limit(value: &str) -> Option<usize> {
    let kib = usize::try_from(number(value, CONSOLE_LIMIT_MAX_KIB)?).ok()?;
    kib.checked_mul(1024).filter(|bytes| *bytes > 0)
}

fn bridge(value: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let valid = (1..=BRIDGE_MAX).contains(&value.len()) && value.chars().all(fits);
    valid.then(|| value.to_string())
}

fn example(key: &str) -> &'static str {
    match key {
        "logfile" => LOGFILE,
        "loglevel" => "INFO",
        "console-limit" => "64",
        "default-bridge" => "xenbr0",
        "dom0-min-mem" => "24",
        "dom0-cpus" => "0",
        _ => "restart",
    }
}

fn remedy(key: &str) -> String {
    match key {
        "logfile" => format!("an absolute path such as {LOGFILE}"),
        "loglevel" => format!("one of {}", Level::ALL.map(Level::name).join(", ")),
        "console-limit" => format!("a number of KiB from 1 to {CONSOLE_LIMIT_MAX_KIB}"),
        "default-bridge" => {
            format!("a name of at most {BRIDGE_MAX} letters, digits and '-', '_', '.'")
        }
        "dom0-min-mem" => format!("a number of MiB up to {DOM0_MEMORY_MAX_MIB}"),
        "dom0-cpus" => format!("a number up to {DOM0_CPUS_MAX}; 0: all"),
        _ => "destroy, restart, preserve or rename-restart".to_string(),
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
mod guide;
#[cfg(test)]
mod tests;
