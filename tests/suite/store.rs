//! The store on Domain-0's disk: what it keeps while the machine is off, and what becomes of a disk that is damaged.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use harness::board::Board;
use harness::bundle::Bundle;
use harness::host::Host;
use harness::images::Images;
use harness::machine::Disk;
use harness::operator::{Operator, Trouble, wait};
use tempfile::TempDir;

use crate::stage::{SMALL_MIB, SOON, last_tick};

const MIB: u64 = 1024 * 1024;
const SECTOR: u64 = 512;
/// The two sectors that say how long the store's database is, in its partition, which begins at the first MiB.
const SUPERBLOCKS: [u64; 2] = [MIB, MIB + 64 * SECTOR];

const SETTINGS: &str = "(loglevel DEBUG)\n(console-limit 128)\n";

/// A machine that is switched on and off again.
pub(crate) struct Machine {
    board: Board,
    folder: TempDir,
    /// Small guests in its boot bundle.
    guests: &'static [&'static str],
}

impl Machine {
    /// A machine with an empty disk.
    fn new(board: Board) -> Self {
        Self::with_guests(board, &[])
    }

    /// A machine with an empty disk, and these guests as kernels in its boot bundle.
    pub(crate) fn with_guests(board: Board, guests: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a disk");
        let machine = Self {
            board,
            folder,
            guests,
        };
        let file = File::create_new(machine.disk());
        let made = file.and_then(|file| file.set_len(32 * MIB));
        made.expect("the disk is made");
        machine
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }

    /// Boots it for a while; then the emulator is killed.
    pub(crate) fn on(&self, work: impl FnOnce(Operator<'_>) -> Result<(), Trouble>) {
        let images = Images::of_workspace();
        let archive = self.folder.path().join("bundle.cpio");
        let mut bundle = Bundle::new(&self.board.dom0(&images)).expect("Domain-0 was built");
        for guest in self.guests {
            let added = bundle.add(guest, &self.board.guest(&images, guest));
            added.expect("the guest was built");
        }
        bundle.write(&archive).expect("the bundle is written");
        let mut machine = self.board.machine(&images, archive);
        machine.disk = Some(Disk::file(self.disk()));
        let host = Host::boot(&machine, 4 * SOON).unwrap_or_else(|error| panic!("{error}"));
        if let Err(trouble) = work(Operator::new(&host)) {
            host.emulator().keep_log("store");
            panic!("{trouble}");
        }
    }

    /// Overwrites a sector while it is off.
    fn damage(&self, place: u64) {
        let disk = OpenOptions::new().write(true).open(self.disk());
        let written = disk.and_then(|disk| disk.write_all_at(&[0xA5; SECTOR as usize], place));
        written.expect("the disk is a file");
    }

    /// The configuration of a small guest of that name.
    fn guest(&self, name: &str) -> String {
        let kernel = self.kernel(name);
        let text = format!("name = \"{name}\"\nmemory = {SMALL_MIB}\nkernel = \"{kernel}\"\n");
        self.file(&format!("{name}.cfg"), &text)
    }

    /// The path of a small guest of that name.
    pub(crate) fn kernel(&self, name: &str) -> String {
        let kernel = self.board.guest(&Images::of_workspace(), name);
        kernel.display().to_string()
    }

    fn settings(&self) -> String {
        self.file("settings.sxp", SETTINGS)
    }

    /// Writes a file to give to xenman; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("there is room for a file");
        path.display().to_string()
    }
}

pub(crate) fn holds(is_so: bool, otherwise: &str) -> Result<(), Trouble> {
    is_so
        .then_some(())
        .ok_or_else(|| Trouble(otherwise.to_owned()))
}

fn is_in_force(operator: Operator<'_>) -> Result<(), Trouble> {
    let shown = operator.run(&["config", "show"])?;
    holds(shown.contains(SETTINGS), &shown)
}

fn place(operator: Operator<'_>) -> Result<String, Trouble> {
    let info = operator.json(&["info"])?;
    Ok(info["store"]["place"].as_str().unwrap_or("none").to_owned())
}

