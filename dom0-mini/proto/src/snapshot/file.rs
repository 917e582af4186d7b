// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots in files.
//!
//! A file is the magic, then sections: one header (the manifest), the chunks in rising order, one
//! trailer (their number and the root), and nothing after it. A section is its kind (a byte), the length
//! of its body (u32, little-endian), the body (CBOR), and the CRC-32C of all that: so damage is found
//! where it is, a file that was cut off has no trailer, and the root tells whether it is all one.

use super::{MAX_MANIFEST, Manifest, ManifestError, RootHasher};
use crate::{
    blob::{CHUNK, Chunk, Digest},
    bound::{self, Limits},
    messages::encode,
};
use alloc::{vec, vec::Vec};
use core::fmt;
use crc::{CRC_32_ISCSI, Crc};
use minicbor::{Decode, Encode};

/// The first bytes of every snapshot file.
const MAGIC: &[u8; 16] = b"alcove-snapshot\n";

/// CRC-32C, Castagnoli's polynomial.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

const HEADER: u8 = 1;
const CHUNK_SECTION: u8 = 2;
const TRAILER: u8 = 3;

/// The longest body of a section.
const MAX_BODY: usize = MAX_MANIFEST + 64;

const LIMITS: Limits = Limits {
    length: MAX_BODY,
    nesting: 4,
    elements: 16,
    text: 0,
    bytes: MAX_MANIFEST as u64,
};

/// Where a snapshot is read from.
pub trait Source {
    /// What can go wrong.
    type Error;
    /// Reads some bytes; 0 at the end.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error>;
}

/// Where a snapshot is written to.
pub trait Sink {
    /// What can go wrong.
    type Error;
    /// Writes all bytes.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

impl Source for &[u8] {
    type Error = core::convert::Infallible;

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        let count = bytes.len().min(self.len());
        if let (Some(to), Some((from, rest))) =
            (bytes.get_mut(..count), self.split_at_checked(count))
        {
            to.copy_from_slice(from);
            *self = rest;
        }
        Ok(count)
    }
}

impl Sink for Vec<u8> {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError<E> {
    /// It cannot be read or written.
    Io(E),
    /// It is no snapshot at all.
    NotASnapshot,
    /// It ends too early.
    CutOff,
    /// Its bytes are not what was written.
    Damaged {
        /// Where, in bytes from the start.
        offset: u64,
    },
    /// A section this release does not know.
    Unknown(u8),
    /// Chunks that are out of order, beyond the memory, or missing.
    Chunks,
    /// The root does not match.
    Root,
    /// Something follows the end.
    Trailing,
    /// The manifest is refused.
    Manifest(ManifestError),
}

impl<E: fmt::Display> fmt::Display for FileError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotASnapshot => f.write_str("this is not a snapshot"),
            Self::CutOff => f.write_str("the snapshot is cut off: it was not written to its end"),
            Self::Damaged { offset } => write!(f, "the snapshot is damaged near byte {offset}"),
            Self::Unknown(kind) => write!(
                f,
                "the snapshot has a section of kind {kind}, unknown here (it was written by a later release)"
            ),
            Self::Chunks => f.write_str("the snapshot's memory is incomplete or out of order"),
            Self::Root => f.write_str("the snapshot's parts do not belong together"),
            Self::Trailing => f.write_str("the snapshot goes on after its end"),
            Self::Manifest(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for FileError<E> {}

/// The header's body.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Header {
    #[cbor(n(0), with = "minicbor::bytes")]
    manifest: Vec<u8>,
}

/// A chunk's body.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Placed {
    #[n(0)]
    index: u32,
    #[n(1)]
    chunk: Chunk,
}

/// The trailer's body.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Trailer {
    #[n(0)]
    chunks: u32,
    #[n(1)]
    root: Digest,
}

/// Writes a snapshot as its chunks come.
#[derive(Debug)]
pub struct SnapshotWriter<S> {
    sink: S,
    root: RootHasher,
    chunks: u32,
    next: u32,
}

impl<S: Sink> SnapshotWriter<S> {
    /// Begins a file with an encoded manifest.
    pub fn new(mut sink: S, manifest: &[u8]) -> Result<Self, FileError<S::Error>> {
        Manifest::decode(manifest).map_err(FileError::Manifest)?;
        sink.write_all(MAGIC).map_err(FileError::Io)?;
        write_section(
            &mut sink,
            HEADER,
            &encode(&Header {
                manifest: manifest.to_vec(),
            }),
        )?;
        Ok(Self {
            sink,
            root: RootHasher::new(manifest),
            chunks: 0,
            next: 0,
        })
    }

    /// Adds a chunk that is not all zero; indexes rise.
    pub fn chunk(&mut self, index: u32, chunk: Chunk) -> Result<(), FileError<S::Error>> {
        if index < self.next || chunk.id == Digest::ZERO {
            return Err(FileError::Chunks);
        }
        self.root.chunk(index, &chunk.id);
        self.next = index.saturating_add(1);
        self.chunks = self.chunks.saturating_add(1);
        write_section(
            &mut self.sink,
            CHUNK_SECTION,
            &encode(&Placed { index, chunk }),
        )
    }

