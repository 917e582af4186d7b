//! The files of the store as xend sees them, and the blobs they refer to: what is kept, and what is on its way to be.
//!
//! A change is seen by nobody before it outlives a power cut. One order is with the keeper at a time; those behind it wait
//! in line. A blob is kept from the change on that first refers to it: its slots are written before. Once no file refers
//! to it, it goes with the same change. In memory the same holds, without slots.

use super::blobs::Blob;
use super::keeper::{Carried, Mounted, Order, Standing};
use super::partition::Names;
use super::place::{FreeSlots, Place};
use super::transfer::{Writing, slots_of};
use super::volume::{Batch, Change, FILE_MAX, FILES_MAX, File};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;
use mgmt_proto::blob::{BlobId, CHUNK};
use mgmt_proto::messages::{ErrorCode, Failure};

/// Orders that may wait.
const WAITING: usize = 32;

/// What is wanted of the store.
pub(crate) enum Wish<F> {
    /// These changes, all or none, and the blobs they refer to, as far as they are not kept yet.
    Change {
        changes: Vec<Change>,
        blobs: Vec<Rc<Blob<F>>>,
    },
    /// A new store of these names, whatever is on the disk.
    Make(Names),
}

impl<F> Wish<F> {
    fn changes(&self) -> &[Change] {
        match self {
            Self::Change { changes, .. } => changes,
            Self::Make(_) => &[],
        }
    }

    fn blobs(&self) -> &[Rc<Blob<F>>] {
        match self {
            Self::Change { blobs, .. } => blobs,
            Self::Make(_) => &[],
        }
    }
}

/// A wish and what follows from it.
pub(crate) struct Pending<F, T> {
    wish: Wish<F>,
    /// Blobs that were given slots for it.
    added: Vec<(BlobId, Place)>,
    /// Blobs that go with it.
    dropped: Vec<BlobId>,
    /// For whom it is done.
    pub(crate) then: T,
}

/// Where a blob is kept.
pub(crate) enum Kept<F> {
    Memory(Rc<Blob<F>>),
    Disk(Place),
}

/// The store's files.
pub(crate) struct StoreFiles<F, T> {
    standing: Standing,
    files: BTreeMap<String, File>,
    blobs: BTreeMap<BlobId, Kept<F>>,
    free: FreeSlots,
    waiting: VecDeque<Pending<F, T>>,
    /// A blob of the first one that waits, on its way to its slots.
    writing: Option<Writing<F>>,
    keeper: Keeper<F, T>,
    refused: Vec<(T, Failure)>,
}

/// What the keeper does.
enum Keeper<F, T> {
    /// It waits for orders.
    Idle,
    /// It adds to the log.
    Logs,
    /// It writes a piece of a blob.
    Writes,
    /// It reads a piece of a blob.
    Reads,
    /// It carries a wish out.
    CarriesOut(Pending<F, T>),
}

impl<F, T> Keeper<F, T> {
    /// What it has carried out, or not: it waits for orders now.
    fn end(&mut self) -> Option<Pending<F, T>> {
        match core::mem::replace(self, Self::Idle) {
            Self::CarriesOut(pending) => Some(pending),
            Self::Idle | Self::Logs | Self::Writes | Self::Reads => None,
        }
    }
}

impl<F: AsRef<[u8]>, T> StoreFiles<F, T> {
    pub(crate) fn new(mounted: Mounted) -> Self {
        let inventory = mounted.inventory;
        let mut free = FreeSlots::all(inventory.slots);
        for place in inventory.blobs.values() {
            free.occupy(place);
        }
        let blobs = inventory.blobs.into_iter();
        Self {
            standing: mounted.standing,
            files: inventory.files,
            blobs: blobs.map(|(id, place)| (id, Kept::Disk(place))).collect(),
            free,
            waiting: VecDeque::new(),
            writing: None,
            keeper: Keeper::Idle,
            refused: Vec::new(),
        }
    }

    /// Where the store is.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Room for blobs on the disk.
    pub(crate) fn free_kib(&self) -> u64 {
        self.free.count().saturating_mul(CHUNK as u64 / 1024)
    }