/// A configuration is there again after the power failed, and so is the log.
fn keeps(board: Board) {
    let machine = Machine::new(board);
    let settings = machine.settings();
    machine.on(|operator| {
        operator.run(&["config", "set", &settings])?;
        is_in_force(operator)
    });
    machine.on(|operator| {
        is_in_force(operator)?;
        holds(place(operator)? == "disk", "the store is not on the disk")?;
        let log = operator.run(&["log"])?;
        for line in [
            "the store was made on an empty disk of 32 MiB",
            "the store is on a disk of 32 MiB",
        ] {
            holds(log.contains(line), &format!("{line:?} is not in {log}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_configuration_and_the_log_outlive_the_machine() {
    keeps(Board::QemuVirt);
}

#[test]
fn a_configuration_and_the_log_outlive_the_machine_on_x86() {
    keeps(Board::QemuQ35);
}

/// One damaged sector is made good; a store that is lost is told of, and the host works on without it.
#[test]
fn a_damaged_disk_is_mended_or_told_of() {
    let machine = Machine::new(Board::QemuVirt);
    let settings = machine.settings();
    machine.on(|operator| {
        operator.run(&["config", "set", &settings])?;
        Ok(())
    });
    for place in [SECTOR, 32 * MIB - SECTOR, SUPERBLOCKS[0]] {
        machine.damage(place);
        machine.on(is_in_force);
    }
    SUPERBLOCKS.iter().for_each(|place| machine.damage(*place));
    machine.on(|operator| {
        holds(place(operator)? == "rescue", "the store is used")?;
        let info = operator.run(&["info"])?;
        holds(info.contains("the store on the disk is damaged"), &info)?;
        let refused = operator.refused(&["config", "set", &settings])?;
        holds(refused.contains("the store is read-only"), &refused)?;
        let refused = operator.refused(&["host", "init"])?;
        holds(refused.contains("--force"), &refused)?;
        operator.run(&["host", "init", "--force"])?;
        operator.run(&["config", "set", &settings])?;
        holds(place(operator)? == "disk", "the store is not on the disk")
    });
    machine.on(is_in_force);
}

/// The log is kept by itself, a second after something new is in it.
#[test]
fn the_log_is_kept_without_anybody_asking() {
    let machine = Machine::new(Board::QemuVirt);
    let line = "the store was made on an empty disk";
    machine.on(|operator| {
        wait(SOON, "the log is not written to the disk", || {
            std::thread::sleep(Duration::from_millis(100));
            let disk = std::fs::read(machine.disk()).unwrap_or_default();
            Ok(disk
                .windows(line.len())
                .any(|bytes| bytes == line.as_bytes()))
        })?;
        operator.run(&["log"]).map(drop)
    });
    machine.on(|operator| {
        let log = operator.run(&["log"])?;
        holds(log.contains(line), &log)
    });
}

/// A domain goes on from its snapshot after the power failed, and what it was built from is there for its reboot.
fn keeps_snapshots(board: Board) {
    let machine = Machine::new(board);
    let (ticker, rebooter) = (machine.guest("ticker"), machine.guest("rebooter"));
    let mut ticks = 0;
    machine.on(|operator| {
        operator.run(&["create", &ticker])?;
        operator.says("ticker", "tick 10\r", SOON)?;
        operator.run(&["save", "ticker", "store:one"])?;
        ticks = last_tick(&operator.said("ticker")?).unwrap_or(0);
        // It asks for its reboot a second after its start.
        operator.run(&["create", "--paused", &rebooter])?;
        operator.run(&["save", "rebooter", "store:two"])?;
        Ok(())
    });
    machine.on(|operator| {
        let listed = operator.run(&["snapshot", "list"])?;
        holds(listed.contains("one") && listed.contains("two"), &listed)?;
        operator.run(&["restore", "store:one"])?;
        let next = format!("tick {}\r", ticks + 5);
        operator.says("ticker", &next, SOON)?;
        let said = operator.said("ticker")?;
        holds(!said.contains("tick 0\r"), "it began anew")?;
        operator.run(&["restore", "store:two"])?;
        wait(SOON, "it was not built again", || {
            let said = operator.said("rebooter")?;
            Ok(said.matches("ok rebooter").count() >= 2)
        })?;
        operator.run(&["snapshot", "delete", "one"])?;
        Ok(())
    });
    machine.on(|operator| {
        let refused = operator.refused(&["restore", "store:one"])?;
        holds(refused.contains("no snapshot 'one'"), &refused)?;
        operator.run(&["restore", "store:two"]).map(drop)
    });
}

#[test]
fn a_snapshot_outlives_the_machine() {
    keeps_snapshots(Board::QemuVirt);
}

#[test]
fn a_snapshot_outlives_the_machine_on_x86() {
    keeps_snapshots(Board::QemuQ35);
}
