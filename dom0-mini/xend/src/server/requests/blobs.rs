//! Requests about blobs.

use super::Outcome;
use crate::client::{AT_ONCE, Client};
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::server::Xend;
use crate::server::loads::Again;
use crate::session::Ticket;
use crate::store::blobs::Upload;
use alloc::format;
use alloc::string::String;
use mgmt_proto::blob::{BlobId, Chunk, chunk_length};
use mgmt_proto::messages::{
    BlobHeld, BlobOpen, BlobPut, BlobRead, BlobState, ErrorCode, Failure, Reply, RequestBody,
};

pub(super) fn no_session() -> Failure {
    Failure::new(ErrorCode::INTERRUPTED, "the session is over")
}

fn no_upload(upload: u32) -> Failure {
    let sentence = format!("there is no upload {upload} in this session");
    Failure::new(ErrorCode::BAD_BLOB, sentence)
}

impl<H: Hypervisor> Xend<H> {
    pub(in crate::server) fn client(
        &mut self,
        session: SessionId,
    ) -> Result<&mut Client<H::Frames>, Failure> {
        self.clients.get_mut(&session).ok_or_else(no_session)
    }

    pub(super) fn blob_open(&mut self, ticket: Ticket, open: BlobOpen) -> Outcome {
        if self.is_on_disk(&open.id) {
            let id = open.id;
            let again = Again::Request(ticket, RequestBody::BlobOpen(open));
            self.load([id].into(), again);
            return None;
        }
        Some(self.open_blob(ticket.session, &open))
    }

    fn open_blob(&mut self, session: SessionId, open: &BlobOpen) -> Result<Reply, Failure> {
        let found = self.blobs.find(&open.id);
        let client = self.client(session)?;
        if let Some(blob) = found.filter(|blob| blob.length() == open.length) {
            client.hold(blob)?;
            return Ok(Reply::Blob(BlobState {
                present: true,
                upload: None,
            }));
        }
        if client.uploads.len() >= AT_ONCE {
            let sentence = format!("a session has at most {AT_ONCE} uploads at a time");
            return Err(Failure::new(ErrorCode::BUSY, sentence));
        }
        let upload = Upload::new(open.id, open.length)?;
        let number = client.number();
        client.uploads.insert(number, upload);
        Ok(Reply::Blob(BlobState {
            present: false,
            upload: Some(number),
        }))
    }

    pub(super) fn blob_put(&mut self, session: SessionId, put: &BlobPut) -> Result<Reply, Failure> {
        let client = self.clients.get_mut(&session).ok_or_else(no_session)?;
        let upload = client.uploads.get_mut(&put.upload);
        let upload = upload.ok_or_else(|| no_upload(put.upload))?;
        upload.put(&mut self.hypervisor, put.index, &put.chunk)?;
        Ok(Reply::Done)
    }

    pub(super) fn blob_commit(
        &mut self,
        session: SessionId,
        upload: u32,
    ) -> Result<Reply, Failure> {
        let client = self.clients.get_mut(&session).ok_or_else(no_session)?;
        let upload = client
            .uploads
            .remove(&upload)
            .ok_or_else(|| no_upload(upload))?;
        let blob = self.blobs.add(upload.finish()?);
        let id = blob.id();
        client.hold(blob)?;
        Ok(Reply::Held(BlobHeld { id }))
    }

    pub(super) fn blob_abort(&mut self, session: SessionId, upload: u32) -> Result<Reply, Failure> {
        let client = self.client(session)?;
        let there = client.uploads.remove(&upload);
        there.map(|_| Reply::Done).ok_or_else(|| no_upload(upload))
    }

    pub(super) fn blob_read(&mut self, ticket: Ticket, read: BlobRead) -> Outcome {
        if self.is_on_disk(&read.id) {
            let again = Again::Request(ticket, RequestBody::BlobRead(read));
            self.load([read.id].into(), again);
            return None;
        }
        Some(self.read_blob(ticket.session, read))
    }

    /// A chunk of a blob in memory, which the session holds from then on: it is read from the disk once.
    fn read_blob(&mut self, session: SessionId, read: BlobRead) -> Result<Reply, Failure> {
        let found = self.blobs.find(&read.id);
        let bad = |sentence: String| Failure::new(ErrorCode::BAD_BLOB, sentence);
        let blob = found.ok_or_else(|| bad(format!("there is no blob {}", read.id)))?;
        let index = u64::from(read.index);
        if chunk_length(blob.length(), index).is_none() {
            return Err(bad(format!("the blob has no chunk {index}")));
        }
        // One that is all zero has no bytes.
        let chunk = Chunk::encode(blob.chunk(index).unwrap_or_default());
        self.client(session)?.hold(blob)?;
        Ok(Reply::Chunk(chunk))
    }

    pub(super) fn blob_release(
        &mut self,
        session: SessionId,
        id: &BlobId,
    ) -> Result<Reply, Failure> {
        self.client(session)?.release(id);
        Ok(Reply::Done)
    }
}