    /// Ends the file; returns the sink, to be flushed, and the root.
    pub fn finish(mut self) -> Result<(S, Digest), FileError<S::Error>> {
        let root = self.root.finish();
        write_section(
            &mut self.sink,
            TRAILER,
            &encode(&Trailer {
                chunks: self.chunks,
                root,
            }),
        )?;
        Ok((self.sink, root))
    }
}

fn write_section<S: Sink>(sink: &mut S, kind: u8, body: &[u8]) -> Result<(), FileError<S::Error>> {
    let length = u32::try_from(body.len()).map_err(|_| FileError::Chunks)?;
    let mut section = Vec::with_capacity(body.len().saturating_add(9));
    section.push(kind);
    section.extend_from_slice(&length.to_le_bytes());
    section.extend_from_slice(body);
    let crc = CRC.checksum(&section);
    section.extend_from_slice(&crc.to_le_bytes());
    sink.write_all(&section).map_err(FileError::Io)
}

/// Reads a snapshot chunk by chunk. Chunks' content is not unpacked or hashed here; whoever places it
/// does that ([`Chunk::decode`]).
#[derive(Debug)]
pub struct SnapshotReader<S> {
    source: S,
    offset: u64,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    hasher: RootHasher,
    chunks: u32,
    next: u32,
    root: Option<Digest>,
}

