// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages between a client (xenman) and xend.
//!
//! A session carries [`ClientMessage`]s one way and [`ServerMessage`]s the other; `protocol.cddl` is
//! the published schema. What is true here:
//!
//! - The first message of a session is [`Hello`]; xend answers [`Welcome`] or refuses with a sentence.
//! - Every [`Request`] gets exactly one [`Response`] with the same id, on the stream it came on; a long
//!   one may get [`Progress`] first. Requests of one session may overlap; ids are the client's choice
//!   and must differ among those under way.
//! - Nothing is pushed. Who wants to follow a log or a console asks with a cursor and `wait_ms`
//!   ([`MAX_WAIT_MS`]); the answer carries the next cursor. So nobody needs an unbounded buffer, and a
//!   slow reader hurts nobody.
//! - Structures are maps with integer keys: a reader ignores keys it does not know, a field added later
//!   is optional. Enumerations that will grow (codes, states, kinds) are plain integers with constants.
//! - A request that changes something may carry a [`Token`]. If its session breaks before the answer, the
//!   client repeats it in another one with the same token: xend carries it out once, and gives the one
//!   answer to all. Within a session the link loses and doubles nothing.
//! - A session's end aborts its saves (the domain runs on), its restores and its uploads, and drops its
//!   references to blobs.

mod codec;
mod domain;
mod failure;
mod host;
mod images;
mod managed;
mod reply;
mod request;
mod scheduling;
mod stats;

use alloc::string::String;
use minicbor::{Decode, Encode};

pub use codec::{Rejected, decode_client, decode_server, encode, fuzz_message};
pub use domain::{
    DomainDetail, DomainFlags, DomainKind, DomainRef, DomainState, DomainSummary, Event, EventKind,
    NamedCount,
};
pub use failure::{ErrorCode, Failure};
pub use host::{BootPhase, HostInfo, StoreInfo, StorePlace};
pub use images::{
    Image, ImageAdd, ImagePart, ImageRole, ImageSummary, MAX_DESCRIPTION, MAX_IMAGE_NAME,
    MAX_TEMPLATE, check_image_name,
};
pub use managed::{Define, Defined, Definition, Redefine, Start};
pub use reply::{
    BlobHeld, BlobState, BlobSummary, ConsoleChunk, Created, Events, ManifestPiece, Remark, Reply,
    RestoreStarted, SaveStarted, Saved, SavedChunk, SnapshotSummary, TextChunk, Written,
};
pub use request::{
    BlobOpen, BlobPut, BlobRead, ConsoleRead, ConsoleWrite, Create, Follow, NamedBlob, Rename,
    RequestBody, RestoreBegin, RestoreCommit, RestoreFromStore, RestoreManifest, RestorePut,
    SaveCommit, SaveManifest, SaveRead, SaveToStore, Shutdown,
};
pub use scheduling::{DomainScheduling, PinVcpu, SetScheduling, VcpuSummary};
pub use stats::{DomainStats, DomainUsage, ExitCounts, HostStats, Stats, Totals, Usage, VcpuUsage};

/// The version of these messages. A change that an older peer would misread raises it.
pub const PROTOCOL_VERSION: u16 = 1;

/// The longest wait xend honours in a request, in milliseconds: well below the 30 s after which a
/// silent session ends. Larger values are treated as this one.
pub const MAX_WAIT_MS: u32 = 20_000;

/// The longest domain name, in bytes.
pub const MAX_NAME: usize = 64;

/// The longest configuration text of a domain, in bytes.
pub const MAX_CONFIG: usize = 32 * 1024;

/// The most bytes one [`ConsoleWrite`] may carry.
pub const MAX_CONSOLE_WRITE: usize = 4096;

/// The most bytes of a log or console in one answer: they share a stream's limit of 24 KiB.
pub const MAX_TEXT: usize = 16 * 1024;

/// The most bytes of a manifest in one message.
pub const MAX_PIECE: usize = 64 * 1024;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ClientMessage {
    /// Opens the session; nothing else is answered before it.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// Asks for something.
    #[n(1)]
    Request(#[n(0)] Request),
}

/// What xend sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ServerMessage {
    /// The session is open.
    #[n(0)]
    Welcome(#[n(0)] Welcome),
    /// The session is not opened, or is ended, for the reason given.
    #[n(1)]
    Refused(#[n(0)] Failure),
    /// The one answer to a request.
    #[n(2)]
    Response(#[n(0)] Response),
    /// How far a long request has come.
    #[n(3)]
    Progress(#[n(0)] Progress),
}

/// A client introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The protocol version the client speaks: [`PROTOCOL_VERSION`].
    #[n(0)]
    pub version: u16,
    /// The client's name and version, for xend's log and for who finds it in the way, such as
    /// `xenman 0.1.0 on ada`.
    #[n(1)]
    pub client: String,
}

/// xend introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The protocol version xend speaks in this session.
    #[n(0)]
    pub version: u16,
    /// xend's name and version, such as `xend 0.1.0`.
    #[n(1)]
    pub server: String,
    /// The board xend runs on, such as `qemu-virt`.
    #[n(2)]
    pub board: String,
    /// The host's architecture: `aarch64` or `x86_64`.
    #[n(3)]
    pub arch: String,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Request {
    /// Chosen by the client; unique among its requests under way. A request with the id of one under
    /// way is a repeat and is ignored.
    #[n(0)]
    pub id: u64,
    /// What is asked for.
    #[n(1)]
    pub body: RequestBody,
    /// Makes a repeat harmless, in another session too; random. Heeded for requests that change
    /// something ([`RequestBody::is_change`]); xend remembers the last 64 that were done.
    #[n(2)]
    pub token: Option<Token>,
}

/// Stands for one wish, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Token(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Response {
    /// The request's id.
    #[n(0)]
    pub id: u64,
    /// What came of it.
    #[n(1)]
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Outcome {
    /// It was done.
    #[n(0)]
    Done(#[n(0)] Reply),
    /// It was refused or failed; nothing of it remains.
    #[n(1)]
    Failed(#[n(0)] Failure),
}

impl From<Result<Reply, Failure>> for Outcome {
    fn from(result: Result<Reply, Failure>) -> Self {
        match result {
            Ok(reply) => Self::Done(reply),
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// An interim word about a long request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Progress {
    /// The request's id.
    #[n(0)]
    pub id: u64,
    /// Units done so far.
    #[n(1)]
    pub done: u64,
    /// Units in all; 0 when unknown.
    #[n(2)]
    pub total: u64,
    /// The unit and what it is for, such as `KiB written to store`.
    #[n(3)]
    pub what: String,
}
