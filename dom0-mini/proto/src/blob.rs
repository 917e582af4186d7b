// SPDX-License-Identifier: MIT OR Apache-2.0
//! Big things in small pieces: kernels, initrds, saved memory.
//!
//! A blob is cut into chunks of [`CHUNK`] bytes, the last one shorter. A chunk is named by the blake3
//! hash of its raw bytes; an all-zero chunk has the all-zero name and carries nothing. A blob is named
//! by the blake3 hash of its length (64-bit little-endian) and its chunks' names in order.

use alloc::{vec, vec::Vec};
use core::fmt;
use minicbor::{Decode, Encode};

/// Bytes in a chunk.
pub const CHUNK: usize = 64 * 1024;

/// A blake3 hash.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

/// A chunk's name: the hash of its raw bytes, or [`Digest::ZERO`] for an all-zero one.
pub type ChunkId = Digest;

/// A blob's name.
pub type BlobId = Digest;

impl Digest {
    /// The name of every all-zero chunk.
    pub const ZERO: Self = Self([0; 32]);

    /// The name of a chunk with these bytes.
    #[must_use]
    pub fn of_chunk(raw: &[u8]) -> Self {
        if is_zero(raw) {
            Self::ZERO
        } else {
            Self(*blake3::hash(raw).as_bytes())
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a chunk's bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Codec(#[n(0)] pub u8);

impl Codec {
    /// As they are.
    pub const RAW: Self = Self(0);
    /// An LZ4 block.
    pub const LZ4: Self = Self(1);
    /// All zero: no bytes at all.
    pub const ZERO: Self = Self(2);
}

/// A chunk on its way.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Chunk {
    /// How the bytes are packed.
    #[n(0)]
    pub codec: Codec,
    /// The name of the raw bytes.
    #[n(1)]
    pub id: ChunkId,
    /// The packed bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// Why a chunk is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// The codec is not known here.
    Codec(u8),
    /// It does not unpack to the length it must have.
    Length {
        /// The length it must have.
        expected: usize,
    },
    /// It does not unpack at all.
    Packed,
    /// It is not what its name says.
    Id,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(codec) => write!(f, "the chunk is packed in an unknown way ({codec})"),
            Self::Length { expected } => write!(f, "the chunk is not {expected} bytes long"),
            Self::Packed => f.write_str("the chunk cannot be unpacked"),
            Self::Id => f.write_str("the chunk's content does not match its hash"),
        }
    }
}

impl core::error::Error for ChunkError {}

impl Chunk {
    /// Packs `raw` ([`CHUNK`] bytes at most): nothing if all zero, LZ4 where that saves at least an
    /// eighth, else as it is.
    #[must_use]
    pub fn encode(raw: &[u8]) -> Self {
        let plain = Self::encode_raw(raw);
        if plain.codec == Codec::ZERO {
            return plain;
        }
        let packed = lz4_flex::block::compress(raw);
        if packed.len() > raw.len().saturating_sub(raw.len() / 8) {
            return plain;
        }
        Self {
            codec: Codec::LZ4,
            id: plain.id,
            bytes: packed,
        }
    }

    /// Takes `raw` as it is, but for an all-zero chunk: kernels and initrds are compressed already.
    #[must_use]
    pub fn encode_raw(raw: &[u8]) -> Self {
        let id = Digest::of_chunk(raw);
        if id == Digest::ZERO {
            return Self {
                codec: Codec::ZERO,
                id,
                bytes: Vec::new(),
            };
        }
        Self {
            codec: Codec::RAW,
            id,
            bytes: raw.to_vec(),
        }
    }

    /// The raw bytes, which must be `expected` (at most [`CHUNK`]) bytes and match the chunk's name.
    pub fn decode(&self, expected: usize) -> Result<Vec<u8>, ChunkError> {
        let length = ChunkError::Length { expected };
        if expected > CHUNK {
            return Err(length);
        }
        let raw = self.unpack(expected)?;
        if raw.len() != expected {
            return Err(length);
        }
        if Digest::of_chunk(&raw) != self.id {
            return Err(ChunkError::Id);
        }
        Ok(raw)
    }

    fn unpack(&self, expected: usize) -> Result<Vec<u8>, ChunkError> {
        match self.codec {
            Codec::RAW => Ok(self.bytes.clone()),
            Codec::LZ4 => {
                lz4_flex::block::decompress(&self.bytes, expected).map_err(|_| ChunkError::Packed)
            }
            Codec::ZERO if self.bytes.is_empty() => Ok(vec![0; expected]),
            Codec::ZERO => Err(ChunkError::Length { expected: 0 }),
            Codec(other) => Err(ChunkError::Codec(other)),
        }
    }
}

