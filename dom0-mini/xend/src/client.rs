//! What a session holds besides its requests: references to blobs, uploads, manifests on their way.
//!
//! All of it is gone with the session.

use crate::restore::Incoming;
use crate::store::blobs::{Blob, Upload};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use mgmt_proto::blob::BlobId;
use mgmt_proto::messages::{ErrorCode, Failure};

/// Blobs a session refers to at most.
pub(crate) const HELD: usize = 16;

/// Uploads, saves and restores of a session at a time.
pub(crate) const AT_ONCE: usize = 4;

/// A session's things.
pub(crate) struct Client<F> {
    pub(crate) held: VecDeque<Rc<Blob<F>>>,
    pub(crate) uploads: BTreeMap<u32, Upload<F>>,
    pub(crate) incoming: VecDeque<Incoming>,
    next: u32,
}

impl<F> Client<F> {
    pub(crate) fn new() -> Self {
        Self {
            held: VecDeque::new(),
            uploads: BTreeMap::new(),
            incoming: VecDeque::new(),
            next: 1,
        }
    }

    /// A number for an upload, a save or a restore.
    pub(crate) fn number(&mut self) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        number
    }
}

impl<F: AsRef<[u8]>> Client<F> {
    /// Refers to a blob.
    pub(crate) fn hold(&mut self, blob: Rc<Blob<F>>) -> Result<(), Failure> {
        if self.find(&blob.id()).is_some() {
            return Ok(());
        }
        if self.held.len() >= HELD {
            let sentence = alloc::format!("a session refers to at most {HELD} blobs");
            return Err(Failure::new(ErrorCode::BUSY, sentence)
                .with_remedy("release some, or create the domain they are for"));
        }
        self.held.push_back(blob);
        Ok(())
    }

    /// A blob the session refers to.
    pub(crate) fn find(&self, id: &BlobId) -> Option<&Rc<Blob<F>>> {
        self.held.iter().find(|blob| blob.id() == *id)
    }

    /// Refers to it no more.
    pub(crate) fn release(&mut self, id: &BlobId) {
        self.held.retain(|blob| blob.id() != *id);
    }
}