    fn is_on_disk(&self) -> bool {
        matches!(self.standing, Standing::Disk { .. })
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// The files of a folder, by what their names have behind `folder`.
    pub(crate) fn under<'a>(
        &'a self,
        folder: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a File)> {
        let from = self
            .files
            .range::<str, _>((Bound::Included(folder), Bound::Unbounded));
        from.map_while(move |(path, file)| Some((path.strip_prefix(folder)?, file)))
    }

    /// Whether there is such a file, or soon will be.
    pub(crate) fn is_taken(&self, path: &str) -> bool {
        self.get(path).is_some() || self.coming().any(|coming| coming == path)
    }

    /// The files of a folder, and those that soon will be.
    pub(crate) fn count(&self, folder: &str) -> usize {
        let is_new = |path: &&str| path.starts_with(folder) && self.get(path).is_none();
        let new: BTreeSet<&str> = self.coming().filter(is_new).collect();
        self.under(folder).count().saturating_add(new.len())
    }

    /// The files that are on their way.
    fn coming(&self) -> impl Iterator<Item = &str> {
        let with_keeper = match &self.keeper {
            Keeper::CarriesOut(pending) => Some(pending),
            _ => None,
        };
        let all = self.waiting.iter().chain(with_keeper);
        let files = all.flat_map(|pending| put(pending.wish.changes()));
        files.map(|(path, _)| path)
    }

    /// Where a blob is kept, if a file refers to it.
    pub(crate) fn blob(&self, id: &BlobId) -> Option<&Kept<F>> {
        self.blobs.get(id)
    }

    /// Takes a wish in; `then` comes back from [`StoreFiles::done`], [`StoreFiles::failed`] or [`StoreFiles::refused`].
    ///
    /// # Errors
    /// A sentence for who asked.
    pub(crate) fn order(&mut self, wish: Wish<F>, then: T) -> Result<(), Failure> {
        self.check(&wish)?;
        self.waiting.push_back(Pending {
            wish,
            added: Vec::new(),
            dropped: Vec::new(),
            then,
        });
        Ok(())
    }

    fn check(&self, wish: &Wish<F>) -> Result<(), Failure> {
        if self.waiting.len() >= WAITING {
            let sentence = "the store has too much to do";
            return Err(Failure::new(ErrorCode::BUSY, sentence).with_remedy("try again"));
        }
        match (wish, &self.standing) {
            (Wish::Make(_), Standing::Memory) => Err(Failure::new(
                ErrorCode::STORE,
                "there is no disk to make a store on",
            )
            .with_remedy("give Domain-0 a virtio disk")),
            (Wish::Make(_), _) => Ok(()),
            (Wish::Change { .. }, Standing::Rescue { reason, .. }) => Err(read_only(reason)),
            (Wish::Change { changes, blobs }, _) => {
                self.check_sizes(changes)?;
                self.check_references(changes, blobs)
            }
        }
    }

    fn check_sizes(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut all: usize = self.files.values().map(|file| file.content.len()).sum();
        for (path, file) in put(changes) {
            let length = file.content.len();
            if length > FILE_MAX {
                let sentence = format!("{path} would have {} KiB", length.div_ceil(1024));
                return Err(Failure::new(ErrorCode::TOO_LARGE, sentence)
                    .with_remedy("a file in the store has at most 32 KiB"));
            }
            all = all.saturating_add(length);
        }
        if all > FILES_MAX { Err(full()) } else { Ok(()) }
    }

    /// A file refers to nothing that is not there.
    fn check_references(&self, changes: &[Change], blobs: &[Rc<Blob<F>>]) -> Result<(), Failure> {
        for (path, file) in put(changes) {
            let is_there = |id: &BlobId| {
                self.blobs.contains_key(id) || blobs.iter().any(|blob| blob.id() == *id)
            };
            if let Some(id) = file.blobs.iter().find(|id| !is_there(id)) {
                let sentence = format!("{path} would refer to {id}, which is not in the store");
                return Err(Failure::new(ErrorCode::BAD_BLOB, sentence));
            }
        }
        Ok(())
    }

