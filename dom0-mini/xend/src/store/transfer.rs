//! A blob on its way to its slots on the disk, and back from them.
//!
//! The first slots have the names of all chunks, those behind them the chunks that are not all zero, in order. So nothing
//! but a place and the blob's name is needed to read it, and to know that it is what was written.

use super::blobs::{Blob, claim, name_of, no_room};
use super::disk::SECTOR;
use super::place::Place;
use crate::hypervisor::Hypervisor;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use mgmt_proto::blob::{BlobId, CHUNK, ChunkId, Digest, chunk_count, chunk_length};
use mgmt_proto::messages::{ErrorCode, Failure};

/// Bytes of a name.
const NAME: usize = size_of::<ChunkId>();
/// Names in a slot.
const NAMES: usize = CHUNK / NAME;

/// What is in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) slot: u32,
    /// Whole sectors.
    pub(crate) bytes: Vec<u8>,
}

/// How many slots a blob takes; none if they cannot be counted.
pub(crate) fn slots_of<F>(blob: &Blob<F>) -> Option<u32> {
    let kept = blob.names().iter().filter(|name| **name != Digest::ZERO);
    let slots = blob
        .names()
        .len()
        .div_ceil(NAMES)
        .checked_add(kept.count())?;
    u32::try_from(slots).ok()
}

/// A blob that is written.
pub(crate) struct Writing<F> {
    blob: Rc<Blob<F>>,
    place: Place,
    slot: u32,
    chunk: usize,
}

impl<F: AsRef<[u8]>> Writing<F> {
    /// Writes a blob to a place that has room for it.
    pub(crate) fn new(blob: Rc<Blob<F>>, place: Place) -> Self {
        Self {
            blob,
            place,
            slot: 0,
            chunk: 0,
        }
    }

    /// What to write next.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let names = self.blob.names().chunks(NAMES).nth(self.slot as usize);
        let mut bytes = match names {
            Some(names) => names.iter().flat_map(|name| name.0).collect(),
            None => self.next_chunk()?,
        };
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        let slot = self.place.slot(self.slot)?;
        self.slot = self.slot.saturating_add(1);
        Some(Piece { slot, bytes })
    }

    /// The next chunk that is not all zero.
    fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let names = self.blob.names().iter().enumerate().skip(self.chunk);
        let mut kept = names.filter(|(_, name)| **name != Digest::ZERO);
        let (index, _) = kept.next()?;
        self.chunk = index.saturating_add(1);
        self.blob.chunk(index as u64).map(<[u8]>::to_vec)
    }

    /// Slots written, and all there are to write.
    pub(crate) fn progress(&self) -> (u32, u32) {
        (self.slot, self.place.slots())
    }
}

/// A blob that is read.
pub(crate) struct Reading<F> {
    id: BlobId,
    place: Place,
    slot: u32,
    names: Vec<ChunkId>,
    chunks: Vec<Option<F>>,
}

impl<F: AsRef<[u8]> + AsMut<[u8]>> Reading<F> {
    pub(crate) fn new(id: BlobId, place: Place) -> Self {
        Self {
            id,
            place,
            slot: 0,
            names: Vec::new(),
            chunks: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> BlobId {
        self.id
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What to read next: a slot, and how many bytes of it. None once everything is there.
    pub(crate) fn wants(&self) -> Option<(u32, usize)> {
        let length = match self.missing_names() {
            0 => chunk_length(self.place.length, self.chunks.len() as u64)?,
            missing => missing.min(NAMES as u64) as usize * NAME,
        };
        // A place with too few slots is noticed when nothing comes from them.
        let slot = self.place.slot(self.slot).unwrap_or(u32::MAX);
        Some((slot, length.next_multiple_of(SECTOR)))
    }

    fn missing_names(&self) -> u64 {
        chunk_count(self.place.length).saturating_sub(self.names.len() as u64)
    }

    /// Takes in what was read.
    pub(crate) fn take<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        self.slot = self.slot.saturating_add(1);
        if self.missing_names() > 0 {
            self.take_names(bytes)?;
        } else {
            self.take_chunk(hypervisor, bytes)?;
        }
        if self.missing_names() == 0 {
            self.skip_zeros();
        }
        Ok(())
    }

    fn take_names(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let count = self.missing_names().min(NAMES as u64) as usize;
        let names = bytes.as_chunks::<NAME>().0.iter().take(count);
        self.names.extend(names.map(|name| Digest(*name)));
        let is_done = self.missing_names() == 0;
        if is_done && name_of(self.place.length, &self.names) != self.id {
            return Err(self.damaged());
        }
        Ok(())
    }

    fn take_chunk<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let index = self.chunks.len();
        let length = chunk_length(self.place.length, index as u64);
        let bytes = length.and_then(|length| bytes.get(..length));
        let bytes = bytes.ok_or_else(|| self.damaged())?;
        if Some(&Digest::of_chunk(bytes)) != self.names.get(index) {
            return Err(self.damaged());
        }
        let mut frames = claim(hypervisor).map_err(|_| no_room())?;
        if let Some(into) = frames.as_mut().get_mut(..bytes.len()) {
            into.copy_from_slice(bytes);
        }
        self.chunks.push(Some(frames));
        Ok(())
    }

    fn skip_zeros(&mut self) {
        while self.names.get(self.chunks.len()) == Some(&Digest::ZERO) {
            self.chunks.push(None);
        }
    }

    fn damaged(&self) -> Failure {
        let sentence = format!("{} on the host's disk is damaged", self.id);
        Failure::new(ErrorCode::STORE, sentence)
            .with_remedy("delete what refers to it, and make it again")
    }

    /// The blob, once nothing more is wanted.
    pub(crate) fn finish(self) -> Blob<F> {
        Blob::new(self.place.length, self.chunks, self.names)
    }
}
