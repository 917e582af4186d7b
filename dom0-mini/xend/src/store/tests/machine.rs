//! A machine that is switched on and off again, and what it does with its disk meanwhile.

use super::{Random, SimulatedDisk};
use std::string::String;

/// How often the power of one machine fails.
const CUTS: u64 = 20;

/// What a machine does.
pub(super) trait Work: Default {
    /// Mounts the store and changes it until the power fails.
    fn run(&mut self, disk: &SimulatedDisk, random: &mut Random);

    /// What is wrong with what is on the disk after that, if anything.
    fn fault(&mut self, disk: &SimulatedDisk) -> Option<String>;

    /// Changes that were acknowledged so far.
    fn acknowledged(&self) -> u64;
}

struct Machine<W> {
    disk: SimulatedDisk,
    random: Random,
    work: W,
}

impl<W: Work> Machine<W> {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::new(16),
            random: Random::new(seed),
            work: W::default(),
        }
    }

    /// Runs until the power fails, and looks at what is left.
    fn fault_after_a_cut(&mut self) -> Option<String> {
        self.work.run(&self.disk, &mut self.random);
        self.disk.power_up(&mut self.random);
        let fault = self.work.fault(&self.disk);
        if fault.is_none() {
            self.disk.settle();
        }
        fault
    }
}

/// Asserts that so many power cuts do no harm.
pub(super) fn survives<W: Work>(cuts: u64) {
    let mut acknowledged = 0;
    for seed in 0..cuts / CUTS {
        let mut machine = Machine::<W>::new(seed);
        for cut in 0..CUTS {
            if let Some(fault) = machine.fault_after_a_cut() {
                panic!("seed {seed}, cut {cut}: {fault}");
            }
        }
        acknowledged += machine.work.acknowledged();
    }
    assert!(
        acknowledged > cuts,
        "only {acknowledged} changes were acknowledged"
    );
}

/// Asserts that harm is noticed: a disk that ignores flushes loses changes.
pub(super) fn finds_out_a_disk_that_ignores_flushes<W: Work>() {
    let is_found_out = |seed| {
        let mut machine = Machine::<W>::new(seed);
        machine.disk.ignore_flushes();
        (0..CUTS).any(|_| machine.fault_after_a_cut().is_some())
    };
    assert!((0..3).all(is_found_out));
}

/// What is wrong if `there` is what is left of what was acknowledged, or was with the last change on its way.
pub(super) fn difference<T: PartialEq>(there: &T, acknowledged: &T, open: &T) -> Option<String> {
    let is_one_of_them = there == acknowledged || there == open;
    let fault = "the files are neither as acknowledged nor as last asked for";
    (!is_one_of_them).then(|| fault.into())
}
