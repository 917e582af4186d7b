// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a configuration means.

use super::{
    MAX_COMMAND_LINE, MAX_VCPUS,
    error::{ConfigError, Warning},
    image::{ImageSource, parse_uuid},
    reader::Reader,
    suggest::suggest,
    syntax::ConfigFile,
    value::{Node, Value},
};
use crate::messages::{DomainKind, MAX_NAME};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// The most memory a configuration may ask for: 1 TiB, in MiB.
const MAX_MEMORY_MIB: u64 = 1 << 20;

/// A domain as its configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Its name.
    pub name: String,
    /// Its UUID; none: a new one.
    pub uuid: Option<[u8; 16]>,
    /// What kind of machine it is.
    pub kind: DomainKind,
    /// Its memory, in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs at the start.
    pub vcpus: u32,
    /// The most virtual CPUs it may have.
    pub max_vcpus: u32,
    /// Its kernel.
    pub kernel: ImageSource,
    /// Its initrd.
    pub ramdisk: Option<ImageSource>,
    /// The kernel's command line.
    pub command_line: String,
    /// What becomes of it when it stops.
    pub policies: Policies,
    /// Its weight in scheduling; 256 is the default.
    pub cpu_weight: u16,
    /// The most of a CPU it gets, in percent of one CPU; 0: no limit.
    pub cap: u16,
    /// On which CPUs its virtual CPUs may run.
    pub affinity: Affinity,
    /// Whether and how it starts with xend, if it is a managed one.
    pub autostart: Option<Autostart>,
}

/// How a managed domain starts with xend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autostart {
    /// Its place among the others: lower ones first.
    pub order: u32,
    /// Seconds to wait after the one before it.
    pub delay_s: u32,
}

/// The place of a domain that does not say its own.
const AUTOSTART_ORDER: u32 = 100;

/// The longest wait before a domain is started: an hour.
const MAX_AUTOSTART_DELAY_S: u64 = 3600;

/// What becomes of a domain when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    /// When it shuts down.
    pub on_poweroff: Action,
    /// When it reboots.
    pub on_reboot: Action,
    /// When it crashes.
    pub on_crash: Action,
    /// When its watchdog fires.
    pub on_watchdog: Action,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
            on_watchdog: Action::Destroy,
        }
    }
}

/// What is done with a domain that stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is taken apart.
    Destroy,
    /// It is created anew from its configuration.
    Restart,
    /// It is kept as it is.
    Preserve,
    /// It is kept under another name, and created anew.
    RenameRestart,
}

impl Action {
    /// The word in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Restart => "restart",
            Self::Preserve => "preserve",
            Self::RenameRestart => "rename-restart",
        }
    }

    /// What a word in a configuration means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let known = Self::WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, action)| *action)
    }

    const WORDS: [(&'static str, Self); 6] = [
        ("destroy", Self::Destroy),
        ("restart", Self::Restart),
        ("preserve", Self::Preserve),
        ("rename-restart", Self::RenameRestart),
        ("coredump-destroy", Self::Destroy),
        ("coredump-restart", Self::Restart),
    ];
}

/// A set of physical CPUs, bit 0 for CPU 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSet(pub u64);

impl CpuSet {
    /// All CPUs.
    pub const ALL: Self = Self(u64::MAX);

    /// As xl writes it: `all`, or a list of `N`, `N-M`, and `^N` or `^N-M` to leave out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut set = 0u64;
        for part in text.split(',').map(str::trim) {
            let (without, part) = match part.strip_prefix('^') {
                Some(rest) => (true, rest),
                None => (false, part),
            };
            let bits = if part == "all" {
                u64::MAX
            } else {
                range(part)?
            };
            set = if without { set & !bits } else { set | bits };
        }
        (set != 0).then_some(Self(set))
    }
}