    /// The next order for the keeper. Text for the log, which may tell of a change, goes along with it, or alone if nothing
    /// else waits.
    pub(crate) fn next(&mut self, log: impl FnOnce(Option<&T>) -> Vec<u8>) -> Option<Order> {
        if self.is_busy() {
            return None;
        }
        if let Some(order) = self.next_piece() {
            self.keeper = Keeper::Writes;
            return Some(order);
        }
        let Some(mut pending) = self.waiting.pop_front() else {
            if !self.is_on_disk() {
                return None;
            }
            let log = Some(log(None)).filter(|text| !text.is_empty())?;
            self.keeper = Keeper::Logs;
            return Some(Order::Keep(Batch {
                log,
                ..Batch::default()
            }));
        };
        let order = match &pending.wish {
            Wish::Make(names) => Order::Make(*names),
            Wish::Change { changes, .. } => {
                pending.dropped = self.unreferenced(changes);
                Order::Keep(Batch {
                    changes: changes.clone(),
                    added: pending.added.clone(),
                    dropped: pending.dropped.clone(),
                    log: log(Some(&pending.then)),
                })
            }
        };
        self.keeper = Keeper::CarriesOut(pending);
        Some(order)
    }

    /// An order to read a piece of a blob, if the keeper has time.
    pub(crate) fn read(&mut self, slot: u32, length: usize) -> Option<Order> {
        if self.is_busy() {
            return None;
        }
        self.keeper = Keeper::Reads;
        Some(Order::Read { slot, length })
    }

    /// Whether the keeper was reading; if so, it waits for orders now.
    pub(crate) fn end_read(&mut self) -> bool {
        let has_read = matches!(self.keeper, Keeper::Reads);
        if has_read {
            self.keeper = Keeper::Idle;
        }
        has_read
    }

    /// The next piece to write of the blobs that the first wish in line refers to.
    fn next_piece(&mut self) -> Option<Order> {
        loop {
            if let Some(piece) = self.writing.as_mut().and_then(Writing::next) {
                let (slot, bytes) = (piece.slot, piece.bytes);
                return Some(Order::Write { slot, bytes });
            }
            self.writing = None;
            let blob = self.unwritten()?;
            let extents = slots_of(&blob).and_then(|count| self.free.take(count));
            match (extents, self.waiting.front_mut()) {
                (Some(extents), Some(first)) => {
                    let length = blob.length();
                    let place = Place { length, extents };
                    first.added.push((blob.id(), place.clone()));
                    self.writing = Some(Writing::new(blob, place));
                }
                _ => self.refuse_first(full()),
            }
        }
    }

    /// A blob of the first wish in line that is not on the disk yet.
    fn unwritten(&self) -> Option<Rc<Blob<F>>> {
        let first = self.waiting.front().filter(|_| self.is_on_disk())?;
        let is_missing = |blob: &&Rc<Blob<F>>| {
            let id = blob.id();
            !self.blobs.contains_key(&id) && first.added.iter().all(|(added, _)| *added != id)
        };
        first.wish.blobs().iter().find(is_missing).map(Rc::clone)
    }

    fn refuse_first(&mut self, failure: Failure) {
        self.writing = None;
        if let Some(pending) = self.waiting.pop_front() {
            self.give_back(&pending);
            self.refused.push((pending.then, failure));
        }
    }

    /// Slots that were taken for nothing.
    fn give_back(&mut self, pending: &Pending<F, T>) {
        for (_, place) in &pending.added {
            self.free.release(place);
        }
    }

    /// Those whose wishes cannot be carried out after all.
    pub(crate) fn refused(&mut self) -> Vec<(T, Failure)> {
        core::mem::take(&mut self.refused)
    }

    /// Who waits for a blob that is being written; the slots that are, and all of them.
    pub(crate) fn progress(&self) -> Option<(&T, u32, u32)> {
        let (done, total) = self.writing.as_ref()?.progress();
        Some((&self.waiting.front()?.then, done, total))
    }

