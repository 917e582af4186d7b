//! The partition table of the store's disk (GPT; UEFI 2.10, chapter 5).
//!
//! Two partitions of types of our own: one for the database, the rest for blobs. A table is written such that a power cut
//! at any moment leaves a disk that is either whole, or is mended from the second table at its end, or still counts as
//! empty: the first header is written last. A disk with anything else on it is never touched.

use super::disk::{Disk, DiskError, SECTOR};
use alloc::vec;
use alloc::vec::Vec;
use gpt_disk_io::{BlockIo, Disk as Gpt, DiskError as GptError};
use gpt_disk_types::{
    BlockSize, GptHeader, GptPartitionEntry, GptPartitionEntryArray, GptPartitionEntryArrayLayout,
    GptPartitionType, Guid, Lba, LbaLe, U32Le, guid,
};

/// The database's partition.
pub(super) const DATABASE: GptPartitionType =
    GptPartitionType(guid!("a1c07e5d-6a53-4f0b-8d55-0c9e5b2f71d1"));
/// The blobs' partition.
pub(super) const BLOBS: GptPartitionType =
    GptPartitionType(guid!("a1c07e5d-6a53-4f0b-8d55-0c9e5b2f71d2"));

/// The smallest disk that is taken, in sectors: 16 MiB.
pub(super) const SECTORS_MIN: u64 = 32 * 1024;

/// The first table's header.
const FIRST: u64 = 1;
const MIB: u64 = 1024 * 1024 / SECTOR as u64;
/// Entries of a table; what every tool writes.
const ENTRIES: u32 = 128;
/// Bytes of an entry.
const ENTRY: usize = size_of::<GptPartitionEntry>();
/// Sectors of the entries.
const ENTRY_SECTORS: u64 = 32;
/// Sectors in front of the first usable one: MBR, header, entries.
const HEAD: u64 = 2 + ENTRY_SECTORS;
/// The most entries that are read of a table somebody else wrote.
const ENTRIES_MAX: u32 = 1024;

/// A partition: sectors of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) first: u64,
    pub(super) sectors: u64,
}

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing, or what is left of a first start that was cut short.
    Empty,
    /// A partition table with both partitions.
    Store {
        database: Partition,
        blobs: Partition,
        /// Which of its two tables is damaged.
        damaged: Option<Damaged>,
    },
    /// Something else.
    Foreign,
}

/// The table that does not agree with its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damaged {
    First,
    Second,
}

/// Names that no other disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    disk: [u8; 16],
    partitions: [[u8; 16]; 2],
}

impl Names {
    /// Names by a generator of random bytes.
    pub fn new(mut random: impl FnMut(&mut [u8])) -> Self {
        let mut name = || {
            let mut bytes = [0; 16];
            random(&mut bytes);
            bytes
        };
        Self {
            disk: name(),
            partitions: [name(), name()],
        }
    }
}

/// Looks at what is on a disk of at least [`SECTORS_MIN`]; changes nothing.
pub(super) fn examine(disk: &mut dyn Disk) -> Result<Contents, DiskError> {
    let last = last_sector(disk);
    let (first, second) = (Table::read(disk, FIRST)?, Table::read(disk, last)?);
    let damaged = match (&first, &second) {
        (Some(_), Some(_)) => None,
        (None, Some(_)) => Some(Damaged::First),
        (Some(_), None) => Some(Damaged::Second),
        (None, None) if looks_empty(disk)? => return Ok(Contents::Empty),
        (None, None) => return Ok(Contents::Foreign),
    };
    let areas = first.or(second).and_then(|mut table| {
        let database = table.partition(DATABASE)?;
        Some((database, table.partition(BLOBS)?))
    });
    Ok(
        areas.map_or(Contents::Foreign, |(database, blobs)| Contents::Store {
            database,
            blobs,
            damaged,
        }),
    )
}

/// Writes the damaged table anew from the other one.
pub(super) fn mend(disk: &mut dyn Disk, damaged: Damaged) -> Result<(), DiskError> {
    let last = last_sector(disk);
    let (whole, place) = match damaged {
        Damaged::First => (last, FIRST),
        Damaged::Second => (FIRST, last),
    };
    let whole = Table::read(disk, whole)?.ok_or(DiskError::Device)?;
    let mended = whole.placed(place, last);
    mended.write_entries(disk)?;
    disk.flush()?;
    mended.write_header(disk)?;
    disk.flush()
}

/// Makes the two partitions. Whatever was on the disk is lost.
pub(super) fn make(disk: &mut dyn Disk, names: &Names) -> Result<(), DiskError> {
    let last = last_sector(disk);
    let second = Table::new(last, names);
    let first = second.placed(FIRST, last);
    disk.write(FIRST, &[0; SECTOR])?;
    disk.flush()?;
    Blocks::gpt(disk)?
        .write_protective_mbr(&mut [0; SECTOR])
        .map_err(cause)?;
    second.write_entries(disk)?;
    second.write_header(disk)?;
    first.write_entries(disk)?;
    disk.flush()?;
    first.write_header(disk)?;
    disk.flush()
}

