//! Blobs that are read from the disk, one after the other, and what is to be done again once they are in memory.

use super::blobs::{Blob, Blobs};
use super::files::{Kept, StoreFiles};
use super::transfer::Reading;
use crate::hypervisor::Hypervisor;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use mgmt_proto::blob::BlobId;
use mgmt_proto::messages::{ErrorCode, Failure};

/// Blobs for somebody.
pub(crate) struct Load<F, A> {
    wanted: VecDeque<BlobId>,
    reading: Option<Reading<F>>,
    /// Those that are there: nobody else may refer to them yet.
    there: Vec<Rc<Blob<F>>>,
    pub(crate) again: A,
}

impl<F, A> Load<F, A> {
    /// The blobs.
    pub(crate) fn take_blobs(&mut self) -> Vec<Rc<Blob<F>>> {
        core::mem::take(&mut self.there)
    }
}

/// All loads, the first one under way.
pub(crate) struct Loads<F, A> {
    waiting: VecDeque<Load<F, A>>,
}

/// How a load ended.
pub(crate) enum End<F, A> {
    /// Its blobs are in memory, as long as somebody refers to them.
    Ready(Load<F, A>),
    /// One of them cannot be had.
    Failed(A, Failure),
}

impl<F: AsRef<[u8]> + AsMut<[u8]>, A> Loads<F, A> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }

    /// Wants these blobs in memory.
    pub(crate) fn add(&mut self, wanted: Vec<BlobId>, again: A) {
        self.waiting.push_back(Load {
            wanted: wanted.into(),
            reading: None,
            there: Vec::new(),
            again,
        });
    }

    /// Drops the loads of which nobody needs to hear any more.
    pub(crate) fn retain(&mut self, is_needed: impl Fn(&A) -> bool) {
        self.waiting.retain(|load| is_needed(&load.again));
    }

    /// What to read from the disk now: a slot, and how much of it.
    pub(crate) fn wants(&self) -> Option<(u32, usize)> {
        self.waiting.front()?.reading.as_ref()?.wants()
    }

    /// Takes in what was read.
    pub(crate) fn take<H: Hypervisor<Frames = F>, T>(
        &mut self,
        hypervisor: &mut H,
        files: &StoreFiles<F, T>,
        bytes: &[u8],
    ) -> Option<End<F, A>> {
        let reading = self.waiting.front_mut()?.reading.as_mut()?;
        let taken = is_kept(files, reading).and_then(|()| reading.take(hypervisor, bytes));
        taken.err().and_then(|failure| self.fail(failure))
    }

    /// What was to be read cannot be.
    pub(crate) fn fail(&mut self, failure: Failure) -> Option<End<F, A>> {
        let load = self.waiting.pop_front()?;
        Some(End::Failed(load.again, failure))
    }

    /// Goes on until there is something to read, or a load has ended.
    pub(crate) fn advance<T>(
        &mut self,
        files: &StoreFiles<F, T>,
        blobs: &mut Blobs<F>,
    ) -> Option<End<F, A>> {
        loop {
            let load = self.waiting.front_mut()?;
            if let Some(reading) = load.reading.take_if(|reading| reading.wants().is_none()) {
                load.there.push(blobs.add(reading.finish()));
            }
            if load.reading.is_some() {
                return None;
            }
            let Some(id) = load.wanted.pop_front() else {
                return self.waiting.pop_front().map(End::Ready);
            };
            match (blobs.find(&id), files.blob(&id)) {
                (Some(blob), _) => load.there.push(blob),
                (None, Some(Kept::Memory(blob))) => load.there.push(Rc::clone(blob)),
                (None, Some(Kept::Disk(place))) => {
                    load.reading = Some(Reading::new(id, place.clone()));
                }
                (None, None) => return self.fail(deleted(&id)),
            }
        }
    }
}

/// Whether what is read is still what it was when that began.
fn is_kept<F: AsRef<[u8]> + AsMut<[u8]>, T>(
    files: &StoreFiles<F, T>,
    reading: &Reading<F>,
) -> Result<(), Failure> {
    let id = reading.id();
    match files.blob(&id) {
        Some(Kept::Disk(place)) if place == reading.place() => Ok(()),
        _ => Err(deleted(&id)),
    }
}

fn deleted(id: &BlobId) -> Failure {
    let sentence = format!("{id} was deleted from the store meanwhile");
    Failure::new(ErrorCode::STORE, sentence)
}
