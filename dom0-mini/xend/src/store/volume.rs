//! What outlives a power cut: files under their traditional paths, and the log, in a database on a disk; and blobs in
//! slots beside it, of which the database knows the places.
//!
//! Every change is a transaction: when [`Volume::apply`] returns, the change is there whatever happens next, and before
//! that either all of it is or nothing. The database is redb's; commits are in two phases, so that no checksum of a torn
//! page has to be trusted. At mount every page is checked against its checksum before anything of it is used. A blob's
//! slots are written before the change that has its place: the flushes of that change make them last, too.

use super::blob_area::BlobArea;
use super::database_file::{DatabaseFile, Found, Full};
use super::disk::{Disk, DiskError, SharedDisk};
use super::partition::{self, Contents, Damaged, Names, Partition};
use super::place::{FreeSlots, Place};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use mgmt_proto::blob::{BlobId, Digest};
use mgmt_proto::messages::encode;
use minicbor::{Decode, Encode};
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

/// The longest file, in bytes: a commit stays small.
pub const FILE_MAX: usize = 32 * 1024;
/// What all files may have together, in bytes: they are kept in memory, too.
pub const FILES_MAX: usize = 2 * 1024 * 1024;
/// What is kept of the log, in bytes.
pub const LOG_MAX: usize = 512 * 1024;

/// redb's cache, in bytes.
const CACHE: usize = 1024 * 1024;

/// [`File`]s in CBOR, by their paths.
const FILES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("files");
/// [`Place`]s in CBOR, by the blobs' names.
const BLOBS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blobs");
/// Pieces of the log by the position of their first byte, counted from the first line ever written.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct File {
    /// All of it.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub content: Vec<u8>,
    /// The blobs it refers to.
    #[n(1)]
    pub blobs: Vec<BlobId>,
}

/// A change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file is like this, whether it was there or not.
    Put {
        /// Its path, such as `/etc/xen/web1.cfg`.
        path: String,
        /// All of it.
        file: File,
    },
    /// The file is not there any more.
    Remove {
        /// Its path.
        path: String,
    },
}

/// What changes at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Files.
    pub changes: Vec<Change>,
    /// Blobs whose slots are written.
    pub added: Vec<(BlobId, Place)>,
    /// Blobs that nothing refers to any more.
    pub dropped: Vec<BlobId>,
    /// Text to add to the log.
    pub log: Vec<u8>,
}

/// All that a volume holds but the log and what is in the blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Files by their paths.
    pub files: BTreeMap<String, File>,
    /// Blobs.
    pub blobs: BTreeMap<BlobId, Place>,
    /// How many slots there are.
    pub slots: u32,
}

/// Why a volume cannot be used, or did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeError {
    /// There is something on the disk that is not ours.
    Foreign,
    /// The disk is too small.
    TooSmall,
    /// What is on the disk does not agree with its checksum; what exactly.
    Damaged(String),
    /// There is no room.
    Full,
    /// The disk failed.
    Disk(String),
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("there is something on the disk that is not a store"),
            Self::TooSmall => f.write_str("the disk is smaller than 16 MiB"),
            Self::Damaged(what) => write!(f, "the store on the disk is damaged: {what}"),
            Self::Full => f.write_str("the store on the disk is full"),
            Self::Disk(what) => write!(f, "the disk failed: {what}"),
        }
    }
}

impl From<DiskError> for VolumeError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error.to_string())
    }
}

/// How a volume came to be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// It was made on an empty disk.
    Made,
    /// It was there.
    Found,
    /// It was there, and this of it was written anew from a copy.
    Mended(&'static str),
}

/// A mounted store.
pub struct Volume {
    database: Database,
    blobs: BlobArea,
    /// Bytes of the log that are kept.
    log_bytes: usize,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").finish_non_exhaustive()
    }
}

impl Volume {
    /// Mounts the store of a disk, or makes one of these names if the disk is empty.
    ///
    /// # Errors
    /// [`VolumeError`]; nothing was written then, but to an empty disk or a damaged partition table.
    pub fn mount(disk: &SharedDisk, names: &Names) -> Result<(Self, Mount), VolumeError> {
        check_size(&**disk.lock())?;
        let contents = partition::examine(&mut **disk.lock())?;
        match contents {
            Contents::Empty => Self::make(disk, names).map(|volume| (volume, Mount::Made)),
            Contents::Foreign => Err(VolumeError::Foreign),
            Contents::Store {
                database,
                blobs,
                damaged,
            } => {
                if let Some(damaged) = damaged {
                    partition::mend(&mut **disk.lock(), damaged)?;
                }
                let (volume, mount) = Self::open(disk, database, blobs)?;
                let mount = damaged.map_or(mount, |damaged| Mount::Mended(damaged.name()));
                Ok((volume, mount))
            }
        }
    }

