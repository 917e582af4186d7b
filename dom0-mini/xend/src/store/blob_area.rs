//! The partition with the blobs: slots of 64 KiB, one behind the other.

use super::disk::{DiskError, SECTOR, SharedDisk};
use super::partition::Partition;
use mgmt_proto::blob::CHUNK;

/// Sectors of a slot.
const SLOT: u64 = (CHUNK / SECTOR) as u64;

/// The slots.
#[derive(Clone, Debug)]
pub(super) struct BlobArea {
    disk: SharedDisk,
    partition: Partition,
}

impl BlobArea {
    pub(super) fn new(disk: SharedDisk, partition: Partition) -> Self {
        Self { disk, partition }
    }

    /// How many there are.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.partition.sectors / SLOT).unwrap_or(u32::MAX)
    }

    /// Writes the beginning of a slot: whole sectors. A flush makes it last.
    pub(super) fn write(&self, slot: u32, bytes: &[u8]) -> Result<(), DiskError> {
        let sector = self.sector(slot, bytes.len())?;
        self.disk.lock().write(sector, bytes)
    }

    /// Reads the beginning of a slot: whole sectors.
    pub(super) fn read(&self, slot: u32, into: &mut [u8]) -> Result<(), DiskError> {
        let sector = self.sector(slot, into.len())?;
        self.disk.lock().read(sector, into)
    }

    fn sector(&self, slot: u32, length: usize) -> Result<u64, DiskError> {
        let is_there = slot < self.slots() && length <= CHUNK;
        is_there
            .then(|| self.partition.first + u64::from(slot) * SLOT)
            .ok_or(DiskError::OutOfRange)
    }
}