impl<S: Source> SnapshotReader<S> {
    /// Opens a file and reads its manifest.
    pub fn new(mut source: S) -> Result<Self, FileError<S::Error>> {
        let mut offset = 0;
        let mut magic = [0; 16];
        fill(&mut source, &mut magic, &mut offset).map_err(|error| match error {
            FileError::CutOff => FileError::NotASnapshot,
            other => other,
        })?;
        if magic != *MAGIC {
            return Err(FileError::NotASnapshot);
        }
        let (kind, body) = read_section(&mut source, &mut offset)?;
        if kind != HEADER {
            return Err(FileError::Damaged { offset });
        }
        let Header {
            manifest: manifest_bytes,
        } = read_body(&body, offset)?;
        let manifest = Manifest::decode(&manifest_bytes).map_err(FileError::Manifest)?;
        let hasher = RootHasher::new(&manifest_bytes);
        Ok(Self {
            source,
            offset,
            manifest,
            manifest_bytes,
            hasher,
            chunks: 0,
            next: 0,
            root: None,
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as it is encoded in the file.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// The root, once [`Self::next_chunk`] has come to the end.
    pub fn root(&self) -> Option<Digest> {
        self.root
    }

    /// The next chunk and its index; none at the end, when everything has been checked.
    pub fn next_chunk(&mut self) -> Result<Option<(u32, Chunk)>, FileError<S::Error>> {
        if self.root.is_some() {
            return Ok(None);
        }
        match read_section(&mut self.source, &mut self.offset)? {
            (CHUNK_SECTION, body) => self.place(read_body(&body, self.offset)?).map(Some),
            (TRAILER, body) => self.end(&read_body(&body, self.offset)?).map(|()| None),
            (HEADER, _) => Err(FileError::Damaged {
                offset: self.offset,
            }),
            (kind, _) => Err(FileError::Unknown(kind)),
        }
    }

    fn place(&mut self, placed: Placed) -> Result<(u32, Chunk), FileError<S::Error>> {
        let Placed { index, chunk } = placed;
        let fits = index >= self.next && index < self.manifest.chunk_count();
        if !fits || chunk.id == Digest::ZERO || chunk.bytes.len() > CHUNK {
            return Err(FileError::Chunks);
        }
        self.hasher.chunk(index, &chunk.id);
        self.next = index.saturating_add(1);
        self.chunks = self.chunks.saturating_add(1);
        Ok((index, chunk))
    }

    fn end(&mut self, trailer: &Trailer) -> Result<(), FileError<S::Error>> {
        if trailer.chunks != self.chunks {
            return Err(FileError::Chunks);
        }
        if trailer.root != self.hasher.finish() {
            return Err(FileError::Root);
        }
        if self.source.read(&mut [0]).map_err(FileError::Io)? != 0 {
            return Err(FileError::Trailing);
        }
        self.root = Some(trailer.root);
        Ok(())
    }
}

fn read_section<S: Source>(
    source: &mut S,
    offset: &mut u64,
) -> Result<(u8, Vec<u8>), FileError<S::Error>> {
    let start = *offset;
    let damaged = Err(FileError::Damaged { offset: start });
    let mut head = [0; 5];
    fill(source, &mut head, offset)?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_BODY {
        return damaged;
    }
    let mut body = vec![0; length];
    fill(source, &mut body, offset)?;
    let mut crc = [0; 4];
    fill(source, &mut crc, offset)?;
    let mut digest = CRC.digest();
    digest.update(&head);
    digest.update(&body);
    if digest.finalize() != u32::from_le_bytes(crc) {
        return damaged;
    }
    Ok((kind, body))
}

fn read_body<'b, T: Decode<'b, ()>, E>(body: &'b [u8], offset: u64) -> Result<T, FileError<E>> {
    let damaged = FileError::Damaged { offset };
    bound::check(body, &LIMITS)
        .ok()
        .and_then(|()| minicbor::decode(body).ok())
        .ok_or(damaged)
}

fn fill<S: Source>(
    source: &mut S,
    bytes: &mut [u8],
    offset: &mut u64,
) -> Result<(), FileError<S::Error>> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = source.read(rest).map_err(FileError::Io)?;
        if count == 0 {
            return Err(FileError::CutOff);
        }
        *offset = offset.saturating_add(count as u64);
        rest = rest.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::example, *};

    fn memory(index: u32) -> Vec<u8> {
        (0..200u32)
            .map(|i| (i * (index + 3)) as u8)
            .chain(vec![0; 300])
            .collect()
    }

    fn file() -> (Vec<u8>, Digest) {
        let mut writer = SnapshotWriter::new(Vec::new(), &example().encode().unwrap()).unwrap();
        for index in [0, 2] {
            writer.chunk(index, Chunk::encode(&memory(index))).unwrap();
        }
        writer.finish().unwrap()
    }

    type Read = Result<(Manifest, Vec<(u32, Chunk)>, Digest), FileError<core::convert::Infallible>>;

    fn read(bytes: &[u8]) -> Read {
        let mut reader = SnapshotReader::new(bytes)?;
        let mut chunks = Vec::new();
        while let Some(placed) = reader.next_chunk()? {
            chunks.push(placed);
        }
        Ok((reader.manifest().clone(), chunks, reader.root().unwrap()))
    }

    #[test]
    fn a_file_comes_back_as_it_went() {
        let (bytes, root) = file();
        let (manifest, chunks, read_root) = read(&bytes).unwrap();
        assert_eq!((manifest, read_root), (example(), root));
        let raw: Vec<_> = chunks
            .iter()
            .map(|(i, chunk)| (*i, chunk.decode(500).unwrap()))
            .collect();
        assert_eq!(raw, [(0, memory(0)), (2, memory(2))]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (bytes, _) = file();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_noticed_and_so_is_more() {
        let (bytes, _) = file();
        for length in 0..bytes.len() {
            let expected = if length < 16 {
                FileError::NotASnapshot
            } else {
                FileError::CutOff
            };
            assert_eq!(read(&bytes[..length]).unwrap_err(), expected, "{length}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(read(&longer).unwrap_err(), FileError::Trailing);
        assert_eq!(
            read(b"#!/bin/sh\nexit 0\n").unwrap_err(),
            FileError::NotASnapshot
        );
    }

    #[test]
    fn chunks_out_of_place_are_refused() {
        let manifest = example().encode().unwrap();
        let mut writer = SnapshotWriter::new(Vec::new(), &manifest).unwrap();
        writer.chunk(1, Chunk::encode(&memory(1))).unwrap();
        assert_eq!(
            writer.chunk(1, Chunk::encode(&memory(1))),
            Err(FileError::Chunks)
        );
        assert_eq!(
            writer.chunk(2, Chunk::encode(&[0; 9])),
            Err(FileError::Chunks)
        );
        writer.chunk(3, Chunk::encode(&memory(3))).unwrap();
        let (beyond, _) = writer.finish().unwrap();
        assert_eq!(read(&beyond).unwrap_err(), FileError::Chunks);
    }

    #[test]
    fn a_chunk_that_was_exchanged_changes_the_root() {
        let (bytes, _) = file();
        let mut other = SnapshotWriter::new(Vec::new(), &example().encode().unwrap()).unwrap();
        other.chunk(0, Chunk::encode(&memory(7))).unwrap();
        other.chunk(2, Chunk::encode(&memory(2))).unwrap();
        let (other, _) = other.finish().unwrap();
        // The trailer is the last 9 + 4 + 35 bytes or so; take its body from the first file.
        let trailer = encode(&Trailer {
            chunks: 2,
            root: Digest::ZERO,
        })
        .len()
            + 9;
        let mixed = [
            &other[..other.len() - trailer],
            &bytes[bytes.len() - trailer..],
        ]
        .concat();
        assert_eq!(read(&mixed).unwrap_err(), FileError::Root);
    }

    #[test]
    fn a_section_of_a_later_release_is_named() {
        let (bytes, _) = file();
        let mut later = bytes[..bytes.len()
            - 9
            - encode(&Trailer {
                chunks: 2,
                root: Digest::ZERO,
            })
            .len()]
            .to_vec();
        write_section(&mut later, 9, &[0xa0]).unwrap();
        assert_eq!(read(&later).unwrap_err(), FileError::Unknown(9));
    }
}
