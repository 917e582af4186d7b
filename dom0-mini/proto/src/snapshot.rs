// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots: a domain's whole state as a manifest and chunks of memory.
//!
//! The [`Manifest`] is everything but memory. Memory is the domain's ranges one after the other, cut
//! into chunks ([`crate::blob`]); all-zero chunks are left out. The *root* names it all: the blake3 hash
//! of the encoded manifest and, for each chunk in rising order, its index (u32, little-endian) and name.
//!
//! A manifest read from outside is checked here as far as it can be without the host: form, bounds,
//! and memory ranges. What the records hold is judged by whoever made their kind, as guest input.

mod file;

pub use file::{FileError, Sink, SnapshotReader, SnapshotWriter, Source};

use crate::{
    blob::{self, BlobId, Digest},
    bound::{self, BoundError, Limits},
    messages::{MAX_CONFIG, MAX_NAME},
};
use alloc::{string::String, vec::Vec};
use core::fmt;
use minicbor::{Decode, Decoder, Encode};

/// The version of manifest and file.
pub const FORMAT: u16 = 1;

/// The longest encoded manifest, in bytes.
pub const MAX_MANIFEST: usize = 256 * 1024;

/// The extra that is xenstore's part.
pub const XENSTORE: &str = "xenstore";
/// The extra that names the kernel's blob.
pub const KERNEL: &str = "kernel";
/// The extra that names the ramdisk's blob.
pub const RAMDISK: &str = "ramdisk";

/// Bytes in a page.
const PAGE: u64 = 4096;

/// The most memory a snapshot may describe, in pages: 1 TiB.
const MAX_PAGES: u64 = 1 << 28;

/// The most vCPUs, as the hypervisor's tables are sized.
const MAX_VCPUS: u32 = 64;

const LIMITS: Limits = Limits {
    length: MAX_MANIFEST,
    nesting: 8,
    elements: 4096,
    text: 48 * 1024,
    bytes: 128 * 1024,
};

/// A domain's state but for its memory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// The version of this format: [`FORMAT`].
    #[n(0)]
    pub format: u16,
    /// The architecture: `aarch64` or `x86_64`.
    #[n(1)]
    pub arch: String,
    /// The domain's name.
    #[n(2)]
    pub name: String,
    /// Its configuration, as written.
    #[n(3)]
    pub config: String,
    /// Its UUID.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub uuid: [u8; 16],
    /// The domid it knows itself by.
    #[n(5)]
    pub guest_domid: u16,
    /// Its vCPUs.
    #[n(6)]
    pub vcpus: u32,
    /// What the records depend on beyond the architecture: `gicv3`, `gicv2`, `vmx`, `svm`.
    #[n(7)]
    pub platform: String,
    /// Its memory, in rising order.
    #[n(8)]
    pub memory: Vec<MemoryRange>,
    /// The frequency of the counter it sees, in Hz.
    #[n(9)]
    pub counter_hz: u64,
    /// The host's wall-clock time at the save, in nanoseconds since 1970; absent without a clock.
    #[n(10)]
    pub saved_ns: Option<u64>,
    /// The state of vCPUs and devices.
    #[n(11)]
    pub records: Vec<Record>,
    /// Its part of xenstore, parents before children.
    #[n(12)]
    pub xenstore: Vec<StoreNode>,
    /// What Domain-0 had taken from its rings and not dealt with, and other named bytes; a reader
    /// ignores names it does not know.
    #[n(13)]
    pub extra: Vec<Extra>,
}

/// Consecutive guest frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MemoryRange {
    /// The first guest frame number.
    #[n(0)]
    pub gfn: u64,
    /// How many frames of 4 KiB.
    #[n(1)]
    pub count: u64,
}

/// One piece of hypervisor state, as `hv-abi` defines it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// Which piece.
    #[n(0)]
    pub kind: u16,
    /// The version of its layout.
    #[n(1)]
    pub version: u16,
    /// Its vCPU, where it has one.
    #[n(2)]
    pub vcpu: u16,
    /// The body.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// One xenstore node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StoreNode {
    /// Its path, from `/local/domain/<guest domid>` on.
    #[n(0)]
    pub path: String,
    /// Its value.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
    /// Its permissions as xenstore writes them, separated by spaces, such as `n0 r3`.
    #[n(2)]
    pub permissions: String,
}

