//! Snapshots in claimed frames: the manifest, and the chunks of memory that are not all zero, packed with LZ4 one
//! behind the other.

use super::blobs::claim;
use crate::domain::Plan;
use crate::hypervisor::{Answer, Hypervisor};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::Errno;
use mgmt_proto::blob::{CHUNK, is_zero};
use mgmt_proto::messages::SnapshotSummary;

/// The longest label.
pub(crate) const LABEL_MAX: usize = 64;

/// A saved domain.
pub(crate) struct Snapshot<F> {
    pub(crate) domain: String,
    pub(crate) uuid: [u8; 16],
    pub(crate) saved_ns: Option<u64>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) memory_kib: u64,
    pub(crate) memory: Packed<F>,
    /// What the domain was built from: keeps its kernel for a reboot after the restore.
    pub(crate) plan: Rc<Plan<F>>,
}

/// All snapshots.
pub(crate) struct Snapshots<F> {
    known: BTreeMap<String, Rc<Snapshot<F>>>,
}

impl<F: AsRef<[u8]> + AsMut<[u8]>> Snapshots<F> {
    pub(crate) fn new() -> Self {
        Self {
            known: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, label: &str) -> Option<&Rc<Snapshot<F>>> {
        self.known.get(label)
    }

    pub(crate) fn add(&mut self, label: String, snapshot: Snapshot<F>) {
        self.known.insert(label, Rc::new(snapshot));
    }

    pub(crate) fn remove(&mut self, label: &str) -> bool {
        self.known.remove(label).is_some()
    }

    pub(crate) fn list(&self) -> Vec<SnapshotSummary> {
        let all = self.known.iter();
        all.map(|(label, snapshot)| SnapshotSummary {
            label: label.clone(),
            domain: snapshot.domain.clone(),
            uuid: snapshot.uuid,
            memory_kib: snapshot.memory_kib,
            stored_kib: snapshot.memory.stored_kib(),
            saved_ns: snapshot.saved_ns,
        })
        .collect()
    }
}

/// Packed chunks.
pub(crate) struct Packed<F> {
    frames: Vec<F>,
    used: usize,
    entries: Vec<Entry>,
}

/// A chunk that is not all zero.
#[derive(Clone, Copy, Debug)]
struct Entry {
    index: u32,
    place: usize,
    length: u32,
    packed: bool,
}

impl<F: AsRef<[u8]> + AsMut<[u8]>> Packed<F> {
    pub(crate) fn new() -> Self {
        Self {
            frames: Vec::new(),
            used: 0,
            entries: Vec::new(),
        }
    }

    /// Claimed memory, in KiB.
    pub(crate) fn stored_kib(&self) -> u64 {
        (self.frames.len() as u64).saturating_mul(CHUNK as u64 / 1024)
    }

    /// Adds the next chunk.
    pub(crate) fn push<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        index: u32,
        raw: &[u8],
    ) -> Answer<()> {
        if is_zero(raw) {
            return Ok(());
        }
        let small = lz4_flex::block::compress(raw);
        let packed = small.len() < raw.len();
        let bytes = if packed { small.as_slice() } else { raw };
        let place = self.used;
        self.append(hypervisor, bytes)?;
        self.entries.push(Entry {
            index,
            place,
            length: u32::try_from(bytes.len()).map_err(|_| Errno::E2BIG)?,
            packed,
        });
        Ok(())
    }

    fn append<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        mut bytes: &[u8],
    ) -> Answer<()> {
        while !bytes.is_empty() {
            let (frame, offset) = (self.used / CHUNK, self.used % CHUNK);
            if frame >= self.frames.len() {
                self.frames.push(claim(hypervisor)?);
            }
            let room = self
                .frames
                .get_mut(frame)
                .and_then(|frames| frames.as_mut().get_mut(offset..CHUNK))
                .ok_or(Errno::EIO)?;
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.used = self.used.saturating_add(count);
            bytes = later;
        }
        Ok(())
    }

    /// How many chunks there are that are not all zero.
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The `number`th of them: its index in the image and its bytes, which are `length(index)` bytes.
    pub(crate) fn chunk(
        &self,
        number: usize,
        length: impl FnOnce(u32) -> Option<usize>,
    ) -> Option<(u32, Vec<u8>)> {
        let entry = self.entries.get(number)?;
        let bytes = self.gather(entry)?;
        let length = length(entry.index)?;
        let raw = if entry.packed {
            lz4_flex::block::decompress(&bytes, length).ok()?
        } else {
            bytes
        };
        (raw.len() == length).then_some((entry.index, raw))
    }

    fn gather(&self, entry: &Entry) -> Option<Vec<u8>> {
        let length = usize::try_from(entry.length).ok()?;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let place = entry.place.checked_add(bytes.len())?;
            let frames = self.frames.get(place / CHUNK)?.as_ref();
            let rest = frames.get(place % CHUNK..CHUNK)?;
            let count = rest.len().min(length.saturating_sub(bytes.len()));
            bytes.extend_from_slice(rest.get(..count)?);
        }
        Some(bytes)
    }
}