/// The number of chunks of a blob of `length` bytes.
#[must_use]
pub fn chunk_count(length: u64) -> u64 {
    length.div_ceil(CHUNK as u64)
}

/// The length of chunk `index` of a blob of `length` bytes; none beyond its end.
#[must_use]
pub fn chunk_length(length: u64, index: u64) -> Option<usize> {
    let start = index.checked_mul(CHUNK as u64)?;
    let left = length.checked_sub(start).filter(|left| *left > 0)?;
    usize::try_from(left.min(CHUNK as u64)).ok()
}

/// A blob's name, from its length and its chunks' names as they come.
#[derive(Clone, Debug)]
pub struct BlobHasher(blake3::Hasher);

impl BlobHasher {
    /// For a blob of `length` bytes.
    #[must_use]
    pub fn new(length: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&length.to_le_bytes());
        Self(hasher)
    }

    /// The next chunk's name, in order.
    pub fn chunk(&mut self, id: &ChunkId) {
        self.0.update(&id.0);
    }

    /// The blob's name.
    #[must_use]
    pub fn finish(&self) -> BlobId {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// The name of a blob that is at hand in full.
#[must_use]
pub fn blob_id(bytes: &[u8]) -> BlobId {
    let mut hasher = BlobHasher::new(bytes.len() as u64);
    bytes
        .chunks(CHUNK)
        .for_each(|raw| hasher.chunk(&Digest::of_chunk(raw)));
    hasher.finish()
}

/// Whether all bytes are zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|i| b"a domain, "[i % 10]).collect()
    }

    #[test]
    fn chunks_come_back_as_they_went() {
        let noise: Vec<u8> = (0..5000u32)
            .flat_map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes())
            .take(CHUNK)
            .collect();
        for raw in [
            text(CHUNK),
            text(1),
            vec![0; CHUNK],
            vec![0; 17],
            noise,
            Vec::new(),
        ] {
            for chunk in [Chunk::encode(&raw), Chunk::encode_raw(&raw)] {
                assert_eq!(chunk.decode(raw.len()).unwrap(), raw);
            }
        }
        assert_eq!(Chunk::encode(&text(CHUNK)).codec, Codec::LZ4);
        assert_eq!(Chunk::encode(&[0; 99]).codec, Codec::ZERO);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let chunk = Chunk::encode(&text(600));
        for bit in 0..chunk.bytes.len() * 8 {
            let mut bad = chunk.clone();
            bad.bytes[bit / 8] ^= 1 << (bit % 8);
            // A flip inside LZ4's match offsets may unpack to the very same bytes: that is no harm.
            assert!(
                bad.decode(600).map_or(true, |raw| raw == text(600)),
                "bit {bit}"
            );
        }
        let mut bad = chunk.clone();
        bad.id.0[3] ^= 1;
        assert_eq!(bad.decode(600), Err(ChunkError::Id));
    }

    #[test]
    fn lengths_and_codecs_are_checked() {
        let chunk = Chunk::encode(&text(600));
        assert!(
            chunk.decode(599).is_err()
                && chunk.decode(601).is_err()
                && chunk.decode(CHUNK + 1).is_err()
        );
        let unknown = Chunk {
            codec: Codec(9),
            ..chunk
        };
        assert_eq!(unknown.decode(600), Err(ChunkError::Codec(9)));
        let zero = Chunk {
            codec: Codec::ZERO,
            id: Digest::ZERO,
            bytes: vec![0],
        };
        assert_eq!(zero.decode(1), Err(ChunkError::Length { expected: 0 }));
    }

    #[test]
    fn a_blob_is_named_by_length_and_chunks() {
        let bytes = text(CHUNK + 10);
        let mut hasher = BlobHasher::new(bytes.len() as u64);
        hasher.chunk(&Digest::of_chunk(&bytes[..CHUNK]));
        hasher.chunk(&Digest::of_chunk(&bytes[CHUNK..]));
        assert_eq!(hasher.finish(), blob_id(&bytes));
        assert_ne!(blob_id(&[0; 5]), blob_id(&[0; 6]));
        assert_eq!((chunk_count(0), chunk_count(CHUNK as u64 + 1)), (0, 2));
        assert_eq!(chunk_length(CHUNK as u64 + 10, 1), Some(10));
        assert_eq!(chunk_length(CHUNK as u64 + 10, 2), None);
    }
}