    /// Makes a store. Whatever was on the disk is lost.
    ///
    /// # Errors
    /// The disk's.
    pub fn make(disk: &SharedDisk, names: &Names) -> Result<Self, VolumeError> {
        check_size(&**disk.lock())?;
        let contents = {
            let mut disk = disk.lock();
            partition::make(&mut **disk, names)?;
            partition::examine(&mut **disk)?
        };
        match contents {
            Contents::Store {
                database, blobs, ..
            } => Self::begin(disk, database, blobs),
            _ => Err(VolumeError::Disk("it does not keep what is written".into())),
        }
    }

    fn open(
        disk: &SharedDisk,
        database: Partition,
        blobs: Partition,
    ) -> Result<(Self, Mount), VolumeError> {
        let (superblock, is_whole) = match DatabaseFile::find(disk, database)? {
            Found::Unfinished => {
                let volume = Self::begin(disk, database, blobs)?;
                return Ok((volume, Mount::Made));
            }
            Found::Damaged => return Err(VolumeError::Damaged("its superblock".into())),
            Found::File(superblock, is_whole) => (superblock, is_whole),
        };
        let file = DatabaseFile::open(disk, database, superblock);
        let mut volume = Self::with(file.clone(), disk, blobs).map_err(damage)?;
        volume.log_bytes = volume.log()?.len();
        if is_whole {
            return Ok((volume, Mount::Found));
        }
        file.renew()?;
        Ok((volume, Mount::Mended("a copy of its superblock")))
    }

    /// Makes an empty database.
    fn begin(
        disk: &SharedDisk,
        database: Partition,
        blobs: Partition,
    ) -> Result<Self, VolumeError> {
        let file = DatabaseFile::begin(disk, database)?;
        let volume = Self::with(file.clone(), disk, blobs).map_err(cause)?;
        volume.commit(|transaction| {
            transaction.open_table(FILES)?;
            transaction.open_table(BLOBS)?;
            transaction.open_table(LOG)?;
            Ok(())
        })?;
        file.complete()?;
        Ok(volume)
    }

    fn with(file: DatabaseFile, disk: &SharedDisk, blobs: Partition) -> Result<Self, redb::Error> {
        let database = Builder::new()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(file)?;
        Ok(Self {
            database,
            blobs: BlobArea::new(Arc::clone(disk), blobs),
            log_bytes: 0,
        })
    }

