//! Counting instructions of a deterministic machine, split by who executes them (xtask/plugin).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::board::Board;
use harness::emulator::Emulator;
use harness::host::Host;
use harness::images::Images;
use harness::machine::Machine;
use tempfile::TempDir;

use super::profile::{Profile, symbol};
use crate::failure::Failure;
use crate::{Outcome, command};

/// Where QEMU puts an Image that may be anywhere, on the virt board.
const ARM_LOAD_ADDRESS: u64 = 0x4020_0000;
/// Where Domain-0 is on that board with at most 4 GiB, next to the hypervisor; it has 24 MiB.
const ARM_DOM0: (u64, u64) = (0x4040_0000, 0x4400_0000);
/// A guest's first instruction there: the start of its RAM, where an Image's own start is.
const ARM_GUEST_START: u64 = 0x4000_0000;
const DOM0_SIZE: u64 = 24 << 20;
/// The plugin's lines, in a machine's folder.
const LINES: &str = "counts";
const POLL: Duration = Duration::from_millis(50);
/// After this a machine with nothing to do has nothing left of what it did.
const SETTLED: Duration = Duration::from_millis(500);

/// What had been executed when something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) hyp: u64,
    /// The part of it after an exit of Domain-0.
    pub(super) hyp_dom0: u64,
    pub(super) dom0: u64,
    pub(super) guest: u64,
    /// The part of `hyp` that waits for a clock to be measured by it (x86).
    pub(super) apart: u64,
    pub(super) exits: u64,
}

impl Counts {
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            hyp: self.hyp - earlier.hyp,
            hyp_dom0: self.hyp_dom0 - earlier.hyp_dom0,
            dom0: self.dom0 - earlier.dom0,
            guest: self.guest - earlier.guest,
            apart: self.apart - earlier.apart,
            exits: self.exits - earlier.exits,
        }
    }

    pub(super) fn total(self) -> u64 {
        self.hyp + self.dom0 + self.guest
    }
}

/// What tells the hypervisor from what it runs.
pub(super) enum Hypervisor {
    /// There is none.
    None,
    /// Ours.
    Ours,
    /// It has these virtual addresses to itself.
    Addresses(u64, u64),
}

/// A machine whose instructions are counted.
pub(super) struct Counted {
    board: Board,
    emulator: Emulator,
    lines: PathBuf,
    profile: PathBuf,
    _folder: TempDir,
}

impl Counted {
    /// Starts a machine, to be ended after `limit`.
    pub(super) fn start(
        mut machine: Machine,
        hypervisor: &Hypervisor,
        images: &Images,
        limit: Duration,
    ) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
        let lines = folder.path().join(LINES);
        let profile = folder.path().join("profile");
        let mut plugin = counting(machine.board, hypervisor, images, folder.path())?;
        plugin.push(format!(",profile={}", profile.display()));
        machine.deterministic = true;
        machine.extra.extend(["-plugin".into(), plugin]);
        let log = folder.path().join("serial.log");
        let emulator = Emulator::start(&machine, &log, None, limit)
            .map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self {
            board: machine.board,
            emulator,
            lines,
            profile,
            _folder: folder,
        })
    }

    /// Where the hypervisor's instructions went up to the last thing that was counted.
    pub(super) fn profile(&self, images: &Images) -> Outcome<Profile> {
        let blocks = fs::read_to_string(&self.profile).map_err(Failure::file(&self.profile))?;
        let offset = match self.board {
            Board::QemuVirt => ARM_LOAD_ADDRESS,
            Board::QemuQ35 | Board::BochsPc => 0,
        };
        Profile::new(&blocks, &with_symbols(self.board, images), offset)
    }

    /// Waits for a line of the machine's console; all that was said up to then.
    pub(super) fn said(&self, phrase: &str, limit: Duration) -> Outcome<String> {
        let seen = self.emulator.serial().expect_line(phrase, limit);
        seen.map_err(|missing| Failure::new(missing.to_string()))?;
        Ok(self.emulator.serial().text())
    }

    /// Waits until something was counted (`name` as the plugin calls it); the last count of that name.
    pub(super) fn at(&self, name: &str, limit: Duration) -> Outcome<Counts> {
        self.find(name, limit, |text| {
            text.lines().rev().find_map(|line| counts(line, name))
        })
    }

    /// The same, the `nth` count of that name.
    pub(super) fn nth(&self, name: &str, nth: usize, limit: Duration) -> Outcome<Counts> {
        self.find(name, limit, |text| {
            text.lines().filter_map(|line| counts(line, name)).nth(nth)
        })
    }

    fn find(
        &self,
        name: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<Counts>,
    ) -> Outcome<Counts> {
        let deadline = Instant::now() + limit;
        loop {
            let text = fs::read_to_string(&self.lines).unwrap_or_default();
            if let Some(counts) = find(&text) {
                return Ok(counts);
            }
            if Instant::now() > deadline || !self.emulator.is_running() {
                return Err(Failure::new(format!(
                    "the machine did not come to {name:?}; its console:\n{}\ncounted so far:\n{text}",
                    self.emulator.serial().tail()
                )));
            }
            thread::sleep(POLL);
        }
    }
}

/// Our hypervisor with its symbols.
fn with_symbols(board: Board, images: &Images) -> PathBuf {
    board.hypervisor(images).with_extension("elf")
}

