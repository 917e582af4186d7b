//! A block device as the store's disk: one request at a time, each of which Domain-0 waits for, asleep.
//!
//! A device that gives no answer, or one that makes no sense, is given up: it may still write to the memory of its last
//! request, so that memory is never freed.

use crate::devices::{Answer, BlockDevice, DiskDevice, DiskFacts, REQUEST_MAX, Request};
use crate::hw::counter;
use crate::lines::Line;
use crate::pending::Pending;
use alloc::boxed::Box;
use core::fmt;
use xend::store::disk::{Disk, DiskError, SECTOR};

/// How long a device may take for a request.
const LIMIT_S: u64 = 30;

/// A disk that waits for its device.
pub(crate) struct WaitingDisk {
    /// `None`: it was given up.
    device: Option<Box<dyn BlockDevice>>,
    facts: DiskFacts,
    line: Line,
    pending: &'static Pending,
}

impl WaitingDisk {
    pub(crate) fn new(disk: DiskDevice, pending: &'static Pending) -> Self {
        Self {
            facts: disk.device.facts(),
            device: Some(disk.device),
            line: disk.line,
            pending,
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
        let until = counter::ticks().saturating_add(LIMIT_S * counter::frequency_hz());
        loop {
            let answer = device.answer(into);
            if answer != Answer::NotYet || counter::ticks() >= until {
                return answer;
            }
            self.pending.wait_for(self.line, until);
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

impl Disk for WaitingDisk {
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

impl fmt::Debug for WaitingDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingDisk")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}
