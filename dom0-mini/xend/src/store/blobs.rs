//! Blobs in claimed frames.
//!
//! A blob's chunks are 64 KiB claims, raw; all-zero chunks take none. Who refers to a blob holds an [`Rc`] of it: a
//! domain, a file of the store that is in memory, or a session that uploaded it or asked for it. With the last reference
//! the blob is dropped, and with it its frames; the table here only remembers where blobs are ([`Weak`]).

use crate::hypervisor::{Answer, Hypervisor};
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use hv_abi::Errno;
use mgmt_proto::blob::{
    BlobHasher, BlobId, CHUNK, Chunk, ChunkError, ChunkId, Codec, Digest, chunk_count, chunk_length,
};
use mgmt_proto::messages::{BlobSummary, ErrorCode, Failure};

/// `log2` of the frames in a chunk.
pub(crate) const CHUNK_ORDER: u32 = 4;

const _: () = assert!(CHUNK == hv_abi::FRAME_SIZE << CHUNK_ORDER);

/// The longest blob: what a kernel or initrd can sensibly be, 1 GiB.
const BLOB_MAX: u64 = 1 << 30;

/// A complete blob, checked against its name.
pub(crate) struct Blob<F> {
    id: BlobId,
    length: u64,
    chunks: Vec<Option<F>>,
    names: Vec<ChunkId>,
}

impl<F> Blob<F> {
    /// A blob of these chunks, of which these are the names.
    pub(crate) fn new(length: u64, chunks: Vec<Option<F>>, names: Vec<ChunkId>) -> Self {
        Self {
            id: name_of(length, &names),
            length,
            chunks,
            names,
        }
    }

    /// The names of its chunks.
    pub(crate) fn names(&self) -> &[ChunkId] {
        &self.names
    }
}

/// The name of a blob of this length and these chunks.
pub(crate) fn name_of(length: u64, names: &[ChunkId]) -> BlobId {
    let mut hasher = BlobHasher::new(length);
    names.iter().for_each(|name| hasher.chunk(name));
    hasher.finish()
}

impl<F: AsRef<[u8]>> Blob<F> {
    pub(crate) fn id(&self) -> BlobId {
        self.id
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of chunk `index`; none if they are all zero (or beyond the end).
    pub(crate) fn chunk(&self, index: u64) -> Option<&[u8]> {
        let length = chunk_length(self.length, index)?;
        let frames = self.chunks.get(usize::try_from(index).ok()?)?.as_ref()?;
        frames.as_ref().get(..length)
    }

    /// Reads from `place` on, as far as it goes; how many bytes that was.
    pub(crate) fn read(&self, place: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let count = self.read_some(place.saturating_add(done as u64), rest);
            if count == 0 {
                break;
            }
            done = done.saturating_add(count);
        }
        done
    }

    /// Reads from one chunk.
    fn read_some(&self, place: u64, into: &mut [u8]) -> usize {
        let (index, skip) = (place / CHUNK as u64, (place % CHUNK as u64) as usize);
        let length = chunk_length(self.length, index).unwrap_or(0);
        let count = length.saturating_sub(skip).min(into.len());
        let into = into.get_mut(..count).unwrap_or_default();
        let bytes = self.chunk(index);
        match bytes.and_then(|bytes| bytes.get(skip..skip.saturating_add(count))) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => into.fill(0),
        }
        count
    }

    /// Memory it takes.
    pub(crate) fn stored_kib(&self) -> u64 {
        let kept = self.chunks.iter().flatten().count() as u64;
        kept.saturating_mul(CHUNK as u64 / 1024)
    }
}

/// Where blobs are.
pub(crate) struct Blobs<F> {
    known: BTreeMap<BlobId, Weak<Blob<F>>>,
}

impl<F: AsRef<[u8]>> Blobs<F> {
    pub(crate) fn new() -> Self {
        Self {
            known: BTreeMap::new(),
        }
    }

    /// The blob of this name, if somebody refers to it.
    pub(crate) fn find(&mut self, id: &BlobId) -> Option<Rc<Blob<F>>> {
        let found = self.known.get(id).and_then(Weak::upgrade);
        if found.is_none() {
            self.known.remove(id);
        }
        found
    }

    /// Adds a blob; if there is one of its name already, that one.
    pub(crate) fn add(&mut self, blob: Blob<F>) -> Rc<Blob<F>> {
        if let Some(there) = self.find(&blob.id) {
            return there;
        }
        self.known.retain(|_, blob| blob.strong_count() > 0);
        let blob = Rc::new(blob);
        self.known.insert(blob.id, Rc::downgrade(&blob));
        blob
    }

    /// All blobs.
    pub(crate) fn list(&self) -> Vec<BlobSummary> {
        let there = self.known.values().filter_map(Weak::upgrade);
        there
            .map(|blob| BlobSummary {
                id: blob.id,
                length: blob.length,
                stored_kib: blob.stored_kib(),
                references: u32::try_from(Rc::strong_count(&blob).saturating_sub(1))
                    .unwrap_or(u32::MAX),
            })
            .collect()
    }
}

/// A blob on its way.
pub(crate) struct Upload<F> {
    id: BlobId,
    length: u64,
    slots: Vec<Slot<F>>,
}

enum Slot<F> {
    Missing,
    There { id: Digest, frames: Option<F> },
}