/// The plugin, told where the hypervisor is and where in the machine's folder lines go.
fn counting(
    board: Board,
    hypervisor: &Hypervisor,
    images: &Images,
    folder: &Path,
) -> Outcome<OsString> {
    let mut plugin = plugin(board, folder)?.into_os_string();
    plugin.push(format!(",out={}", folder.join(LINES).display()));
    if board == Board::QemuVirt {
        plugin.push(format!(",guest={ARM_GUEST_START:x}"));
    }
    match hypervisor {
        Hypervisor::None => {}
        Hypervisor::Addresses(from, to) => plugin.push(format!(",hypva={from:x}-{to:x}")),
        Hypervisor::Ours => plugin.push(ours(board, &with_symbols(board, images))?),
    }
    Ok(plugin)
}

/// What the plugin is told of our hypervisor.
fn ours(board: Board, program: &Path) -> Outcome<String> {
    if board == Board::QemuVirt {
        let vectors = ARM_LOAD_ADDRESS + symbol(program, "vectors")?.start;
        let (from, to) = ARM_DOM0;
        return Ok(format!(",vectors={vectors:x},dom0={from:x}-{to:x}"));
    }
    let address = |name| symbol(program, name).map(|range| range.start);
    let (entry, end) = (address("pvh_entry")?, address("__text_end")?);
    let image = format!("{:x}-{end:x}", address("__image_start")?);
    let apart = symbol(program, "arch_x86_64::hw::timer::calibrate")?;
    let apart = format!("{:x}-{:x}", apart.start, apart.end);
    Ok(format!(
        ",entry={entry:x},image={image},apart={apart},dom0={DOM0_SIZE}"
    ))
}

/// A machine in real time that somebody talks to. What it executed is known whenever its CPU idles; the figures differ a
/// little from run to run.
pub(super) struct Live {
    pub(super) host: Host,
    lines: PathBuf,
    _folder: TempDir,
}

impl Live {
    /// Boots it, to be ended after `limit`.
    pub(super) fn boot(mut machine: Machine, images: &Images, limit: Duration) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
        let lines = folder.path().join(LINES);
        let mut plugin = counting(machine.board, &Hypervisor::Ours, images, folder.path())?;
        plugin.push(",idle=on");
        machine.extra.extend(["-plugin".into(), plugin]);
        Ok(Self {
            host: Host::boot(&machine, limit)?,
            lines,
            _folder: folder,
        })
    }

    /// What had been executed when the CPU last went idle.
    pub(super) fn idle(&self) -> Outcome<Counts> {
        thread::sleep(SETTLED);
        let text = fs::read_to_string(&self.lines).map_err(Failure::file(&self.lines))?;
        let last = text.lines().rev().find_map(|line| counts(line, "idle"));
        last.ok_or_else(|| Failure::new("the machine was never idle"))
    }

    /// What it executes by itself in so many seconds.
    pub(super) fn rest(&self, seconds: f64) -> Outcome<Counts> {
        let before = self.idle()?;
        thread::sleep(Duration::from_secs_f64(seconds).saturating_sub(SETTLED));
        Ok(self.idle()?.since(before))
    }
}

fn counts(line: &str, name: &str) -> Option<Counts> {
    // A line that is being written has no end yet, and so no last field.
    let (line, exits) = line
        .strip_prefix(name)?
        .strip_prefix(' ')?
        .rsplit_once(" exits=")?;
    let field = |key: &str| {
        let part = line
            .split(' ')
            .find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        part?.parse().ok()
    };
    Some(Counts {
        hyp: field("hyp")?,
        hyp_dom0: field("hyp_dom0")?,
        dom0: field("dom0")?,
        guest: field("guest")?,
        apart: field("apart").unwrap_or_default(),
        exits: exits.parse().ok()?,
    })
}

/// Builds the plugin in a machine's folder, so that none of an older source can be taken for it.
fn plugin(board: Board, folder: &Path) -> Outcome<PathBuf> {
    let text = match board {
        Board::QemuVirt => include_str!("../../plugin/count.c"),
        Board::QemuQ35 | Board::BochsPc => include_str!("../../plugin/count_x86.c"),
    };
    let source = folder.join("count.c");
    for (path, text) in [
        (&source, text),
        (
            &folder.join("count.h"),
            include_str!("../../plugin/count.h"),
        ),
    ] {
        fs::write(path, text).map_err(Failure::file(path))?;
    }
    let library = folder.join("count.so");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o"]);
    command::run(cc.arg(&library).arg(&source))?;
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_plugin_are_read() {
        let line = "up hyp=10 hyp_dom0=4 dom0=20 guest=30 exits=2";
        let read = counts(line, "up").unwrap();
        assert_eq!((read.total(), read.exits, read.hyp_dom0), (60, 2, 4));
        assert_eq!(counts(line, "u"), None);
        assert_eq!(counts("up hyp=10 hyp_dom0=4 dom0=20 gu", "up"), None);
        let line = "dom0 hyp=10 hyp_dom0=4 dom0=20 guest=30 apart=5 exits=2";
        assert_eq!(counts(line, "dom0").unwrap().apart, 5);
        assert_eq!(read.since(read), Counts::default());
    }
}
