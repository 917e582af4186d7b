//! Blobs in claimed frames.
//!
//! A blob's chunks are 64 KiB claims, raw; all-zero chunks take none. Who refers to a blob holds an [`Rc`] of it: a
//! domain, or a session that uploaded it or asked for it. With the last reference the blob is dropped, and with it its
//! frames; the table here only remembers where blobs are ([`Weak`]).

use crate::hypervisor::{Answer, Hypervisor};
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use mgmt_proto::blob::{
    BlobHasher, BlobId, CHUNK, Chunk, ChunkError, Codec, Digest, chunk_count, chunk_length,
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

    fn stored_kib(&self) -> u64 {
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
        let mut hasher = BlobHasher::new(self.length);
        let mut chunks = Vec::with_capacity(self.slots.len());
        for (index, slot) in self.slots.into_iter().enumerate() {
            let Slot::There { id, frames } = slot else {
                let sentence = alloc::format!("chunk {index} of the upload is missing");
                return Err(Failure::new(ErrorCode::BAD_BLOB, sentence));
            };
            hasher.chunk(&id);
            chunks.push(frames);
        }
        if hasher.finish() != self.id {
            let sentence = "the uploaded content does not match its name";
            let failure = Failure::new(ErrorCode::BAD_BLOB, sentence);
            return Err(
                failure.with_remedy("the file may have changed while it was sent: try again")
            );
        }
        Ok(Blob {
            id: self.id,
            length: self.length,
            chunks,
        })
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
        return Err(hv_abi::Errno::EIO);
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
