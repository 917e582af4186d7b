// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unpacks what kernels and initrds come packed in.

use super::{Bytes, gzip};
use std::{
    fmt,
    io::{self, Read},
};

/// The most bytes a kernel or initrd may unpack to.
pub(super) const MAX_UNPACKED: usize = 1 << 30;

/// The most bytes of one block of an LZ4 legacy frame.
const LZ4_BLOCK: usize = 8 << 20;

/// What is wrong with packed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// They end too early.
    CutOff,
    /// They are not what was packed.
    Damaged,
    /// They unpack to more than [`MAX_UNPACKED`].
    TooLarge,
    /// They are packed in a way that is known but not supported.
    Unsupported(&'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff => f.write_str("it is cut off"),
            Self::Damaged => f.write_str("it is damaged and cannot be unpacked"),
            Self::TooLarge => f.write_str("it unpacks to more than 1 GiB"),
            Self::Unsupported(what) => {
                write!(f, "it is packed with {what}, which is not supported")
            }
        }
    }
}

/// How something is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Xz,
    /// The legacy frame that kernels use.
    Lz4,
    Bzip2,
    Lzma,
}

impl Packing {
    /// How these bytes are packed, if they are.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let packings: [(&[u8], Self); 6] = [
            (&[0x1f, 0x8b, 8], Self::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Self::Xz),
            (&[0x02, 0x21, 0x4c, 0x18], Self::Lz4),
            (b"BZh", Self::Bzip2),
            (&[0x5d, 0, 0], Self::Lzma),
        ];
        packings
            .iter()
            .find(|(magic, _)| bytes.starts_with(magic))
            .map(|(_, packing)| *packing)
    }

    /// Unpacks all of `bytes`.
    pub(super) fn unpack(self, bytes: &[u8]) -> Result<Vec<u8>, Broken> {
        match self {
            Self::Gzip => {
                let mut unpacked = Vec::new();
                gzip::member(bytes, |piece| append(&mut unpacked, piece))?;
                Ok(unpacked)
            }
            Self::Zstd => {
                let reader =
                    ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|_| Broken::Damaged)?;
                read(reader)
            }
            Self::Xz => read(lzma_rust2::XzReader::new(bytes, false)),
            Self::Lz4 => lz4(bytes),
            Self::Bzip2 => Err(Broken::Unsupported("bzip2")),
            Self::Lzma => Err(Broken::Unsupported("lzma")),
        }
    }
}

pub(super) fn append(unpacked: &mut Vec<u8>, piece: &[u8]) -> Result<(), Broken> {
    if unpacked.len().saturating_add(piece.len()) > MAX_UNPACKED {
        return Err(Broken::TooLarge);
    }
    unpacked.extend_from_slice(piece);
    Ok(())
}

fn read(reader: impl Read) -> Result<Vec<u8>, Broken> {
    let mut unpacked = Vec::new();
    let mut limited = reader.take(MAX_UNPACKED as u64 + 1);
    match limited.read_to_end(&mut unpacked) {
        Ok(count) if count > MAX_UNPACKED => Err(Broken::TooLarge),
        Ok(_) => Ok(unpacked),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Broken::CutOff),
        Err(_) => Err(Broken::Damaged),
    }
}

fn lz4(bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut unpacked = Vec::new();
    let mut at = 4usize;
    while let Some(length) = Bytes(bytes).u32(at) {
        at = at.saturating_add(4);
        let Some(block) = Bytes(bytes).slice(at, length) else {
            // The kernel's build appends the unpacked length: four bytes that are no block.
            let is_length = at == bytes.len() && length == unpacked.len();
            return if is_length {
                Ok(unpacked)
            } else {
                Err(Broken::CutOff)
            };
        };
        let piece = lz4_flex::block::decompress(block, LZ4_BLOCK).map_err(|_| Broken::Damaged)?;
        append(&mut unpacked, &piece)?;
        at = at.saturating_add(length);
    }
    if at == bytes.len() {
        Ok(unpacked)
    } else {
        Err(Broken::CutOff)
    }
}