/// Whether there is nothing on the disk, or only what [`make`] wrote before its first header. What it writes is zero
/// elsewhere, and a torn sector is a mixture of zeros and of what was to be written.
fn looks_empty(disk: &mut dyn Disk) -> Result<bool, DiskError> {
    let mut head = [0; HEAD as usize * SECTOR];
    disk.read(0, &mut head)?;
    let (mbr, rest) = head.split_at(SECTOR);
    let (header, entries) = rest.split_at(SECTOR);
    Ok(is_protective_at_most(mbr) && is_zero(header) && is_ours_at_most(entries))
}

/// Zeros, or parts of a protective MBR: no boot code, one record, of the type that says "GPT" (UEFI 2.10, 5.2.3).
fn is_protective_at_most(mbr: &[u8]) -> bool {
    const RECORD: usize = 446;
    const KIND: usize = RECORD + 4;
    const SECOND_RECORD: usize = RECORD + 16;
    const SIGNATURE: usize = 510;
    let zeros = [mbr.get(..RECORD), mbr.get(SECOND_RECORD..SIGNATURE)];
    let kind = mbr.get(KIND).copied();
    zeros.into_iter().flatten().all(is_zero) && matches!(kind, Some(0 | 0xEE))
}

/// Zeros, or parts of our entries.
fn is_ours_at_most(entries: &[u8]) -> bool {
    let used = [DATABASE, BLOBS];
    let (ours, others) = entries.split_at(used.len() * ENTRY);
    let entries = ours.as_chunks::<ENTRY>().0.iter();
    let is_mixture = |(entry, kind): (&[u8; ENTRY], GptPartitionType)| {
        let expected = kind.0.to_bytes();
        let bytes = entry.iter().zip(expected);
        bytes.into_iter().all(|(is, ours)| *is == 0 || *is == ours)
    };
    entries.zip(used).all(is_mixture) && is_zero(others)
}

/// One of the two tables.
struct Table {
    header: GptHeader,
    entries: Vec<u8>,
}

impl Table {
    /// The second table of a disk: the entries end in front of it.
    fn new(last: u64, names: &Names) -> Self {
        let [database, blobs] = areas(last);
        let [database_name, blobs_name] = names.partitions;
        let mut table = Self {
            header: GptHeader {
                my_lba: LbaLe::from_u64(last),
                alternate_lba: LbaLe::from_u64(FIRST),
                first_usable_lba: LbaLe::from_u64(HEAD),
                last_usable_lba: LbaLe::from_u64(last - ENTRY_SECTORS - 1),
                disk_guid: Guid::from_bytes(names.disk),
                partition_entry_lba: LbaLe::from_u64(last - ENTRY_SECTORS),
                number_of_partition_entries: U32Le::from_u32(ENTRIES),
                ..GptHeader::default()
            },
            entries: vec![0; ENTRY_SECTORS as usize * SECTOR],
        };
        let layout = table.layout();
        if let Some(mut array) = layout.and_then(|layout| array(layout, &mut table.entries)) {
            let parts = [
                (DATABASE, database_name, database, "alcove-store"),
                (BLOBS, blobs_name, blobs, "alcove-blobs"),
            ];
            for (index, (kind, name, area, label)) in (0..).zip(parts) {
                if let Some(entry) = array.get_partition_entry_mut(index) {
                    *entry = GptPartitionEntry {
                        partition_type_guid: kind,
                        unique_partition_guid: Guid::from_bytes(name),
                        starting_lba: LbaLe::from_u64(area.first),
                        ending_lba: LbaLe::from_u64(area.first + area.sectors - 1),
                        name: label.parse().unwrap_or_default(),
                        ..GptPartitionEntry::default()
                    };
                }
            }
            table.header.partition_entry_array_crc32 = array.calculate_crc32();
        }
        table.header.update_header_crc32();
        table
    }

    /// The same table in the other place.
    fn placed(&self, place: u64, last: u64) -> Self {
        let (other, entries) = if place == FIRST {
            (last, FIRST + 1)
        } else {
            (FIRST, last - ENTRY_SECTORS)
        };
        let mut header = self.header;
        header.my_lba = LbaLe::from_u64(place);
        header.alternate_lba = LbaLe::from_u64(other);
        header.partition_entry_lba = LbaLe::from_u64(entries);
        header.update_header_crc32();
        Self {
            header,
            entries: self.entries.clone(),
        }
    }

