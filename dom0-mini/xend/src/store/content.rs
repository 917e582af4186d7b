//! A kernel or initrd, wherever it is.

use super::blobs::{Blob, Blobs};
use alloc::rc::Rc;
use alloc::string::String;
use mgmt_proto::blob::{BlobId, CHUNK, chunk_length};

/// The bytes of a kernel or initrd: a blob of the store or a file of the boot bundle.
pub(crate) enum Content<F> {
    /// Uploaded.
    Blob(Rc<Blob<F>>),
    /// In the boot bundle.
    Bundle(&'static [u8]),
    /// It was uploaded once and is not in memory any more; it may be on the disk, or come back.
    Lost {
        /// As the configuration names it.
        name: String,
        /// What it was.
        id: Option<BlobId>,
    },
}

impl<F> Clone for Content<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Blob(blob) => Self::Blob(Rc::clone(blob)),
            Self::Bundle(bytes) => Self::Bundle(bytes),
            Self::Lost { name, id } => Self::Lost {
                name: name.clone(),
                id: *id,
            },
        }
    }
}

/// One chunk of a [`Content`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many zero bytes.
    Zero(usize),
}

impl<F: AsRef<[u8]>> Content<F> {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Blob(blob) => blob.length(),
            Self::Bundle(bytes) => bytes.len() as u64,
            Self::Lost { .. } => 0,
        }
    }

    /// The blob, if it is one in memory.
    pub(crate) fn blob(&self) -> Option<&Rc<Blob<F>>> {
        match self {
            Self::Blob(blob) => Some(blob),
            Self::Bundle(_) | Self::Lost { .. } => None,
        }
    }

    /// What a snapshot notes about it: the blob's name.
    pub(crate) fn id(&self) -> Option<BlobId> {
        match self {
            Self::Blob(blob) => Some(blob.id()),
            Self::Bundle(_) => None,
            Self::Lost { id, .. } => *id,
        }
    }

    /// The same, found again if it was lost and somebody brought it back.
    pub(crate) fn found(&self, blobs: &mut Blobs<F>) -> Self {
        match self {
            Self::Lost { id: Some(id), .. } => {
                blobs.find(id).map_or_else(|| self.clone(), Self::Blob)
            }
            _ => self.clone(),
        }
    }

    /// Chunk `index`; none beyond the end.
    pub(crate) fn piece(&self, index: u64) -> Option<Piece<'_>> {
        let length = chunk_length(self.length(), index)?;
        let bytes = match self {
            Self::Blob(blob) => blob.chunk(index),
            Self::Bundle(bytes) => {
                let start = usize::try_from(index).ok()?.checked_mul(CHUNK)?;
                bytes.get(start..start.checked_add(length)?)
            }
            Self::Lost { .. } => None,
        };
        Some(bytes.map_or(Piece::Zero(length), Piece::Bytes))
    }

    /// The first bytes, at most a chunk.
    pub(crate) fn start(&self) -> &[u8] {
        match self.piece(0) {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }
}