impl fmt::Display for CpuSet {
    /// As [`CpuSet::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let has = |cpu: u32| cpu < 64 && self.0 >> cpu & 1 != 0;
        let mut gap = "";
        for first in (0..64).filter(|cpu| has(*cpu) && (*cpu == 0 || !has(cpu - 1))) {
            let last = (first..64).find(|cpu| !has(cpu + 1)).unwrap_or(first);
            if first == last {
                write!(f, "{gap}{first}")?;
            } else {
                write!(f, "{gap}{first}-{last}")?;
            }
            gap = ",";
        }
        Ok(())
    }
}

/// The bits of `N` or `N-M`.
fn range(text: &str) -> Option<u64> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let up_to = u64::MAX.checked_shr(63u32.checked_sub(last)?)?;
    let from = u64::MAX.checked_shl(first)?;
    (first <= last).then_some(up_to & from)
}

/// On which CPUs virtual CPUs may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// On these, all of them.
    All(CpuSet),
    /// Each on its own set, in order; those not listed run anywhere.
    Each(Vec<CpuSet>),
}

impl Affinity {
    /// Where one of the virtual CPUs may run.
    #[must_use]
    pub fn of(&self, vcpu: u32) -> CpuSet {
        match self {
            Self::All(set) => *set,
            Self::Each(sets) => {
                let index = usize::try_from(vcpu).unwrap_or(usize::MAX);
                sets.get(index).copied().unwrap_or(CpuSet::ALL)
            }
        }
    }
}

impl DomainConfig {
    /// What `file` means, with what its author should know; or everything that is wrong with it.
    pub fn from_file(file: &ConfigFile) -> Result<(Self, Vec<Warning>), Vec<ConfigError>> {
        Self::from_file_with(file, &Policies::default())
    }

    /// The same, where `policies` are those of a domain that does not say its own.
    pub fn from_file_with(
        file: &ConfigFile,
        policies: &Policies,
    ) -> Result<(Self, Vec<Warning>), Vec<ConfigError>> {
        let mut reader = Reader::new(file);
        reader.check_keys();
        let read = Self::read(&mut reader, policies);
        match read {
            Some(config) if reader.errors.is_empty() => Ok((config, reader.warnings)),
            _ => Err(reader.errors),
        }
    }

    /// None only with an error in `reader`.
    fn read(reader: &mut Reader<'_>, default: &Policies) -> Option<Self> {
        let name = name(reader);
        let uuid = uuid(reader);
        let kind = kind(reader);
        let memory_mib = memory(reader);
        let (vcpus, max_vcpus) = vcpus(reader);
        let kernel = kernel(reader);
        let ramdisk = reader
            .text("ramdisk")
            .map(|(text, _)| ImageSource::parse(&text));
        Some(Self {
            command_line: command_line(reader),
            policies: policies(reader, default),
            cpu_weight: small(reader.number("cpu_weight", 1, 65535), 256),
            cap: small(reader.number("cap", 0, u64::from(MAX_VCPUS) * 100), 0),
            affinity: affinity(reader),
            autostart: autostart(reader),
            name: name?,
            uuid,
            kind,
            memory_mib: memory_mib?,
            vcpus,
            max_vcpus,
            kernel: kernel?,
            ramdisk,
        })
    }
}

fn small(number: Option<u64>, default: u16) -> u16 {
    number
        .and_then(|number| u16::try_from(number).ok())
        .unwrap_or(default)
}

/// Whether a domain may have this name; the sentence says why not.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("a domain's name is not empty")
    } else if name.len() > MAX_NAME {
        Err("a domain's name has at most 64 bytes")
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        Err("a domain's name is not a number: numbers are domids")
    } else if name.contains('/') || name.chars().any(char::is_control) {
        Err("a domain's name has no '/' and no control characters")
    } else if name.starts_with('-') || name.trim() != name {
        Err("a domain's name does not begin with '-' and has no blanks around it")
    } else if name == "Domain-0" {
        Err("'Domain-0' is the name of Domain-0")
    } else {
        Ok(())
    }
}

fn name(reader: &mut Reader<'_>) -> Option<String> {
    if reader.node("name").is_none() {
        reader.missing("name", "add a line such as name = \"guest\"");
    }
    let (name, at) = reader.string("name")?;
    if let Err(reason) = check_name(&name) {
        reader.refuse(at, reason.into(), "choose another name");
        return None;
    }
    Some(name)
}

