//! The machine's power fails at random moments, under the real driver: what xend acknowledged is there afterwards.
//!
//! The disk is served over NBD from here. A cut drops or tears what was not flushed (`harness::power`), and the emulator is
//! killed with it.

use std::time::{Duration, Instant};

use harness::board::Board;
use harness::bundle::Bundle;
use harness::host::{BOOT_LIMIT, Host};
use harness::images::Images;
use harness::machine::Disk;
use harness::nbd::{self, Shared};
use harness::operator::Operator;
use harness::power;
use harness::random::Random;
use tempfile::TempDir;

use crate::stage::SOON;

const DISK_MIB: u64 = 16;
/// Cuts on each board.
const CUTS: u32 = 10;
/// A cut comes after at most so many written sectors: some during a mount, most during changes.
const SECTORS_MAX: usize = 600;

/// A machine that is switched on and off again.
struct Machine {
    board: Board,
    folder: TempDir,
    disk: Shared,
    random: Random,
    /// The last change that was acknowledged.
    acknowledged: u32,
    /// The last change that was asked for.
    asked: u32,
}

impl Machine {
    fn new(board: Board, seed: u64) -> Self {
        println!("the seed is {seed}");
        let machine = Self {
            board,
            folder: tempfile::tempdir().expect("there is room for a socket"),
            disk: Shared::new(power::Disk::new(DISK_MIB)),
            random: Random::seeded(seed),
            acknowledged: 0,
            asked: 0,
        };
        nbd::serve(&machine.disk, &machine.socket()).expect("a socket for the disk");
        machine
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("disk.sock")
    }

    fn boot(&self) -> Host {
        let images = Images::of_workspace();
        let archive = self.folder.path().join("bundle.cpio");
        let bundle = Bundle::new(&self.board.dom0(&images)).expect("Domain-0 was built");
        bundle.write(&archive).expect("the bundle is written");
        let mut machine = self.board.machine(&images, archive);
        machine.disk = Some(Disk::nbd(self.socket()));
        Host::start(&machine, 4 * SOON).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for xend. `None`: the power failed before.
    fn up(&self, mut host: Host) -> Option<Host> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            match host.xend_answers() {
                _ if self.disk.lock().is_cut() => return None,
                Ok(true) => return Some(host),
                Ok(false) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(false) => panic!("{}", host.no_answer()),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Runs until the power fails.
    fn run(&mut self) {
        let sectors = 1 + self.random.below(SECTORS_MAX) as u64;
        self.disk.lock().cut_after(sectors);
        if let Some(host) = self.up(self.boot()) {
            while !self.disk.lock().is_cut() {
                self.change(&host);
            }
        }
        self.disk.lock().power_up(&mut self.random);
    }

    /// Asks for a change, and notes whether it was acknowledged.
    fn change(&mut self, host: &Host) {
        let file = self.folder.path().join("settings.sxp");
        self.asked += 1;
        let settings = format!("(console-limit {})\n", number_in_file(self.asked));
        std::fs::write(&file, settings).expect("there is room for a file");
        let file = file.display().to_string();
        match Operator::new(host).run(&["config", "set", &file]) {
            Ok(_) => self.acknowledged = self.asked,
            Err(_) if self.disk.lock().is_cut() => {}
            Err(trouble) => panic!("{trouble}"),
        }
    }

    /// What is wrong with what is there now, if anything.
    fn fault(&mut self) -> Option<String> {
        let host = self.up(self.boot()).expect("there is power");
        let operator = Operator::new(&host);
        let info = operator
            .json(&["info"])
            .unwrap_or_else(|trouble| panic!("{trouble}"));
        if info["store"]["place"] != "disk" {
            return Some(format!("the store is not mounted: {}", info["store"]));
        }
        let shown = operator.run(&["config", "show"]);
        let shown = shown.unwrap_or_else(|trouble| panic!("{trouble}"));
        let limit = shown
            .lines()
            .find_map(|line| line.strip_prefix("(console-limit "));
        let there: u32 = limit
            .and_then(|limit| limit.trim_end_matches(')').parse().ok())
            .unwrap_or_else(|| panic!("{shown}"));
        let may_be = |number| there == number_in_file(number) || (number == 0 && there == 64);
        if !may_be(self.acknowledged) && !may_be(self.asked) {
            return Some(format!(
                "change {} was acknowledged, {} asked for, and {there} is there",
                self.acknowledged, self.asked
            ));
        }
        if may_be(self.asked) {
            self.acknowledged = self.asked;
        }
        None
    }
}

/// What change `number` sets: what settings may be, never the default.
fn number_in_file(number: u32) -> u32 {
    100 + number % 900
}

fn keeps_what_it_acknowledged(board: Board, seed: u64) {
    let mut machine = Machine::new(board, seed);
    for cut in 1..=CUTS {
        machine.run();
        if let Some(fault) = machine.fault() {
            panic!("seed {seed}, cut {cut}: {fault}");
        }
    }
    assert!(
        machine.acknowledged > CUTS,
        "only {} changes were acknowledged",
        machine.acknowledged
    );
}

#[test]
fn what_is_acknowledged_outlives_power_cuts() {
    keeps_what_it_acknowledged(Board::QemuVirt, 20_261_130);
}

#[test]
fn what_is_acknowledged_outlives_power_cuts_on_x86() {
    keeps_what_it_acknowledged(Board::QemuQ35, 20_261_131);
}

/// The test can fail: without flushes something is lost, sooner or later.
#[test]
fn a_disk_that_ignores_flushes_is_found_out() {
    let mut machine = Machine::new(Board::QemuVirt, 7);
    machine.disk.lock().ignore_flushes();
    let is_found_out = (0..CUTS).any(|_| {
        machine.run();
        machine.fault().is_some()
    });
    assert!(is_found_out, "nothing was lost in {CUTS} cuts");
}
