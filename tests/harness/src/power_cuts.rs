//! A machine whose power fails at random moments: what its xend acknowledged has to be there afterwards.
//!
//! Domain-0's disk is served over NBD from here. A cut drops or tears what was not flushed ([`crate::power`]), and the
//! emulator is killed with it.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use crate::board::Board;
use crate::bundle::Bundle;
use crate::host::{BOOT_LIMIT, Host};
use crate::images::Images;
use crate::machine::Disk;
use crate::nbd::{self, Shared};
use crate::operator::{Operator, Trouble, trouble};
use crate::power;
use crate::random::Random;

const DISK_MIB: u64 = 16;
/// A cut comes after at most so many written sectors: some during a mount, most during changes.
const SECTORS_MAX: usize = 600;
/// A machine is ended after this, whatever it does.
const LIMIT: Duration = Duration::from_secs(240);
/// `console-limit` in KiB while nobody has set it.
const DEFAULT: u32 = 64;

/// A machine that is switched on and off again.
pub struct Machine {
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
    /// A machine with an empty disk. A seed names the cuts and what becomes of what was not flushed.
    ///
    /// # Errors
    /// There is no room for its files.
    pub fn new(board: Board, images: &Images, seed: u64) -> Result<Self, Trouble> {
        let machine = Self {
            board,
            folder: tempfile::tempdir().map_err(trouble)?,
            disk: Shared::new(power::Disk::new(DISK_MIB)),
            random: Random::seeded(seed),
            acknowledged: 0,
            asked: 0,
        };
        let bundle = Bundle::new(&board.dom0(images)).map_err(trouble)?;
        bundle.write(&machine.bundle()).map_err(trouble)?;
        nbd::serve(&machine.disk, &machine.socket()).map_err(trouble)?;
        Ok(machine)
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &Shared {
        &self.disk
    }

    /// Its numbers.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// How many changes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("disk.sock")
    }

    fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle.cpio")
    }

    /// Boots it and waits for xend. `None`: the power failed before.
    ///
    /// # Errors
    /// The machine's.
    pub fn boot(&self, images: &Images) -> Result<Option<Host>, Trouble> {
        let mut machine = self.board.machine(images, self.bundle());
        machine.disk = Some(Disk::nbd(self.socket()));
        let mut host = Host::start(&machine, LIMIT).map_err(trouble)?;
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            let answers = host.xend_answers();
            if self.disk.lock().is_cut() {
                return Ok(None);
            }
            match answers.map_err(trouble)? {
                true => return Ok(Some(host)),
                false if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
                false => return Err(trouble(host.no_answer())),
            }
        }
    }

    /// Runs it until the power fails, and switches the power on again.
    ///
    /// # Errors
    /// Something that the power has nothing to do with.
    pub fn run(&mut self, images: &Images) -> Result<(), Trouble> {
        let sectors = 1 + self.random.below(SECTORS_MAX) as u64;
        self.disk.lock().cut_after(sectors);
        if let Some(host) = self.boot(images)? {
            while !self.disk.lock().is_cut() {
                self.change(Operator::new(&host))?;
            }
        }
        self.disk.lock().power_up(&mut self.random);
        Ok(())
    }

    /// Asks for a change, and notes whether it was acknowledged.
    ///
    /// # Errors
    /// It was refused while there was power.
    pub fn change(&mut self, operator: Operator<'_>) -> Result<(), Trouble> {
        let file = self.folder.path().join("settings.sxp");
        self.asked += 1;
        let settings = format!("(console-limit {})\n", value(self.asked));
        fs::write(&file, settings).map_err(trouble)?;
        let file = file.display().to_string();
        match operator.run(&["config", "set", &file]) {
            Ok(_) => self.acknowledged = self.asked,
            Err(_) if self.disk.lock().is_cut() => {}
            Err(trouble) => return Err(trouble),
        }
        Ok(())
    }

    /// Boots it and says what is wrong with what is there, if anything.
    ///
    /// # Errors
    /// The machine's.
    pub fn fault(&mut self, images: &Images) -> Result<Option<String>, Trouble> {
        let Some(host) = self.boot(images)? else {
            return Err(Trouble("the power failed out of turn".to_owned()));
        };
        let operator = Operator::new(&host);
        let info = operator.json(&["info"])?;
        if info["store"]["place"] != "disk" {
            return Ok(Some(format!("the store is not used: {}", info["store"])));
        }
        let there = limit(operator)?;
        if there == value(self.asked) {
            self.acknowledged = self.asked;
        } else if there != value(self.acknowledged) {
            return Ok(Some(format!(
                "change {} was acknowledged, {} asked for, and {there} is there",
                self.acknowledged, self.asked
            )));
        }
        Ok(None)
    }
}

/// What change `number` sets: never the default, but for no change at all.
fn value(number: u32) -> u32 {
    match number {
        0 => DEFAULT,
        number => 100 + number % 900,
    }
}

/// The setting that is in force.
fn limit(operator: Operator<'_>) -> Result<u32, Trouble> {
    let shown = operator.run(&["config", "show"])?;
    let limit = shown
        .lines()
        .find_map(|line| line.strip_prefix("(console-limit "));
    let limit = limit.and_then(|limit| limit.trim_end_matches(')').parse().ok());
    limit.ok_or(Trouble(shown))
}