fn uuid(reader: &mut Reader<'_>) -> Option<[u8; 16]> {
    let (text, at) = reader.text("uuid")?;
    let uuid = parse_uuid(&text);
    if uuid.is_none() {
        let remedy =
            "write 32 hexadecimal digits as 8-4-4-4-12, or leave the line out for a new one";
        reader.refuse(at, "'uuid' is not a UUID".into(), remedy);
    }
    uuid
}

fn kind(reader: &mut Reader<'_>) -> DomainKind {
    if let Some((builder, at)) = reader.text("builder") {
        match builder.as_str() {
            "hvm" if reader.node("type").is_none() => return DomainKind::HVM,
            "hvm" | "pvh" => {}
            "generic" | "linux" => {
                reader.warn(
                    at,
                    format!("builder = \"{builder}\" gives a domain of type pvh here"),
                );
            }
            _ => reader.refuse(
                at,
                format!("'{builder}' is not a builder"),
                "write type = \"pvh\" or type = \"hvm\" instead",
            ),
        }
    }
    let Some((kind, at)) = reader.text("type") else {
        return DomainKind::PVH;
    };
    match kind.as_str() {
        "pvh" => DomainKind::PVH,
        "hvm" => DomainKind::HVM,
        other => {
            let remedy =
                "write type = \"pvh\" (for Linux and others that know Xen) or type = \"hvm\"";
            reader.refuse(
                at,
                format!("there are no domains of type '{other}'"),
                remedy,
            );
            DomainKind::PVH
        }
    }
}

fn memory(reader: &mut Reader<'_>) -> Option<u64> {
    let memory = reader.number("memory", 1, MAX_MEMORY_MIB);
    let most = reader.number("maxmem", 1, MAX_MEMORY_MIB);
    let node = reader.node("maxmem");
    match (memory, most, node) {
        (Some(memory), Some(most), Some(node)) if most < memory => {
            let message = format!("'maxmem' ({most}) is less than 'memory' ({memory})");
            reader.refuse(node.at, message, "leave 'maxmem' out");
        }
        (Some(memory), Some(most), Some(node)) if most > memory => {
            let message = format!(
                "'maxmem' is ignored: memory cannot grow while a domain runs; it gets {memory} MiB"
            );
            reader.warn(node.at, message);
        }
        _ => {}
    }
    if reader.node("memory").is_none() {
        reader.missing("memory", "add a line such as memory = 256 (MiB)");
    }
    memory
}

fn vcpus(reader: &mut Reader<'_>) -> (u32, u32) {
    let most = u64::from(MAX_VCPUS);
    let count = |number: u64| u32::try_from(number).unwrap_or(1);
    let given = reader.number("vcpus", 1, most).map(count);
    let limit = reader.number("maxvcpus", 1, most).map(count);
    let max_vcpus = limit.or(given).unwrap_or(1);
    let vcpus = given.unwrap_or(max_vcpus);
    if vcpus > max_vcpus {
        if let Some(node) = reader.node("maxvcpus") {
            let message = format!("'maxvcpus' ({max_vcpus}) is less than 'vcpus' ({vcpus})");
            reader.refuse(node.at, message, "leave 'maxvcpus' out");
        }
        return (vcpus, vcpus);
    }
    (vcpus, max_vcpus)
}

fn kernel(reader: &mut Reader<'_>) -> Option<ImageSource> {
    let refused = reader.errors.len();
    let text = reader.text("kernel");
    if text.is_none() && reader.errors.len() == refused {
        reader.missing(
            "kernel",
            "name a file, kernel = \"/path/to/Image\", or a member of the boot bundle, kernel = \"boot:Image\"",
        );
    }
    text.map(|(text, _)| ImageSource::parse(&text))
}

