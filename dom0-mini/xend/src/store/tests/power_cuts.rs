//! The power is cut at random moments; what was acknowledged is there afterwards, and half a change never is.

use super::{Change, Files, Random, SimulatedDisk, carry_out, change, file, files, log, mount};
use crate::store::volume::Volume;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Cuts of the test.
const CUTS: u64 = 500;

/// A machine that is switched on and off again.
struct Machine {
    disk: SimulatedDisk,
    random: Random,
    seed: u64,
    /// What was acknowledged.
    files: Files,
    /// What was on the way when the power failed.
    open: Vec<Change>,
    /// Lines of the log that were acknowledged.
    lines: u64,
}

impl Machine {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::new(16),
            random: Random::new(seed),
            seed,
            files: Files::new(),
            open: Vec::new(),
            lines: 0,
        }
    }

    /// Runs until the power fails.
    fn run(&mut self) {
        let length = 1 + self.random.below(1000);
        self.disk.cut_after(length);
        self.open.clear();
        if let Ok((volume, _)) = mount(&self.disk) {
            self.work(volume);
        }
        self.disk.power_up(&mut self.random);
    }

    fn work(&mut self, mut volume: Volume) {
        loop {
            let changes = self.changes();
            self.open = changes;
            if volume.apply(&change(&self.open)).is_err() {
                return;
            }
            carry_out(&mut self.files, &self.open);
            self.open.clear();
            let line = format!("line {}\n", self.lines);
            if volume.apply(&log(line.as_bytes())).is_err() {
                return;
            }
            self.lines += 1;
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        let count = 1 + self.random.below(3);
        (0..count).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change {
        let path = format!("/etc/xen/{}.cfg", self.random.below(12));
        if self.random.below(4) == 0 {
            return Change::Remove { path };
        }
        let length = self.random.below(6000) as usize;
        let file = file(&self.random.bytes(length));
        Change::Put { path, file }
    }

    /// What is wrong with what is on the disk, if anything.
    fn fault(&mut self) -> Option<String> {
        let (volume, _) = match mount(&self.disk) {
            Ok(mounted) => mounted,
            Err(error) => return Some(format!("the store does not mount: {error}")),
        };
        let there = files(&volume);
        let mut with_open = self.files.clone();
        carry_out(&mut with_open, &self.open);
        if there != self.files && there != with_open {
            return Some("the files are neither as acknowledged nor as last asked for".into());
        }
        self.files = there;
        let log = String::from_utf8(volume.log().unwrap()).unwrap();
        let last = log
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("line "));
        let next = last.map_or(0, |number| number.parse::<u64>().unwrap() + 1);
        if next != self.lines && next != self.lines + 1 {
            return Some(format!(
                "{} lines were acknowledged, {next} are there",
                self.lines
            ));
        }
        self.lines = next;
        drop(volume);
        self.disk.settle();
        None
    }
}

#[test]
fn no_acknowledged_change_is_lost_in_500_power_cuts() {
    let mut acknowledged = 0;
    for seed in 0..CUTS / 20 {
        let mut machine = Machine::new(seed);
        for cut in 0..20 {
            machine.run();
            if let Some(fault) = machine.fault() {
                panic!("seed {}, cut {cut}: {fault}", machine.seed);
            }
        }
        acknowledged += machine.lines;
    }
    assert!(
        acknowledged > CUTS,
        "only {acknowledged} changes were acknowledged"
    );
}

/// A disk that ignores flushes loses changes: the test can fail.
#[test]
fn a_disk_that_ignores_flushes_is_found_out() {
    let is_found_out = |seed| {
        let mut machine = Machine::new(seed);
        machine.disk.ignore_flushes();
        (0..20).any(|_| {
            machine.run();
            machine.fault().is_some()
        })
    };
    assert!((0..3).all(is_found_out));
}

/// A first start that is cut short leaves a disk that still counts as empty, or a store.
#[test]
fn a_first_start_can_be_cut_at_every_single_write() {
    let whole = SimulatedDisk::new(16);
    let mounted = mount(&whole).unwrap();
    let operations = whole.operations();
    drop(mounted);
    let mut random = Random::new(7);
    // The first writes several times: what becomes of a torn sector is chance.
    let cuts = (0..operations).chain((0..300).map(|cut| cut % 100));
    for cut in cuts {
        let disk = SimulatedDisk::new(16);
        disk.cut_after(cut);
        assert!(mount(&disk).is_err(), "mounted without power, cut {cut}");
        disk.power_up(&mut random);
        if let Err(error) = mount(&disk) {
            panic!("cut after {cut} operations: {error}");
        }
    }
}
