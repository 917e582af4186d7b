//! A block device as the store's disk: one request at a time, each of which Domain-0 waits for, asleep.
//!
//! A device that gives no answer, or one that makes no sense, is given up: it may still write to the memory of its last
//! request, so that memory is never freed.

use alloc::boxed::Box;
use core::fmt;
use xend::store::disk::{Disk, DiskError, SECTOR};

/// What a block device is asked for. Sectors have 512 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// That many bytes from a sector on.
    Read(u64, usize),
    /// These bytes to a sector and those behind it.
    Write(u64, &'a [u8]),
    /// What was written before is to last.
    Flush,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is with the device.
    NotYet,
    /// It is done.
    Done,
    /// The device could not do it.
    Failed,
    /// The device is out of its mind: what memory it has is not known any more.
    Nonsense,
}

/// What a block device says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskFacts {
    /// Sectors of 512 bytes.
    pub(crate) sectors: u64,
    /// It takes no writes.
    pub(crate) is_read_only: bool,
    /// What is written lasts only after a flush.
    pub(crate) has_write_cache: bool,
}

/// A block device that has one request at a time and never waits.
pub(crate) trait BlockDevice: Send {
    /// What it says of itself.
    fn facts(&self) -> DiskFacts;

    /// Gives the device a request of at most [`REQUEST_MAX`] bytes. `false`: it takes none.
    fn start(&mut self, request: Request<'_>) -> bool;

    /// Looks whether it has answered, after acknowledging its interrupt. What was read is copied to `into`.
    fn answer(&mut self, into: &mut [u8]) -> Answer;
}

/// Bytes that a request reads or writes at most.
pub(crate) const REQUEST_MAX: usize = 64 * 1024;

/// What lets time pass until a device interrupts.
pub(crate) trait Wait: Send + 'static {
    /// A count that goes on meanwhile.
    fn ticks(&self) -> u64;

    /// How fast it is.
    fn ticks_per_s(&self) -> u64;

    /// Sleeps until the interrupt comes, or that count. It may be over sooner.
    fn sleep(&mut self, until_ticks: u64);
}

/// How long a device may take for a request.
const LIMIT_S: u64 = 30;

/// A disk that waits for its device.
pub(crate) struct WaitingDisk<W> {
    /// `None`: it was given up.
    device: Option<Box<dyn BlockDevice>>,
    facts: DiskFacts,
    wait: W,
}

impl<W: Wait> WaitingDisk<W> {
    /// The disk that a device is, with the wait for its interrupt.
    pub(crate) fn new(device: Box<dyn BlockDevice>, wait: W) -> Self {
        Self {
            facts: device.facts(),
            device: Some(device),
            wait,
        }
    }

    /// Has the device do something; what it reads fills `into`.
    fn request(&mut self, request: Request<'_>, into: &mut [u8]) -> Result<(), DiskError> {
        match self.answer(request, into) {
            Answer::Done => Ok(()),
            Answer::Failed => Err(DiskError::Device),
            Answer::NotYet => Err(self.give_up("it does not answer")),
            Answer::Nonsense => Err(self.give_up("it answers what it was not asked")),
        }
    }

    /// Waits for the device's answer. `NotYet`: it took too long.
    fn answer(&mut self, request: Request<'_>, into: &mut [u8]) -> Answer {
        let Some(device) = self.device.as_mut() else {
            return Answer::Failed;
        };
        if !device.start(request) {
            return Answer::Failed;
        }
        let limit_ticks = LIMIT_S.saturating_mul(self.wait.ticks_per_s());
        let until = self.wait.ticks().saturating_add(limit_ticks);
        loop {
            let answer = device.answer(into);
            if answer != Answer::NotYet || self.wait.ticks() >= until {
                return answer;
            }
            self.wait.sleep(until);
        }
    }

    fn give_up(&mut self, why: &str) -> DiskError {
        log::error!("the disk is not used any more: {why}");
        if let Some(device) = self.device.take() {
            Box::leak(device);
        }
        DiskError::Device
    }

    /// Whether there are such sectors.
    fn check(&self, sector: u64, length: usize) -> Result<(), DiskError> {
        let end = sector.checked_add((length / SECTOR) as u64);
        let is_there = end.is_some_and(|end| end <= self.facts.sectors);
        (is_there && length.is_multiple_of(SECTOR))
            .then_some(())
            .ok_or(DiskError::OutOfRange)
    }
}

/// The sectors at which the pieces of a transfer begin.
fn pieces(sector: u64) -> impl Iterator<Item = u64> {
    (sector..).step_by(REQUEST_MAX / SECTOR)
}

impl<W: Wait> Disk for WaitingDisk<W> {
    fn sectors(&self) -> u64 {
        self.facts.sectors
    }

    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.check(sector, into.len())?;
        for (sector, piece) in pieces(sector).zip(into.chunks_mut(REQUEST_MAX)) {
            self.request(Request::Read(sector, piece.len()), piece)?;
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        if self.facts.is_read_only {
            return Err(DiskError::ReadOnly);
        }
        self.check(sector, from.len())?;
        for (sector, piece) in pieces(sector).zip(from.chunks(REQUEST_MAX)) {
            self.request(Request::Write(sector, piece), &mut [])?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        if self.facts.has_write_cache {
            self.request(Request::Flush, &mut [])
        } else {
            Ok(())
        }
    }
}

impl<W> fmt::Debug for WaitingDisk<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingDisk")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
