//! What a change of the store costs: requests that Domain-0's disk gets, and instructions.
//!
//! The disk is served from here over NBD. QEMU passes every request on as it is, but for a flush with nothing to flush.
//! A change is what `xenman config set` has acknowledged.
//!
//! The line of the log that tells of a change is kept with it, others by themselves a second later. So changes are counted
//! with a log that takes no line of them; and apart from that with their lines, each of them with time enough for whatever is
//! not kept with it to be kept before the next: that should be nothing. Both counts end when nothing is left to be kept.

use std::fs;
use std::thread;
use std::time::Duration;

use harness::machine;
use harness::nbd::{self, Shared};
use harness::operator::Operator;
use harness::power::{self, SECTOR, Traffic};
use tempfile::TempDir;

use super::count::{Counts, Live};
use super::figures::{self, Figure};
use super::machines::Bed;
use crate::Outcome;
use crate::failure::Failure;

const DISK_MIB: u64 = 16;
/// Changes without a line in the log, and changes with one.
const CHANGES: u32 = 20;
const CHANGES_IN_LOG: u32 = 5;
/// A line of the log is kept after a second. A disk that was left alone for this long will be.
const KEPT: Duration = Duration::from_secs(2);

/// What the log takes: a change is told of as `INFO`.
const NO_LINE: &str = "ERROR";
const A_LINE: &str = "INFO";

impl Bed<'_> {
    /// A change of the store.
    pub(super) fn store(&self) -> Outcome<Vec<Figure>> {
        let machine = Machine::boot(*self)?;
        let measured = machine.measure();
        if measured.is_err() {
            machine.live.host.emulator().keep_log("bench");
        }
        measured
    }
}

/// A machine with a store on a disk.
struct Machine {
    live: Live,
    disk: Shared,
    _folder: TempDir,
}

impl Machine {
    fn boot(bed: Bed<'_>) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
        let socket = folder.path().join("disk.sock");
        let disk = Shared::new(power::Disk::new(DISK_MIB));
        nbd::serve(&disk, &socket).map_err(Failure::file(&socket))?;
        Ok(Self {
            live: bed.live_with(Some(machine::Disk::nbd(socket)))?,
            disk,
            _folder: folder,
        })
    }

    fn measure(&self) -> Outcome<Vec<Figure>> {
        self.config("set", NO_LINE, 0)?;
        let (traffic, set) = self.cost("set")?;
        let (_, checked) = self.cost("check")?;
        let in_log = self.cost_in_log()?;
        Ok(rows(traffic, in_log, set, checked))
    }

    /// `xenman config VERB` of settings that are as long for every number below 100.
    fn config(&self, verb: &str, loglevel: &str, number: u32) -> Outcome {
        let file = self.live.host.folder().join("settings.sxp");
        let limit = 100 + number;
        let settings = format!("(loglevel {loglevel})\n(console-limit {limit})\n");
        fs::write(&file, settings).map_err(Failure::file(&file))?;
        let words = ["config", verb, &file.to_string_lossy()];
        let told = Operator::new(&self.live.host).run(&words);
        told.map(drop)
            .map_err(|trouble| Failure::new(trouble.to_string()))
    }

    /// What all changes cost without lines in the log; or with `check`, what it costs to send them and have them read.
    fn cost(&self, verb: &str) -> Outcome<(Traffic, Counts)> {
        let before = (self.settled(), self.live.idle()?);
        for number in 0..CHANGES {
            self.config(verb, NO_LINE, number)?;
        }
        let after = (self.settled(), self.live.idle()?);
        Ok((after.0.since(before.0), after.1.since(before.1)))
    }

    /// What changes cost with their lines in the log.
    fn cost_in_log(&self) -> Outcome<Traffic> {
        let before = self.settled();
        for number in 0..CHANGES_IN_LOG {
            self.config("set", A_LINE, number)?;
            self.settled();
        }
        Ok(self.traffic().since(before))
    }

    fn traffic(&self) -> Traffic {
        self.disk.lock().traffic()
    }

    /// Waits until nothing is left to be kept; what was asked of the disk by then.
    fn settled(&self) -> Traffic {
        let mut last = self.traffic();
        loop {
            thread::sleep(KEPT);
            let traffic = self.traffic();
            if traffic == last {
                return traffic;
            }
            last = traffic;
        }
    }
}

/// The rows: requests of all changes without and with lines in the log; instructions of all changes, and of as many texts
/// that were only checked.
fn rows(changes: Traffic, in_log: Traffic, set: Counts, checked: Counts) -> Vec<Figure> {
    let each = |count: u64| count as f64 / f64::from(CHANGES);
    let each_in_log = |count: u64| count as f64 / f64::from(CHANGES_IN_LOG);
    let kib = SECTOR as f64 / 1024.0;
    // The hypervisor's share is too small to be told from what the clients' messages make it do.
    let dom0 = each(set.dom0) - each(checked.dom0);
    vec![
        Figure::new(figures::CHANGE_FLUSHES, each(changes.flushes)),
        Figure::new(figures::CHANGE_WRITES, each(changes.writes)),
        Figure::new("  KiB written", each(changes.sectors) * kib),
        Figure::new("  read requests", each(changes.reads)),
        Figure::new("  instructions in Domain-0 for it", dom0),
        Figure::new(figures::LOGGED_FLUSHES, each_in_log(in_log.flushes)),
        Figure::new(figures::LOGGED_WRITES, each_in_log(in_log.writes)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_of_one_change() {
        let traffic = |count: u32| Traffic {
            reads: u64::from(count),
            writes: u64::from(3 * count),
            sectors: u64::from(8 * count),
            flushes: u64::from(2 * count),
        };
        let counts = |dom0| Counts {
            dom0,
            ..Counts::default()
        };
        let set = counts(u64::from(CHANGES) * 1000);
        let checked = counts(u64::from(CHANGES) * 400);
        let rows = rows(traffic(CHANGES), traffic(CHANGES_IN_LOG), set, checked);
        let values: Vec<f64> = rows.iter().map(|row| row.value).collect();
        assert_eq!(values, [2.0, 3.0, 4.0, 1.0, 600.0, 2.0, 3.0]);
    }
}
