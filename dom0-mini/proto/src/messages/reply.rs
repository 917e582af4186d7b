// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xend answers.

use super::{
    domain::{DomainDetail, DomainSummary, Event},
    host::HostInfo,
    images::{Image, ImageSummary},
    managed::{Defined, Definition},
    scheduling::{DomainScheduling, VcpuSummary},
    stats::{DomainUsage, Stats},
};
use crate::blob::{BlobId, Chunk};
use alloc::{boxed::Box, string::String, vec::Vec};
use minicbor::{Decode, Encode};

/// What came of a request that was done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Reply {
    /// It was done; there is nothing to tell.
    #[n(0)]
    Done,
    /// The host's facts.
    #[n(1)]
    Info(#[n(0)] HostInfo),
    /// All domains.
    #[n(2)]
    List(#[n(0)] Vec<DomainSummary>),
    /// One domain.
    #[n(3)]
    Domain(#[n(0)] DomainDetail),
    /// A piece of a log.
    #[n(4)]
    Text(#[n(0)] TextChunk),
    /// What happened.
    #[n(5)]
    Events(#[n(0)] Events),
    /// A domain was created or restored.
    #[n(6)]
    Created(#[n(0)] Created),
    /// Console output.
    #[n(7)]
    Console(#[n(0)] ConsoleChunk),
    /// Keys were taken.
    #[n(8)]
    Written(#[n(0)] Written),
    /// A blob is there, or an upload has begun.
    #[n(9)]
    Blob(#[n(0)] BlobState),
    /// An upload is complete, and the session holds the blob.
    #[n(10)]
    Held(#[n(0)] BlobHeld),
    /// All blobs.
    #[n(11)]
    Blobs(#[n(0)] Vec<BlobSummary>),
    /// A save has begun.
    #[n(12)]
    SaveStarted(#[n(0)] SaveStarted),
    /// A piece of a manifest.
    #[n(13)]
    Manifest(#[n(0)] ManifestPiece),
    /// A chunk of saved memory.
    #[n(14)]
    SavedChunk(#[n(0)] SavedChunk),
    /// Saved into the store.
    #[n(15)]
    Saved(#[n(0)] Saved),
    /// A restore has begun.
    #[n(16)]
    RestoreStarted(#[n(0)] RestoreStarted),
    /// The store's snapshots.
    #[n(17)]
    Snapshots(#[n(0)] Vec<SnapshotSummary>),
    /// What is to be said about a configuration.
    #[n(18)]
    Remarks(#[n(0)] Vec<Remark>),
    /// The host and its domains at one moment.
    #[n(100)]
    Stats(#[n(0)] Stats),
    /// What a domain used.
    #[n(101)]
    Usage(#[n(0)] Box<DomainUsage>),
    /// What each domain may use of the CPUs.
    #[n(110)]
    Scheduling(#[n(0)] Vec<DomainScheduling>),
    /// All vCPUs.
    #[n(111)]
    Vcpus(#[n(0)] Vec<VcpuSummary>),
    /// A managed domain is defined.
    #[n(120)]
    Defined(#[n(0)] Defined),
    /// How a managed domain is defined.
    #[n(121)]
    Definition(#[n(0)] Definition),
    /// The store's images.
    #[n(130)]
    Images(#[n(0)] Vec<ImageSummary>),
    /// One image in full.
    #[n(131)]
    Image(#[n(0)] Box<Image>),
    /// A chunk of a blob.
    #[n(132)]
    Chunk(#[n(0)] Chunk),
}

/// Something to say about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Remark {
    /// It is an error; else a warning.
    #[n(0)]
    pub is_error: bool,
    /// Place and sentence.
    #[n(1)]
    pub text: String,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TextChunk {
    /// The cursor to go on from.
    #[n(0)]
    pub next: u64,
    /// Bytes between the cursor asked for and the first one here that are gone.
    #[n(1)]
    pub lost: u64,
    /// The text, `MAX_TEXT` bytes at most: it may begin or end within a character. Empty: nothing new.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub text: Vec<u8>,
}

/// A piece of a console's output.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConsoleChunk {
    /// The cursor to go on from.
    #[n(0)]
    pub next: u64,
    /// Bytes between the cursor asked for and the first one here that are gone.
    #[n(1)]
    pub lost: u64,
    /// The domain is gone, and there will be no more output after these bytes.
    #[n(2)]
    pub ended: bool,
    /// The output, `MAX_TEXT` bytes at most.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// What happened since a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Events {
    /// The cursor to go on from.
    #[n(0)]
    pub next: u64,
    /// Events that are gone.
    #[n(1)]
    pub lost: u64,
    /// The events, oldest first. Empty: nothing new.
    #[n(2)]
    pub events: Vec<Event>,
}

/// A new domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Created {
    /// Its host domid.
    #[n(0)]
    pub domid: u16,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// What the operator should know: unknown keys, keys without effect.
    #[n(2)]
    pub warnings: Vec<String>,
}

/// Keys were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Written {
    /// How many; fewer than sent when the guest does not read: send the rest again a little later.
    #[n(0)]
    pub count: u32,
}

/// Whether xend has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobState {
    /// It is there, and the session holds it now.
    #[n(0)]
    pub present: bool,
    /// It is not: the number of the upload that has begun.
    #[n(1)]
    pub upload: Option<u32>,
}

/// A complete upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobHeld {
    /// The blob's id.
    #[n(0)]
    pub id: BlobId,
}

/// One blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobSummary {
    /// Its id.
    #[n(0)]
    pub id: BlobId,
    /// Its length in bytes.
    #[n(1)]
    pub length: u64,
    /// Memory or disk it takes, in KiB.
    #[n(2)]
    pub stored_kib: u64,
    /// Who refers to it: domains, images, snapshots, sessions.
    #[n(3)]
    pub references: u32,
}

/// A save has begun; the domain stands still until `SaveCommit` or `SaveAbort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SaveStarted {
    /// The save's number in this session.
    #[n(0)]
    pub save: u32,
    /// The manifest's length in bytes.
    #[n(1)]
    pub manifest_length: u32,
    /// Chunks of the memory image, zero ones included.
    #[n(2)]
    pub chunk_count: u32,
    /// The domain's memory in KiB.
    #[n(3)]
    pub memory_kib: u64,
}

/// A piece of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ManifestPiece {
    /// The piece, from the offset asked for on, `MAX_PIECE` bytes at most; empty at the end.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// A chunk of saved memory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SavedChunk {
    /// The index to go on from; the chunk count at the end. All chunks from the index asked for up to
    /// here, but for the one below, are zero.
    #[n(0)]
    pub next: u32,
    /// The first chunk that is not all zero, if one was found; its index is `next - 1`.
    #[n(1)]
    pub chunk: Option<Chunk>,
}

/// A snapshot went into the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Saved {
    /// The snapshot's name there.
    #[n(0)]
    pub label: String,
    /// The domain's memory in KiB.
    #[n(1)]
    pub memory_kib: u64,
    /// What the store spends on it, in KiB.
    #[n(2)]
    pub stored_kib: u64,
}

/// A restore has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreStarted {
    /// The restore's number in this session.
    #[n(0)]
    pub restore: u32,
}

/// One snapshot in the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotSummary {
    /// Its name.
    #[n(0)]
    pub label: String,
    /// The saved domain's name.
    #[n(1)]
    pub domain: String,
    /// The saved domain's UUID.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub uuid: [u8; 16],
    /// Its memory in KiB.
    #[n(3)]
    pub memory_kib: u64,
    /// What the store spends on it, in KiB.
    #[n(4)]
    pub stored_kib: u64,
    /// The host's wall-clock time at the save, in nanoseconds since 1970; absent without a clock.
    #[n(5)]
    pub saved_ns: Option<u64>,
}
