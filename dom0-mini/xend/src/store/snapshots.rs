//! Snapshots in the store: a file that describes one, and a blob with its manifest and, behind it, the chunks of memory
//! that are not all zero, each with a header in front, packed with LZ4 where that makes them smaller.

use super::blobs::{Blob, Writer};
use super::volume::File;
use crate::hypervisor::{Answer, Hypervisor};
use crate::versioned::{self, Version};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use hv_abi::Errno;
use mgmt_proto::blob::{BlobId, is_zero};
use mgmt_proto::messages::{SnapshotSummary, encode};
use mgmt_proto::snapshot::MAX_MANIFEST;
use minicbor::{Decode, Encode};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The longest label.
pub(crate) const LABEL_MAX: usize = 64;

/// Where the files are that describe snapshots; the rest of a path is the label.
pub(crate) const FOLDER: &str = "/var/lib/xend/snapshots/";

/// What a snapshot's file says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Record {
    /// Of this record and of what is in the blob.
    #[n(0)]
    pub(crate) version: Version<1>,
    /// The domain's name.
    #[n(1)]
    pub(crate) domain: String,
    /// The domain's UUID.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) uuid: [u8; 16],
    /// Wall-clock time, if the host had one.
    #[n(3)]
    pub(crate) saved_ns: Option<u64>,
    /// Memory of the domain.
    #[n(4)]
    pub(crate) memory_kib: u64,
    /// What it takes in the store.
    #[n(5)]
    pub(crate) stored_kib: u64,
    /// Bytes of the manifest.
    #[n(6)]
    pub(crate) manifest_length: u32,
    /// The manifest and the memory.
    #[n(7)]
    pub(crate) blob: BlobId,
}

impl Record {
    /// The file, which refers to its own blob and to those a reboot of the restored domain needs.
    pub(crate) fn file(&self, others: impl IntoIterator<Item = BlobId>) -> File {
        let mut blobs = vec![self.blob];
        blobs.extend(others);
        File {
            content: encode(self),
            blobs,
        }
    }

    /// Reads a file; none if it is not a snapshot's, or from the future.
    pub(crate) fn read(file: &File) -> Option<Self> {
        let record: Self = versioned::read(&file.content)?;
        let is_whole = file.blobs.contains(&record.blob);
        is_whole.then_some(record)
    }

    pub(crate) fn summary(&self, label: &str) -> SnapshotSummary {
        SnapshotSummary {
            label: label.into(),
            domain: self.domain.clone(),
            uuid: self.uuid,
            memory_kib: self.memory_kib,
            stored_kib: self.stored_kib,
            saved_ns: self.saved_ns,
        }
    }
}

/// In front of each chunk.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct Header {
    index: U32,
    /// Bytes that follow, and [`PACKED`].
    length: U32,
}

/// The bytes are an LZ4 block.
const PACKED: u32 = 1 << 31;

/// A snapshot that is made.
pub(crate) struct Packer<F>(Writer<F>);

impl<F: AsRef<[u8]> + AsMut<[u8]>> Packer<F> {
    pub(crate) fn new() -> Self {
        Self(Writer::new())
    }

    /// Puts the manifest in front.
    pub(crate) fn manifest<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        manifest: &[u8],
    ) -> Answer<()> {
        self.0.append(hypervisor, manifest)
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
        let (bytes, flag) = if small.len() < raw.len() {
            (small.as_slice(), PACKED)
        } else {
            (raw, 0)
        };
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::E2BIG)?;
        let header = Header {
            index: index.into(),
            length: (length | flag).into(),
        };
        self.0.append(hypervisor, header.as_bytes())?;
        self.0.append(hypervisor, bytes)
    }

    pub(crate) fn finish(self) -> Blob<F> {
        self.0.finish()
    }
}

/// A snapshot in memory.
pub(crate) struct Snapshot<F> {
    blob: Rc<Blob<F>>,
    manifest_length: u32,
}

/// A chunk of memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MemoryChunk {
    pub(crate) index: u32,
    pub(crate) raw: Vec<u8>,
    /// Where the next one is.
    pub(crate) next: u64,
}

impl<F: AsRef<[u8]>> Snapshot<F> {
    pub(crate) fn new(blob: Rc<Blob<F>>, manifest_length: u32) -> Self {
        Self {
            blob,
            manifest_length,
        }
    }

    /// The manifest; none if it is not there.
    pub(crate) fn manifest(&self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.manifest_length).ok()?;
        self.bytes(0, Some(length).filter(|length| *length <= MAX_MANIFEST)?)
    }

    /// Where the first chunk is.
    pub(crate) fn memory(&self) -> u64 {
        self.manifest_length.into()
    }

    /// Whether no chunk is there or behind.
    pub(crate) fn is_end(&self, place: u64) -> bool {
        place >= self.blob.length()
    }

    /// The chunk at `place`; `length` tells how long each of them must be. None if it is damaged.
    pub(crate) fn chunk(
        &self,
        place: u64,
        length: impl FnOnce(u32) -> Option<usize>,
    ) -> Option<MemoryChunk> {
        let header = self.bytes(place, size_of::<Header>())?;
        let header = Header::read_from_bytes(&header).ok()?;
        let (index, stored) = (header.index.get(), header.length.get() & !PACKED);
        let length = length(index)?;
        let stored = usize::try_from(stored).ok()?;
        let place = place.checked_add(size_of::<Header>() as u64)?;
        let bytes = self.bytes(place, Some(stored).filter(|stored| *stored <= length)?)?;
        let raw = if header.length.get() & PACKED == 0 {
            bytes
        } else {
            lz4_flex::block::decompress(&bytes, length).ok()?
        };
        let next = place.checked_add(stored as u64)?;
        (raw.len() == length).then_some(MemoryChunk { index, raw, next })
    }

    fn bytes(&self, place: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        (self.blob.read(place, &mut bytes) == length).then_some(bytes)
    }
}