/// Named bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Extra {
    /// What they are, such as [`XENSTORE`].
    #[n(0)]
    pub name: String,
    /// The bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// It was written by a later release.
    Future(u16),
    /// It is malformed or too large.
    Bound(BoundError),
    /// It is not a manifest.
    Form(String),
    /// A field makes no sense.
    Field(&'static str),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Future(format) => write!(
                f,
                "the snapshot has format {format}, this release reads up to {FORMAT} (use the release that wrote it, or a later one)"
            ),
            Self::Bound(error) => write!(f, "the snapshot's manifest is damaged: {error}"),
            Self::Form(error) => write!(f, "the snapshot's manifest is damaged: {error}"),
            Self::Field(field) => write!(
                f,
                "the snapshot's manifest is damaged: its {field} makes no sense"
            ),
        }
    }
}

impl core::error::Error for ManifestError {}

impl Manifest {
    /// The bytes, refused where [`Manifest::decode`] would refuse them.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let bytes = crate::messages::encode(self);
        bound::check(&bytes, &LIMITS).map_err(ManifestError::Bound)?;
        Ok(bytes)
    }

    /// Reads and checks a manifest.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        bound::check(bytes, &LIMITS).map_err(ManifestError::Bound)?;
        if let Some(format) = peek_format(bytes).filter(|format| *format > FORMAT) {
            return Err(ManifestError::Future(format));
        }
        let manifest: Self = minicbor::decode(bytes)
            .map_err(|error| ManifestError::Form(alloc::format!("{error}")))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |field| Err(ManifestError::Field(field));
        if self.format != FORMAT {
            return wrong("format");
        }
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return wrong("name");
        }
        if self.config.len() > MAX_CONFIG {
            return wrong("configuration");
        }
        if !(1..=MAX_VCPUS).contains(&self.vcpus) || self.counter_hz == 0 {
            return wrong("vCPU count or counter frequency");
        }
        self.pages()
            .map(drop)
            .ok_or(ManifestError::Field("memory map"))
    }

    /// Pages in all, if the ranges rise, do not overlap and are not too much.
    fn pages(&self) -> Option<u64> {
        let mut end = 0;
        let mut pages = 0u64;
        for range in &self.memory {
            (range.gfn >= end && range.count > 0).then_some(())?;
            end = range.gfn.checked_add(range.count)?;
            (end <= u64::MAX / PAGE).then_some(())?;
            pages = pages.checked_add(range.count)?;
        }
        (1..=MAX_PAGES).contains(&pages).then_some(pages)
    }

    /// The memory image's length in bytes.
    #[must_use]
    pub fn memory_length(&self) -> u64 {
        self.pages().unwrap_or(0).saturating_mul(PAGE)
    }

    /// Chunks of the memory image, zero ones included.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        // At most 2^28 pages of 2^12 bytes in chunks of 2^16.
        u32::try_from(blob::chunk_count(self.memory_length())).unwrap_or(u32::MAX)
    }

    /// The length of one chunk of the memory image; none beyond its end.
    #[must_use]
    pub fn chunk_length(&self, index: u32) -> Option<usize> {
        blob::chunk_length(self.memory_length(), u64::from(index))
    }

    /// The extra bytes of this name.
    #[must_use]
    pub fn extra(&self, name: &str) -> Option<&[u8]> {
        self.extra
            .iter()
            .find(|extra| extra.name == name)
            .map(|extra| &extra.bytes[..])
    }

    /// The blob of what the domain was built from: [`KERNEL`] or [`RAMDISK`]. None for a member of a boot bundle.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<BlobId> {
        let bytes = self.extra(name)?.try_into().ok()?;
        Some(Digest(bytes))
    }
}

/// The format in `{0: format, …}`, whatever else a later release may write.
fn peek_format(bytes: &[u8]) -> Option<u16> {
    let mut decoder = Decoder::new(bytes);
    decoder.map().ok()?;
    (decoder.u32().ok()? == 0).then_some(())?;
    decoder.u16().ok()
}

/// A snapshot's root, as its chunks come.
#[derive(Clone, Debug)]
pub struct RootHasher(blake3::Hasher);