    /// The table whose header is at `place`; none if a checksum is wrong, or it is of a kind that nobody writes.
    fn read(disk: &mut dyn Disk, place: u64) -> Result<Option<Self>, DiskError> {
        let (sectors, last) = (disk.sectors(), last_sector(disk));
        let mut gpt = Blocks::gpt(disk)?;
        let header = gpt
            .read_gpt_header(Lba(place), &mut [0; SECTOR])
            .map_err(cause)?;
        let mut table = Self {
            header,
            entries: Vec::new(),
        };
        if !table.is_sound(place, last) {
            return Ok(None);
        }
        let Some(layout) = table.layout() else {
            return Ok(None);
        };
        let length = layout.num_blocks(BlockSize::BS_512);
        let Some(length) =
            length.filter(|length| layout.start_lba.0.saturating_add(*length) <= sectors)
        else {
            return Ok(None);
        };
        table.entries = vec![0; length as usize * SECTOR];
        let array = gpt
            .read_gpt_partition_entry_array(layout, &mut table.entries)
            .map_err(cause)?;
        let is_whole = array.calculate_crc32() == header.partition_entry_array_crc32;
        Ok(is_whole.then_some(table))
    }

    /// Whether the header is what its checksum says, and is about this disk.
    fn is_sound(&self, place: u64, last: u64) -> bool {
        let header = &self.header;
        header.is_signature_valid()
            && header.header_size.to_u32() as usize == size_of::<GptHeader>()
            && header.calculate_header_crc32() == header.header_crc32
            && header.my_lba.to_u64() == place
            && header.last_usable_lba.to_u64() <= last
            && header.number_of_partition_entries.to_u32() <= ENTRIES_MAX
            && header.size_of_partition_entry.to_u32() as usize == ENTRY
    }

    fn layout(&self) -> Option<GptPartitionEntryArrayLayout> {
        self.header.get_partition_entry_array_layout().ok()
    }

    /// The first partition of a kind, if it lies where partitions may.
    fn partition(&mut self, kind: GptPartitionType) -> Option<Partition> {
        let (from, to) = (
            self.header.first_usable_lba.to_u64(),
            self.header.last_usable_lba.to_u64(),
        );
        let array = array(self.layout()?, &mut self.entries)?;
        let entries = (0..self.header.number_of_partition_entries.to_u32())
            .filter_map(|index| array.get_partition_entry(index));
        let entry = entries
            .into_iter()
            .find(|entry| { entry.partition_type_guid } == kind)?;
        let range = entry.lba_range()?;
        let is_inside = range.start().0 >= from && range.end().0 <= to;
        is_inside.then(|| Partition {
            first: range.start().0,
            sectors: range.num_blocks(),
        })
    }

    fn write_entries(&self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        disk.write(self.header.partition_entry_lba.to_u64(), &self.entries)
    }

    fn write_header(&self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        let place = self.header.my_lba.into();
        Blocks::gpt(disk)?
            .write_gpt_header(place, &self.header, &mut [0; SECTOR])
            .map_err(cause)
    }
}

/// Where the partitions of a disk are that ends with sector `last`: on whole MiB, an eighth for the database, but at least
/// 8 MiB and at most 256 MiB.
fn areas(last: u64) -> [Partition; 2] {
    let end = (last - ENTRY_SECTORS) / MIB * MIB;
    let database = (end / 8 / MIB * MIB).clamp(8 * MIB, 256 * MIB);
    let blobs = MIB + database;
    [
        Partition {
            first: MIB,
            sectors: database,
        },
        Partition {
            first: blobs,
            sectors: end - blobs,
        },
    ]
}

fn array(
    layout: GptPartitionEntryArrayLayout,
    entries: &mut [u8],
) -> Option<GptPartitionEntryArray<'_>> {
    GptPartitionEntryArray::new(layout, BlockSize::BS_512, entries).ok()
}

fn last_sector(disk: &dyn Disk) -> u64 {
    disk.sectors().saturating_sub(1)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A disk as gpt_disk_io wants it.
struct Blocks<'a>(&'a mut dyn Disk);

impl<'a> Blocks<'a> {
    fn gpt(disk: &'a mut dyn Disk) -> Result<Gpt<Self>, DiskError> {
        Gpt::new(Self(disk)).map_err(cause)
    }
}

impl BlockIo for Blocks<'_> {
    type Error = DiskError;

    fn block_size(&self) -> BlockSize {
        BlockSize::BS_512
    }

    fn num_blocks(&mut self) -> Result<u64, DiskError> {
        Ok(self.0.sectors())
    }

    fn read_blocks(&mut self, start: Lba, into: &mut [u8]) -> Result<(), DiskError> {
        self.0.read(start.0, into)
    }

    fn write_blocks(&mut self, start: Lba, from: &[u8]) -> Result<(), DiskError> {
        self.0.write(start.0, from)
    }

    /// Whoever writes a table flushes when it matters; gpt_disk_io would flush whenever it lets go of the disk.
    fn flush(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// All but the disk's own failures would be wrong lengths of ours.
fn cause(error: GptError<DiskError>) -> DiskError {
    match error {
        GptError::Io(error) => error,
        _ => DiskError::OutOfRange,
    }
}
