//! Guests that nobody talks to: they come from the boot bundle and report through the hypervisor's log.

use std::path::PathBuf;
use std::time::Duration;

use harness::emulator::Emulator;
use harness::machine::Machine;
use tempfile::TempDir;

use super::Bed;
use crate::failure::Failure;
use crate::{Outcome, bundle};

const LIMIT: Duration = Duration::from_secs(900);
/// Guests side by side on a machine with more than one CPU.
const SIDE_BY_SIDE: u32 = 3;

/// Ten minutes of a guest's time, counted instead of measured: none of its wake-ups may even be late.
pub(super) fn timer(bed: Bed<'_>, cycles: u32) -> Outcome {
    let options = format!("seconds={} strict=1", 600 * cycles);
    let mut sleepers = Sleepers::new(bed, 1, &options)?;
    sleepers.machine.deterministic = true;
    sleepers.wake(1)
}

/// Thirty seconds on two CPUs, with more guests than CPUs.
pub(super) fn timer_smp(bed: Bed<'_>, cycles: u32) -> Outcome {
    let options = format!("seconds={}", 30 * cycles);
    let mut sleepers = Sleepers::new(bed, SIDE_BY_SIDE, &options)?;
    sleepers.machine.cpus = 2;
    sleepers.wake(SIDE_BY_SIDE)
}

/// A machine with guests that sleep.
struct Sleepers {
    machine: Machine,
    log: PathBuf,
    _folder: TempDir,
}

impl Sleepers {
    fn new(bed: Bed<'_>, count: u32, options: &str) -> Outcome<Self> {
        let mut archive = bundle::with_dom0(bed.board, bed.images, &[])?;
        archive.add("sleeper", &bed.board.guest(bed.images, "sleeper"))?;
        for number in 1..=count {
            let config = format!(
                "name = \"sleeper-{number}\"\nmemory = 16\nkernel = \"boot:sleeper\"\n\
                 extra = \"seed={number} {options}\"\n"
            );
            archive.add_bytes(&format!("auto/{number}.cfg"), config.into_bytes())?;
        }
        let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
        let file = folder.path().join("bundle.cpio");
        archive.write(&file)?;
        Ok(Self {
            machine: bed.board.machine(bed.images, file),
            log: folder.path().join("serial.log"),
            _folder: folder,
        })
    }

    /// Waits until all of them have slept enough.
    fn wake(&self, count: u32) -> Outcome {
        let emulator = Emulator::start(&self.machine, &self.log, None, LIMIT)
            .map_err(|error| Failure::new(error.to_string()))?;
        for _ in 0..count {
            let line = emulator.serial().expect_line(" sleeper: ", LIMIT);
            let line = line.map_err(|missing| kept(&emulator, missing.to_string()))?;
            if !line.contains("ok sleeper: ") {
                return Err(kept(&emulator, line));
            }
            println!("{}", line.trim());
        }
        Ok(())
    }
}

fn kept(emulator: &Emulator, why: String) -> Failure {
    emulator.keep_log("soak");
    Failure::new(why)
}