    /// Changes files and blobs and adds to the log, all of it or nothing, and returns when that outlives a power cut. What
    /// is too old of the log goes.
    ///
    /// # Errors
    /// [`VolumeError::Full`]: nothing is changed. Otherwise the disk's: what was changed is not known.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), VolumeError> {
        let mut kept = self.log_bytes;
        self.commit(|transaction| {
            if !batch.changes.is_empty() {
                carry_out(&mut transaction.open_table(FILES)?, &batch.changes)?;
            }
            if !(batch.added.is_empty() && batch.dropped.is_empty()) {
                place(&mut transaction.open_table(BLOBS)?, batch)?;
            }
            if !batch.log.is_empty() {
                append(&mut transaction.open_table(LOG)?, &batch.log, &mut kept)?;
            }
            Ok(())
        })?;
        self.log_bytes = kept;
        Ok(())
    }

    /// How many slots for blobs there are.
    pub fn slots(&self) -> u32 {
        self.blobs.slots()
    }

    /// Writes the beginning of a slot: whole sectors. It outlives a power cut once the next change does.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_slot(&self, slot: u32, bytes: &[u8]) -> Result<(), VolumeError> {
        Ok(self.blobs.write(slot, bytes)?)
    }

    /// Reads the beginning of a slot: whole sectors. What was read is to be checked against its hash.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_slot(&self, slot: u32, length: usize) -> Result<Vec<u8>, VolumeError> {
        let mut bytes = vec![0; length];
        self.blobs.read(slot, &mut bytes)?;
        Ok(bytes)
    }

    /// What there is.
    ///
    /// # Errors
    /// The disk's; or that something is there that no store writes.
    pub fn inventory(&self) -> Result<Inventory, VolumeError> {
        let mut inventory = Inventory {
            slots: self.slots(),
            ..Inventory::default()
        };
        self.each(FILES, |path, value| {
            let file = minicbor::decode(value).ok()?;
            inventory.files.insert(path.to_string(), file);
            Some(())
        })?;
        self.each(BLOBS, |name, value| {
            let place = minicbor::decode(value).ok()?;
            let id = Digest(name.try_into().ok()?);
            inventory.blobs.insert(id, place);
            Some(())
        })?;
        let mut free = FreeSlots::all(inventory.slots);
        let is_sound = inventory.blobs.values().all(|place| free.occupy(place));
        is_sound.then_some(inventory).ok_or_else(no_sense)
    }

    /// Shows each entry of a table to `take`, which says whether it makes sense.
    fn each<K: redb::Key + 'static>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        mut take: impl FnMut(K::SelfType<'_>, &[u8]) -> Option<()>,
    ) -> Result<(), VolumeError> {
        let mut read = || {
            let table = self.database.begin_read()?.open_table(table)?;
            let mut is_sound = true;
            for entry in table.iter()? {
                let (key, value) = entry?;
                is_sound &= take(key.value(), value.value()).is_some();
            }
            Ok(is_sound)
        };
        let is_sound = read().map_err(cause)?;
        is_sound.then_some(()).ok_or_else(no_sense)
    }

    /// The log, as far as it is kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn log(&self) -> Result<Vec<u8>, VolumeError> {
        let read = || {
            let table = self.database.begin_read()?.open_table(LOG)?;
            let mut text = Vec::new();
            for entry in table.iter()? {
                text.extend_from_slice(entry?.1.value());
            }
            Ok(text)
        };
        read().map_err(cause)
    }

    fn commit(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), VolumeError> {
        let commit = || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        commit().map_err(cause)
    }
}

fn carry_out(
    files: &mut Table<'_, &'static str, &'static [u8]>,
    changes: &[Change],
) -> Result<(), redb::Error> {
    for change in changes {
        match change {
            Change::Put { path, file } => {
                files.insert(path.as_str(), encode(file).as_slice())?;
            }
            Change::Remove { path } => {
                files.remove(path.as_str())?;
            }
        }
    }
    Ok(())
}

fn place(
    blobs: &mut Table<'_, &'static [u8], &'static [u8]>,
    batch: &Batch,
) -> Result<(), redb::Error> {
    for id in &batch.dropped {
        blobs.remove(id.0.as_slice())?;
    }
    for (id, place) in &batch.added {
        blobs.insert(id.0.as_slice(), encode(place).as_slice())?;
    }
    Ok(())
}

/// Adds a piece and drops the oldest ones; `kept` counts the bytes that are there.
fn append(
    log: &mut Table<'_, u64, &'static [u8]>,
    text: &[u8],
    kept: &mut usize,
) -> Result<(), redb::Error> {
    let end = log.last()?.map_or(0, |(start, piece)| {
        start.value().saturating_add(piece.value().len() as u64)
    });
    log.insert(end, text)?;
    *kept += text.len();
    while *kept > LOG_MAX
        && let Some((_, oldest)) = log.pop_first()?
    {
        *kept -= oldest.value().len();
    }
    Ok(())
}

fn check_size(disk: &dyn Disk) -> Result<(), VolumeError> {
    let is_large_enough = disk.sectors() >= partition::SECTORS_MIN;
    is_large_enough.then_some(()).ok_or(VolumeError::TooSmall)
}

impl Damaged {
    fn name(self) -> &'static str {
        match self {
            Self::First => "the first partition table",
            Self::Second => "the second partition table",
        }
    }
}

/// The checksums are right, but no store writes that.
fn no_sense() -> VolumeError {
    VolumeError::Damaged("an entry makes no sense".into())
}

/// What redb's error means to who asked.
fn cause(error: redb::Error) -> VolumeError {
    match error {
        redb::Error::Corrupted(what) => VolumeError::Damaged(what),
        redb::Error::Backend(error) if error.is::<Full>() => VolumeError::Full,
        error => VolumeError::Disk(format!("{error}")),
    }
}

/// What it means where there was a database: if the disk has not failed, then that it is one no more.
fn damage(error: redb::Error) -> VolumeError {
    match error {
        error @ redb::Error::Backend(_) => cause(error),
        error => VolumeError::Damaged(format!("{error}")),
    }
}