impl<F: AsRef<[u8]> + AsMut<[u8]>> Upload<F> {
    /// Begins an upload.
    pub(crate) fn new(id: BlobId, length: u64) -> Result<Self, Failure> {
        if length == 0 || length > BLOB_MAX {
            let sentence = "a blob has at least one byte and at most 1 GiB";
            return Err(Failure::new(ErrorCode::BAD_BLOB, sentence));
        }
        let count = usize::try_from(chunk_count(length)).unwrap_or(0);
        let slots = (0..count).map(|_| Slot::Missing).collect();
        Ok(Self { id, length, slots })
    }

    /// Takes one chunk in; the same one again changes nothing.
    pub(crate) fn put<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        index: u32,
        chunk: &Chunk,
    ) -> Result<(), Failure> {
        let length = chunk_length(self.length, u64::from(index));
        let slot = self
            .slots
            .get_mut(usize::try_from(index).unwrap_or(usize::MAX));
        let (Some(length), Some(slot)) = (length, slot) else {
            let sentence = alloc::format!("the blob has no chunk {index}");
            return Err(Failure::new(ErrorCode::BAD_BLOB, sentence));
        };
        if matches!(slot, Slot::There { id, .. } if *id == chunk.id) {
            return Ok(());
        }
        let frames = keep(hypervisor, chunk, length)?;
        *slot = Slot::There {
            id: chunk.id,
            frames,
        };
        Ok(())
    }

    /// Ends the upload: a blob, if all chunks are there and its name is theirs.
    pub(crate) fn finish(self) -> Result<Blob<F>, Failure> {
        let mut chunks = Vec::with_capacity(self.slots.len());
        let mut names = Vec::with_capacity(self.slots.len());
        for (index, slot) in self.slots.into_iter().enumerate() {
            let Slot::There { id, frames } = slot else {
                let sentence = alloc::format!("chunk {index} of the upload is missing");
                return Err(Failure::new(ErrorCode::BAD_BLOB, sentence));
            };
            chunks.push(frames);
            names.push(id);
        }
        let blob = Blob::new(self.length, chunks, names);
        if blob.id() != self.id {
            let sentence = "the uploaded content does not match its name";
            let failure = Failure::new(ErrorCode::BAD_BLOB, sentence);
            return Err(
                failure.with_remedy("the file may have changed while it was sent: try again")
            );
        }
        Ok(blob)
    }
}

/// A blob that is written here, from its beginning to its end.
pub(crate) struct Writer<F> {
    length: u64,
    chunks: Vec<Option<F>>,
    names: Vec<ChunkId>,
}

impl<F: AsRef<[u8]> + AsMut<[u8]>> Writer<F> {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            length: 0,
            chunks: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Adds bytes.
    pub(crate) fn append<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        mut bytes: &[u8],
    ) -> Answer<()> {
        while !bytes.is_empty() {
            let skip = (self.length % CHUNK as u64) as usize;
            if skip == 0 {
                self.seal();
                self.chunks.push(Some(claim(hypervisor)?));
            }
            let last = self.chunks.last_mut().and_then(Option::as_mut);
            let room = last.and_then(|frames| frames.as_mut().get_mut(skip..CHUNK));
            let room = room.ok_or(Errno::EIO)?;
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.length = self.length.saturating_add(now.len() as u64);
            bytes = later;
        }
        Ok(())
    }

    /// Names the last chunk. One that is all zero is not kept.
    fn seal(&mut self) {
        let index = self.names.len();
        let (Some(slot), Some(length)) = (
            self.chunks.get_mut(index),
            chunk_length(self.length, index as u64),
        ) else {
            return;
        };
        let bytes = slot
            .as_ref()
            .and_then(|frames| frames.as_ref().get(..length));
        let name = Digest::of_chunk(bytes.unwrap_or_default());
        if name == Digest::ZERO {
            *slot = None;
        }
        self.names.push(name);
    }

    /// What was written.
    pub(crate) fn finish(mut self) -> Blob<F> {
        self.seal();
        Blob::new(self.length, self.chunks, self.names)
    }
}

/// A checked chunk in frames of its own; none if it is all zero.
fn keep<H: Hypervisor>(
    hypervisor: &mut H,
    chunk: &Chunk,
    length: usize,
) -> Result<Option<H::Frames>, Failure> {
    let raw = chunk.decode(length).map_err(bad_chunk)?;
    if chunk.codec == Codec::ZERO || chunk.id == Digest::ZERO {
        return Ok(None);
    }
    let mut frames = claim(hypervisor).map_err(|_| no_room())?;
    if let Some(place) = frames.as_mut().get_mut(..length) {
        place.copy_from_slice(&raw);
    }
    Ok(Some(frames))
}

/// Frames for one chunk.
pub(crate) fn claim<H: Hypervisor>(hypervisor: &mut H) -> Answer<H::Frames> {
    let frames = hypervisor.claim(CHUNK_ORDER)?;
    if frames.as_ref().len() < CHUNK {
        return Err(Errno::EIO);
    }
    Ok(frames)
}

pub(crate) fn bad_chunk(error: ChunkError) -> Failure {
    Failure::new(ErrorCode::BAD_BLOB, alloc::format!("{error}"))
}

pub(crate) fn no_room() -> Failure {
    Failure::new(
        ErrorCode::NO_MEMORY,
        "the host has no free memory for the upload",
    )
    .with_remedy("destroy a domain, or delete a snapshot")
}
