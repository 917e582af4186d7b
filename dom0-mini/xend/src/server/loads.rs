//! What needs a blob that is on the disk: it is read first, and then what was asked for is done as if it had been asked
//! just now.

use super::Xend;
use crate::domain::Key;
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::session::Ticket;
use crate::store::content::Content;
use crate::store::files::Kept;
use crate::store::keeper::Carried;
use crate::store::loads::End;
use crate::store::volume::VolumeError;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use mgmt_proto::blob::BlobId;
use mgmt_proto::messages::{ErrorCode, Failure, RequestBody};

/// What is done again.
#[derive(Debug)]
pub(crate) enum Again {
    /// A client's request.
    Request(Ticket, RequestBody),
    /// What follows a domain's end: it is to be built again.
    Rebuild(Key),
    /// The start of a managed domain, with xend.
    Autostart(String),
}

impl Again {
    /// Whether only this session wants it.
    pub(super) fn is_for(&self, session: SessionId) -> bool {
        matches!(self, Self::Request(ticket, _) if ticket.session == session && ticket.repeat.is_none())
    }
}

impl<H: Hypervisor> Xend<H> {
    /// Whether a blob is on the disk, and not in memory.
    pub(super) fn is_on_disk(&mut self, id: &BlobId) -> bool {
        matches!(self.files.blob(id), Some(Kept::Disk(_))) && self.blobs.find(id).is_none()
    }

    /// Whether a kernel or ramdisk can be had.
    pub(super) fn is_at_hand(&self, content: &Content<H::Frames>) -> bool {
        match content {
            Content::Blob(_) | Content::Bundle(_) => true,
            Content::Lost { id, .. } => id.is_some_and(|id| self.files.blob(&id).is_some()),
        }
    }

    /// Reads blobs from the disk, and then does something again.
    pub(super) fn load(&mut self, wanted: Vec<BlobId>, again: Again) {
        self.loads.add(wanted, again);
        self.advance_loads();
    }

    /// The keeper has read what was wanted, or not.
    pub(super) fn read(&mut self, result: Result<&Carried, &VolumeError>) {
        let end = match result {
            Ok(Carried::Read(bytes)) => self.loads.take(&mut self.hypervisor, &self.files, bytes),
            Ok(_) => self.loads.fail(unreadable("it was not read")),
            Err(error) => self.loads.fail(unreadable(&format!("{error}"))),
        };
        if let Some(end) = end {
            self.loaded(end);
        }
        self.advance_loads();
    }

    fn advance_loads(&mut self) {
        while let Some(end) = self.loads.advance(&self.files, &mut self.blobs) {
            self.loaded(end);
        }
    }

    fn loaded(&mut self, end: End<H::Frames, Again>) {
        match end {
            End::Ready(mut load) => {
                // What is loaded stays in memory until it is referred to.
                let there = load.take_blobs();
                self.do_again(load.again);
                drop(there);
            }
            End::Failed(Again::Request(ticket, _), failure) => {
                self.sessions.answer(ticket, Err(failure));
            }
            End::Failed(Again::Autostart(name), failure) => self.did_not_start(&name, &failure),
            End::Failed(Again::Rebuild(key), failure) => self.not_built_again(key, failure),
        }
    }

    fn do_again(&mut self, again: Again) {
        match again {
            Again::Request(ticket, body) => {
                if let Some(result) = self.dispatch(ticket, body) {
                    self.sessions.answer(ticket, result);
                }
            }
            Again::Rebuild(key) => self.gone(key),
            Again::Autostart(name) => self.start_with_xend(name),
        }
    }
}

fn unreadable(why: &str) -> Failure {
    let sentence = format!("the store cannot be read: {why}");
    Failure::new(ErrorCode::STORE, sentence).with_remedy("try again, and look after the disk")
}
