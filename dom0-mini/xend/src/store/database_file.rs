//! The database's file: what redb takes for one, in a partition of a disk.
//!
//! A file has a length, begins with its [superblock](super::superblock), and reads as zeros where it grew. redb orders its
//! writes by `sync_data` alone, and that is a flush of the disk; so what a power cut leaves is what redb reckons with.

use super::disk::{DiskError, SECTOR, SharedDisk};
use super::partition::Partition;
use super::superblock::{DATA, PLACES, Superblock};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use redb::{BackendError, StorageBackend};
use spin::Mutex;

/// Written at once where the file grows.
const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// What every file of redb begins with.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

/// What is where the file should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No file was ever made to its end.
    Unfinished,
    /// A file; whether both copies of its superblock say so.
    File(Superblock, bool),
    /// There was one, and its length is not known any more.
    Damaged,
}

/// The file.
#[derive(Clone)]
pub(super) struct DatabaseFile {
    disk: SharedDisk,
    partition: Partition,
    state: Arc<Mutex<Superblock>>,
}

impl fmt::Debug for DatabaseFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseFile")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

impl DatabaseFile {
    /// Looks for the file.
    pub(super) fn find(disk: &SharedDisk, partition: Partition) -> Result<Found, DiskError> {
        let mut disk = disk.lock();
        let mut read = |place| {
            let mut sector = [0; SECTOR];
            disk.read(partition.first + place, &mut sector)?;
            Ok(sector)
        };
        let mut copies = [None; 2];
        for (copy, place) in copies.iter_mut().zip(PLACES) {
            *copy = Superblock::decode(&read(place)?);
        }
        let copy_of = |superblock| copies == [Some(superblock); 2];
        let known = copies.into_iter().flatten();
        Ok(match known.max_by_key(|copy| copy.sequence) {
            Some(newest) if newest.is_complete => Found::File(newest, copy_of(newest)),
            Some(_) => Found::Unfinished,
            // Nothing is written behind the superblock before one copy of it is whole.
            None if read(DATA)?.starts_with(&MAGIC) => Found::Damaged,
            None => Found::Unfinished,
        })
    }

    /// Begins an empty file. Until [`DatabaseFile::complete`] it counts as unfinished.
    pub(super) fn begin(disk: &SharedDisk, partition: Partition) -> Result<Self, DiskError> {
        let empty = Superblock {
            sequence: 1,
            length: 0,
            is_complete: false,
        };
        let file = Self::open(disk, partition, empty);
        file.renew()?;
        Ok(file)
    }

    /// The file that [`DatabaseFile::find`] found.
    pub(super) fn open(disk: &SharedDisk, partition: Partition, superblock: Superblock) -> Self {
        Self {
            disk: Arc::clone(disk),
            partition,
            state: Arc::new(Mutex::new(superblock)),
        }
    }

    /// From now on there is something in the file.
    pub(super) fn complete(&self) -> Result<(), DiskError> {
        self.change(|superblock| superblock.is_complete = true)
    }

    /// Writes both copies of the superblock.
    pub(super) fn renew(&self) -> Result<(), DiskError> {
        self.change(|_| {})
    }

