// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fake xend takes and gives in chunks.

use super::{Answer, State, manifest};
use mgmt_proto::{
    blob::{CHUNK, Chunk, Digest, blob_id},
    messages::*,
    snapshot::RootHasher,
};
use std::collections::BTreeMap;

impl State {
    pub(super) fn blob_open(&mut self, open: &BlobOpen) -> Reply {
        let present = self.blobs.contains_key(&open.id);
        if !present {
            self.uploads.push((open.clone(), BTreeMap::new()));
        }
        let upload = (!present).then(|| self.uploads.len() as u32 - 1);
        Reply::Blob(BlobState { present, upload })
    }

    pub(super) fn blob_commit(&mut self, upload: u32) -> Result<Reply, Failure> {
        let (open, chunks) = &self.uploads[upload as usize];
        let length =
            |index: u32| mgmt_proto::blob::chunk_length(open.length, u64::from(index)).unwrap();
        let bytes: Vec<u8> = chunks
            .iter()
            .flat_map(|(index, chunk)| chunk.decode(length(*index)).unwrap())
            .collect();
        if blob_id(&bytes) != open.id {
            return Err(Failure::new(
                ErrorCode::BAD_BLOB,
                "the upload does not match its id",
            ));
        }
        let id = open.id;
        self.blobs.insert(id, bytes);
        Ok(Reply::Held(BlobHeld { id }))
    }

    pub(super) fn save_read(&mut self, read: SaveRead) -> Answer {
        if self.reads >= self.stall_after {
            return None;
        }
        self.reads += 1;
        let end = (read.index + read.limit).min(40);
        for index in read.index..end {
            let raw = &self.memory[index as usize * CHUNK..][..CHUNK];
            let chunk = Chunk::encode(raw);
            if chunk.id != Digest::ZERO {
                return Some(Ok(Reply::SavedChunk(SavedChunk {
                    next: index + 1,
                    chunk: Some(chunk),
                })));
            }
        }
        Some(Ok(Reply::SavedChunk(SavedChunk {
            next: end,
            chunk: None,
        })))
    }

    /// The root of the guest as it is.
    pub fn root(&self) -> Digest {
        let mut hasher = RootHasher::new(&manifest().encode().unwrap());
        for (index, raw) in (0u32..).zip(self.memory.chunks(CHUNK)) {
            let id = Digest::of_chunk(raw);
            if id != Digest::ZERO {
                hasher.chunk(index, &id);
            }
        }
        hasher.finish()
    }

    pub(super) fn save_commit(&mut self, commit: SaveCommit) -> Result<Reply, Failure> {
        if self.refuse_commit || commit.root != self.root() {
            return Err(Failure::new(
                ErrorCode::BAD_SNAPSHOT,
                "the root does not match",
            ));
        }
        self.remove(&DomainRef::Name("debian".into()))
    }

    pub(super) fn restore_commit(&mut self, commit: RestoreCommit) -> Result<Reply, Failure> {
        let restored = self
            .restored
            .iter()
            .all(|(index, raw)| self.memory[*index as usize * CHUNK..][..CHUNK] == raw[..]);
        let wanted = manifest().encode().unwrap();
        if !restored
            || self.restored.len() != 7
            || self.restore_manifest != wanted
            || commit.root != self.root()
        {
            return Err(Failure::new(
                ErrorCode::BAD_SNAPSHOT,
                "the root does not match",
            ));
        }
        Ok(self.add("debian"))
    }
}
