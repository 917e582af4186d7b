//! The first sectors of the store's partition: how long the database behind them is.
//!
//! A database of redb is a file whose length changes; a partition has one length. So the length is kept here, in two
//! copies in sectors far apart, written one after the other: whichever of the two a power cut tears, the other one is
//! whole. The one with the higher sequence number holds. Numbers are little-endian.

use super::disk::SECTOR;
use crc::{CRC_32_ISCSI, Crc};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The sectors of the two copies, from the partition's first one on.
pub(super) const PLACES: [u64; 2] = [0, 64];
/// Where the database begins, in sectors from the partition's first one.
pub(super) const DATA: u64 = 128;

const MAGIC: [u8; 8] = *b"ALCVSTOR";
const VERSION: u32 = 1;
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What one copy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Counts the writes.
    pub(super) sequence: u64,
    /// The database's length in bytes.
    pub(super) length: u64,
    /// Whether the database was made to its end. Until then nothing is in it that anybody was told is there.
    pub(super) is_complete: bool,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct Sector {
    magic: [u8; 8],
    version: U32,
    is_complete: U32,
    sequence: U64,
    length: U64,
    reserved: [u8; SECTOR - 36],
    checksum: U32,
}

const _: () = assert!(size_of::<Sector>() == SECTOR);

impl Superblock {
    /// Its sector.
    pub(super) fn encode(&self) -> [u8; SECTOR] {
        let mut sector = Sector {
            magic: MAGIC,
            version: VERSION.into(),
            is_complete: u32::from(self.is_complete).into(),
            sequence: self.sequence.into(),
            length: self.length.into(),
            reserved: [0; SECTOR - 36],
            checksum: 0.into(),
        };
        sector.checksum = checksum(&sector).into();
        zerocopy::transmute!(sector)
    }

    /// What a sector says; none if it is not a whole superblock of this version.
    pub(super) fn decode(bytes: &[u8; SECTOR]) -> Option<Self> {
        let sector: Sector = zerocopy::transmute!(*bytes);
        let is_whole = sector.magic == MAGIC
            && sector.version.get() == VERSION
            && sector.is_complete.get() <= 1
            && sector.checksum.get() == checksum(&sector);
        is_whole.then(|| Self {
            sequence: sector.sequence.get(),
            length: sector.length.get(),
            is_complete: sector.is_complete.get() == 1,
        })
    }
}

/// Over everything before the checksum itself.
fn checksum(sector: &Sector) -> u32 {
    let bytes = sector.as_bytes();
    CHECKSUM.checksum(bytes.get(..SECTOR - 4).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Superblock = Superblock {
        sequence: 7,
        length: 0x12_3000,
        is_complete: true,
    };

    #[test]
    fn a_superblock_is_read_as_it_was_written() {
        assert_eq!(Superblock::decode(&SAMPLE.encode()), Some(SAMPLE));
    }

    #[test]
    fn a_superblock_with_any_byte_changed_is_none() {
        let whole = SAMPLE.encode();
        for place in 0..SECTOR {
            let mut damaged = whole;
            damaged[place] ^= 0x41;
            assert_eq!(Superblock::decode(&damaged), None, "byte {place}");
        }
    }

    #[test]
    fn zeros_are_no_superblock() {
        assert_eq!(Superblock::decode(&[0; SECTOR]), None);
    }
}