    /// The blobs that no file refers to after these changes, nor one that is on its way.
    fn unreferenced(&self, changes: &[Change]) -> Vec<BlobId> {
        let is_changed = |path: &str| changes.iter().any(|change| path_of(change) == path);
        let left = self.files.iter().filter(|(path, _)| !is_changed(path));
        let left = left.map(|(_, file)| file);
        let waiting = self.waiting.iter();
        let coming = waiting.flat_map(|pending| put(pending.wish.changes()));
        let new = put(changes).chain(coming).map(|(_, file)| file);
        let referenced: BTreeSet<_> = left.chain(new).flat_map(|file| &file.blobs).collect();
        let known = self.blobs.keys();
        known
            .filter(|id| !referenced.contains(id))
            .copied()
            .collect()
    }

    /// Whether there is something for the keeper, the log left aside.
    pub(crate) fn has_orders(&self) -> bool {
        !self.is_busy() && !self.waiting.is_empty()
    }

    /// Whether the keeper is at work.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.keeper, Keeper::Idle)
    }

    /// What the keeper was given is done: what was waiting for it.
    pub(crate) fn done(&mut self, carried: &Carried) -> Option<Pending<F, T>> {
        let pending = self.keeper.end()?;
        match &pending.wish {
            Wish::Change { changes, blobs } => {
                changes.iter().for_each(|change| self.carry_out(change));
                self.keep(&pending, blobs);
            }
            Wish::Make(_) => {
                self.files.clear();
                self.blobs.clear();
                if let Carried::Made(slots) = carried {
                    self.free = FreeSlots::all(*slots);
                }
                if let Standing::Rescue { size_kib, .. } = self.standing {
                    self.standing = Standing::Disk { size_kib };
                }
            }
        }
        Some(pending)
    }

    fn carry_out(&mut self, change: &Change) {
        match change {
            Change::Put { path, file } => self.files.insert(path.clone(), file.clone()),
            Change::Remove { path } => self.files.remove(path),
        };
    }

    fn keep(&mut self, pending: &Pending<F, T>, blobs: &[Rc<Blob<F>>]) {
        for id in &pending.dropped {
            if let Some(Kept::Disk(place)) = self.blobs.remove(id) {
                self.free.release(&place);
            }
        }
        let added = pending.added.iter().cloned();
        self.blobs
            .extend(added.map(|(id, place)| (id, Kept::Disk(place))));
        if matches!(self.standing, Standing::Memory) {
            let blobs = blobs.iter().map(Rc::clone);
            self.blobs
                .extend(blobs.map(|blob| (blob.id(), Kept::Memory(blob))));
        }
    }

    /// It was not done: what was waiting for it. With a `reason` the store is not written to any more, and everything that
    /// waits for it has waited in vain.
    pub(crate) fn failed(&mut self, reason: Option<&str>) -> Vec<Pending<F, T>> {
        let mut pending: Vec<_> = self.keeper.end().into_iter().collect();
        if let Some(reason) = reason {
            if let Standing::Disk { size_kib } | Standing::Rescue { size_kib, .. } = self.standing {
                self.standing = Standing::Rescue {
                    size_kib,
                    reason: reason.into(),
                };
            }
            self.writing = None;
            pending.extend(self.waiting.drain(..));
        }
        pending.iter().for_each(|pending| self.give_back(pending));
        pending
    }
}

/// The files that are put, and their paths.
fn put(changes: &[Change]) -> impl Iterator<Item = (&str, &File)> {
    changes.iter().filter_map(|change| match change {
        Change::Put { path, file } => Some((path.as_str(), file)),
        Change::Remove { .. } => None,
    })
}

fn path_of(change: &Change) -> &str {
    match change {
        Change::Put { path, .. } | Change::Remove { path } => path,
    }
}

/// Nothing can be kept.
pub(crate) fn read_only(reason: &str) -> Failure {
    Failure::new(
        ErrorCode::STORE,
        format!("the store is read-only: {reason}"),
    )
    .with_remedy("'xenman host init --force' makes a new one; what is on the disk is lost then")
}

/// There is no room.
pub(crate) fn full() -> Failure {
    Failure::new(ErrorCode::STORE, "the store is full")
        .with_remedy("delete what is not needed any more")
}