    /// Changes both copies of the superblock, one after the other: at any moment one of them is whole.
    fn change(&self, change: impl FnOnce(&mut Superblock)) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let mut next = *state;
        change(&mut next);
        next.sequence += 1;
        let mut disk = self.disk.lock();
        for place in PLACES {
            disk.write(self.partition.first + place, &next.encode())?;
            disk.flush()?;
        }
        *state = next;
        Ok(())
    }

    fn length(&self) -> u64 {
        self.state.lock().length
    }

    /// How long the file can be.
    fn room(&self) -> u64 {
        self.partition
            .sectors
            .saturating_sub(DATA)
            .saturating_mul(SECTOR as u64)
    }

    /// Clears what the file is to have from `from` on, up to `to`.
    fn clear(&self, from: u64, to: u64) -> Result<(), DiskError> {
        let mut offset = from;
        while offset < to {
            let count = (to - offset).min(ZEROS.len() as u64);
            let zeros = ZEROS.get(..count as usize).unwrap_or_default();
            self.write_at(offset, zeros)?;
            offset += count;
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let mut disk = self.disk.lock();
        for piece in pieces(offset, into.len()) {
            let sector = self.partition.first + DATA + piece.sector;
            let into = into.get_mut(piece.range()).ok_or(DiskError::OutOfRange)?;
            if piece.is_whole() {
                disk.read(sector, into)?;
            } else {
                let mut whole = [0; SECTOR];
                disk.read(sector, &mut whole)?;
                let from = whole.get(piece.skip..piece.skip + piece.length);
                into.copy_from_slice(from.ok_or(DiskError::OutOfRange)?);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> Result<(), DiskError> {
        let mut disk = self.disk.lock();
        for piece in pieces(offset, from.len()) {
            let sector = self.partition.first + DATA + piece.sector;
            let from = from.get(piece.range()).ok_or(DiskError::OutOfRange)?;
            if piece.is_whole() {
                disk.write(sector, from)?;
            } else {
                let mut whole = [0; SECTOR];
                disk.read(sector, &mut whole)?;
                let into = whole.get_mut(piece.skip..piece.skip + piece.length);
                into.ok_or(DiskError::OutOfRange)?.copy_from_slice(from);
                disk.write(sector, &whole)?;
            }
        }
        Ok(())
    }

    /// That `length` bytes from `offset` on are in the file.
    fn check(&self, offset: u64, length: usize) -> Result<(), DiskError> {
        let end = offset.checked_add(length as u64);
        let is_inside = end.is_some_and(|end| end <= self.length());
        is_inside.then_some(()).ok_or(DiskError::OutOfRange)
    }
}

impl StorageBackend for DatabaseFile {
    fn len(&self) -> Result<u64, BackendError> {
        Ok(self.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), BackendError> {
        self.check(offset, out.len()).map_err(failed)?;
        self.read_at(offset, out).map_err(failed)
    }

    fn set_len(&self, length: u64) -> Result<(), BackendError> {
        if length > self.room() {
            return Err(BackendError::Other(Box::new(Full)));
        }
        self.clear(self.length(), length).map_err(failed)?;
        self.change(|superblock| superblock.length = length)
            .map_err(failed)
    }

    fn sync_data(&self) -> Result<(), BackendError> {
        self.disk.lock().flush().map_err(failed)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BackendError> {
        self.check(offset, data.len()).map_err(failed)?;
        self.write_at(offset, data).map_err(failed)
    }
}

fn failed(error: DiskError) -> BackendError {
    BackendError::Other(Box::new(error))
}

/// The partition ends.
#[derive(Debug)]
pub(super) struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store's partition is full")
    }
}

impl core::error::Error for Full {}

/// A part of an access: whole sectors, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// The first sector.
    sector: u64,
    /// Bytes of it that are not accessed, from its beginning.
    skip: usize,
    /// The place in the caller's buffer.
    place: usize,
    /// Bytes.
    length: usize,
}

impl Piece {
    fn range(&self) -> core::ops::Range<usize> {
        self.place..self.place + self.length
    }

    fn is_whole(&self) -> bool {
        self.skip == 0 && self.length.is_multiple_of(SECTOR)
    }
}

/// Divides an access into a partial sector, whole ones, and a partial one.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut place = 0;
    core::iter::from_fn(move || {
        let rest = length - place;
        let at = offset + place as u64;
        let skip = (at % SECTOR as u64) as usize;
        let length = match rest {
            0 => return None,
            _ if skip != 0 || rest < SECTOR => rest.min(SECTOR - skip),
            _ => rest / SECTOR * SECTOR,
        };
        let piece = Piece {
            sector: at / SECTOR as u64,
            skip,
            place,
            length,
        };
        place += length;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn an_access_is_divided_at_sectors() {
        let piece = |sector, skip, place, length| Piece {
            sector,
            skip,
            place,
            length,
        };
        let all: Vec<_> = pieces(500, 1100).collect();
        let expected = [
            piece(0, 500, 0, 12),
            piece(1, 0, 12, 1024),
            piece(3, 0, 1036, 64),
        ];
        assert_eq!(all, expected);
        assert_eq!(pieces(0, 0).count(), 0);
        assert_eq!(
            pieces(4096, 4096).collect::<Vec<_>>(),
            [piece(8, 0, 0, 4096)]
        );
    }
}
