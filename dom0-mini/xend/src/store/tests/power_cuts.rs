//! The power is cut at random moments; what was acknowledged is there afterwards, and half a change never is.

use super::machine::{Work, difference, finds_out_a_disk_that_ignores_flushes, survives};
use super::{Change, Files, Random, SimulatedDisk, carry_out, change, file, files, log, mount};
use crate::store::volume::Volume;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Changes files, a few at a time, and adds to the log.
#[derive(Default)]
struct FilesAndLog {
    /// What was acknowledged.
    files: Files,
    /// What was on the way when the power failed.
    open: Vec<Change>,
    /// Lines of the log that were acknowledged.
    lines: u64,
}

impl Work for FilesAndLog {
    fn run(&mut self, disk: &SimulatedDisk, random: &mut Random) {
        let length = 1 + random.below(1000);
        disk.cut_after(length);
        self.open.clear();
        if let Ok((volume, _)) = mount(disk) {
            self.work(volume, random);
        }
    }

    fn fault(&mut self, disk: &SimulatedDisk) -> Option<String> {
        let (volume, _) = match mount(disk) {
            Ok(mounted) => mounted,
            Err(error) => return Some(format!("the store does not mount: {error}")),
        };
        let there = files(&volume);
        let mut with_open = self.files.clone();
        carry_out(&mut with_open, &self.open);
        if let Some(fault) = difference(&there, &self.files, &with_open) {
            return Some(fault);
        }
        self.files = there;
        self.fault_of_log(&volume)
    }

    fn acknowledged(&self) -> u64 {
        self.lines
    }
}

impl FilesAndLog {
    fn work(&mut self, mut volume: Volume, random: &mut Random) {
        loop {
            self.open = changes(random);
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

    fn fault_of_log(&mut self, volume: &Volume) -> Option<String> {
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
        None
    }
}

fn changes(random: &mut Random) -> Vec<Change> {
    let count = 1 + random.below(3);
    (0..count).map(|_| a_change(random)).collect()
}

fn a_change(random: &mut Random) -> Change {
    let path = format!("/etc/xen/{}.cfg", random.below(12));
    if random.below(4) == 0 {
        return Change::Remove { path };
    }
    let length = random.below(6000) as usize;
    let file = file(&random.bytes(length));
    Change::Put { path, file }
}

#[test]
fn no_acknowledged_change_is_lost_in_500_power_cuts() {
    survives::<FilesAndLog>(500);
}

/// The test above can fail.
#[test]
fn a_disk_that_ignores_flushes_is_found_out() {
    finds_out_a_disk_that_ignores_flushes::<FilesAndLog>();
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