impl RootHasher {
    /// For a snapshot with this encoded manifest.
    #[must_use]
    pub fn new(manifest: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(manifest);
        Self(hasher)
    }

    /// The next chunk that is not all zero, in rising order.
    pub fn chunk(&mut self, index: u32, id: &Digest) {
        self.0.update(&index.to_le_bytes());
        self.0.update(&id.0);
    }

    /// The root.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// A manifest to test with: small, every field in use.
#[cfg(test)]
pub(crate) fn example() -> Manifest {
    use alloc::vec;
    Manifest {
        format: FORMAT,
        arch: "aarch64".into(),
        name: "debian".into(),
        config: "name = 'debian'\nmemory = 1\n".into(),
        uuid: *b"\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8",
        guest_domid: 3,
        vcpus: 1,
        platform: "gicv3".into(),
        memory: vec![
            MemoryRange {
                gfn: 0x40000,
                count: 40,
            },
            MemoryRange {
                gfn: 0x40100,
                count: 3,
            },
        ],
        counter_hz: 62_500_000,
        saved_ns: Some(1_790_000_000_000_000_000),
        records: vec![Record {
            kind: 1,
            version: 1,
            vcpu: 0,
            bytes: (0..80).collect(),
        }],
        xenstore: vec![StoreNode {
            path: "/local/domain/3/name".into(),
            value: b"debian".to_vec(),
            permissions: "n0 r3".into(),
        }],
        extra: vec![Extra {
            name: "console-out".into(),
            bytes: b"# ".to_vec(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_manifest_comes_back_as_it_went() {
        let manifest = example();
        let bytes = manifest.encode().unwrap();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        assert_eq!(manifest.memory_length(), 43 * 4096);
        assert_eq!(manifest.chunk_count(), 3);
        assert_eq!(manifest.chunk_length(2), Some(11 * 4096));
        assert_eq!(manifest.extra("console-out"), Some(&b"# "[..]));
    }

    #[test]
    fn one_from_the_future_is_told_apart_from_a_damaged_one() {
        let mut later = example();
        later.format = FORMAT + 1;
        let bytes = crate::messages::encode(&later);
        assert_eq!(
            Manifest::decode(&bytes),
            Err(ManifestError::Future(FORMAT + 1))
        );
        assert!(matches!(
            Manifest::decode(&bytes[..40]),
            Err(ManifestError::Bound(_))
        ));
        assert!(matches!(
            Manifest::decode(b"\xa1\x00\x01"),
            Err(ManifestError::Form(_))
        ));
    }

    #[test]
    fn memory_maps_that_make_no_sense_are_refused() {
        let range = |gfn, count| MemoryRange { gfn, count };
        for memory in [
            vec![],
            vec![range(5, 0)],
            vec![range(5, 2), range(6, 1)],
            vec![range(9, 1), range(5, 1)],
            vec![range(u64::MAX, 2)],
            vec![range(u64::MAX / 4096, 1)],
            vec![range(0, MAX_PAGES + 1)],
        ] {
            let bytes = crate::messages::encode(&Manifest {
                memory,
                ..example()
            });
            assert_eq!(
                Manifest::decode(&bytes),
                Err(ManifestError::Field("memory map"))
            );
        }
    }

    #[test]
    fn fields_that_make_no_sense_are_refused() {
        for bad in [
            Manifest {
                name: String::new(),
                ..example()
            },
            Manifest {
                vcpus: 0,
                ..example()
            },
            Manifest {
                vcpus: 65,
                ..example()
            },
            Manifest {
                counter_hz: 0,
                ..example()
            },
            Manifest {
                config: "#".repeat(MAX_CONFIG + 1),
                ..example()
            },
        ] {
            assert!(matches!(bad.encode(), Err(ManifestError::Field(_))));
            assert!(Manifest::decode(&crate::messages::encode(&bad)).is_err());
        }
    }

    #[test]
    fn any_flipped_bit_is_read_or_refused_without_a_panic() {
        let bytes = example().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let _ = Manifest::decode(&bad);
            assert_ne!(
                RootHasher::new(&bad).finish(),
                RootHasher::new(&bytes).finish()
            );
        }
    }
}