/// As in xl: `cmdline` alone, else `root=` of `root` and then `extra`.
fn command_line(reader: &mut Reader<'_>) -> String {
    let cmdline = reader.text("cmdline");
    let root = reader.text("root");
    let extra = reader.text("extra");
    let (line, at) = match (cmdline, root, extra) {
        (Some((line, at)), root, extra) => {
            for (key, part) in [("root", root), ("extra", extra)] {
                if let Some((_, at)) = part {
                    reader.warn(
                        at,
                        format!("'{key}' is ignored: 'cmdline' stands for the whole command line"),
                    );
                }
            }
            (line, at)
        }
        (None, Some((root, at)), Some((extra, _))) => (format!("root={root} {extra}"), at),
        (None, Some((root, at)), None) => (format!("root={root}"), at),
        (None, None, Some(extra)) => extra,
        (None, None, None) => return String::new(),
    };
    if line.len() >= MAX_COMMAND_LINE {
        let message = format!("the kernel's command line has {} bytes", line.len());
        reader.refuse(at, message, "shorten it to less than 2048 bytes");
    } else if line.contains('\0') {
        reader.refuse(
            at,
            "the kernel's command line contains a zero byte".into(),
            "remove it",
        );
    }
    line
}

fn policies(reader: &mut Reader<'_>, default: &Policies) -> Policies {
    Policies {
        on_poweroff: action(reader, "on_poweroff", default.on_poweroff),
        on_reboot: action(reader, "on_reboot", default.on_reboot),
        on_crash: action(reader, "on_crash", default.on_crash),
        on_watchdog: action(reader, "on_watchdog", default.on_watchdog),
    }
}

fn action(reader: &mut Reader<'_>, key: &str, default: Action) -> Action {
    let Some((word, at)) = reader.text(key) else {
        return default;
    };
    let known = Action::parse(&word);
    if word.starts_with("coredump-") && known.is_some() {
        reader.warn(
            at,
            format!("'{word}': no core dump is written; the domain's log and console remain"),
        );
    }
    if let Some(action) = known {
        return action;
    }
    let remedy = suggest(&word, Action::WORDS.iter().map(|(word, _)| *word)).map_or_else(
        || "write destroy, restart, preserve or rename-restart".to_string(),
        |meant| format!("did you mean \"{meant}\"?"),
    );
    reader.refuse(
        at,
        format!("'{word}' is not something '{key}' can do"),
        &remedy,
    );
    default
}

fn autostart(reader: &mut Reader<'_>) -> Option<Autostart> {
    let order = reader.number("autostart_order", 0, u64::from(u32::MAX));
    let delay = reader.number("autostart_delay", 0, MAX_AUTOSTART_DELAY_S);
    let (word, at) = reader.text("on_xend_start")?;
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    match word.as_str() {
        "start" => Some(Autostart {
            order: order.map_or(AUTOSTART_ORDER, small),
            delay_s: delay.map_or(0, small),
        }),
        "ignore" => None,
        _ => {
            let message = format!("'{word}' is not something 'on_xend_start' can do");
            reader.refuse(at, message, "write \"start\" or \"ignore\"");
            None
        }
    }
}

fn affinity(reader: &mut Reader<'_>) -> Affinity {
    let Some(node) = reader.node("cpus") else {
        return Affinity::All(CpuSet::ALL);
    };
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            Affinity::Each(items.iter().map(|item| cpu_set(reader, item)).collect())
        }
        value if value.is_empty() && !matches!(value, Value::Integer(_)) => {
            Affinity::All(CpuSet::ALL)
        }
        _ => Affinity::All(cpu_set(reader, node)),
    }
}

fn cpu_set(reader: &mut Reader<'_>, node: &Node) -> CpuSet {
    let set = match &node.value {
        Value::String(text) => CpuSet::parse(text),
        Value::Integer(cpu) => CpuSet::parse(&cpu.to_string()),
        Value::List(_) => None,
    };
    set.unwrap_or_else(|| {
        let remedy = "write CPU numbers below 64 such as \"0-3,^2\", or \"all\"";
        reader.refuse(node.at, "'cpus' is not a set of CPUs".into(), remedy);
        CpuSet::ALL
    })
}
