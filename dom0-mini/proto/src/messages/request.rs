// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client can ask for.

use super::{
    domain::DomainRef,
    images::ImageAdd,
    managed::{Define, Redefine, Start},
    scheduling::{PinVcpu, SetScheduling},
};
use crate::{
    blob::{BlobId, Chunk, Digest},
    link,
};
use alloc::{string::String, vec::Vec};
use minicbor::{Decode, Encode};

/// What is asked for; each variant names the [`Reply`](super::Reply) it gets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum RequestBody {
    /// The host's facts → `Info`.
    #[n(0)]
    Info,
    /// All domains, Domain-0 first → `List`.
    #[n(1)]
    List,
    /// One domain in full → `Domain`.
    #[n(2)]
    Show(#[n(0)] DomainRef),
    /// The hypervisor's log → `Text`.
    #[n(3)]
    Dmesg(#[n(0)] Follow),
    /// xend's log → `Text`.
    #[n(4)]
    Log(#[n(0)] Follow),
    /// What happened to domains → `Events`.
    #[n(5)]
    Events(#[n(0)] Follow),
    /// xend's configuration as it is in force → `Text`.
    #[n(6)]
    ConfigShow,
    /// Turns the host off (false) or restarts it (true), domains and all → `Done`, if it gets out in time.
    #[n(7)]
    HostStop(#[n(0)] bool),
    /// The host and its domains, all at one moment → `Stats`.
    #[n(8)]
    Stats,
    /// Gives xend this configuration (`xend-config.sxp`), if there is no error in it → `Remarks`.
    #[n(9)]
    ConfigSet(#[n(0)] String),
    /// Reads a configuration and says what is to be said about it → `Remarks`.
    #[n(10)]
    ConfigCheck(#[n(0)] String),
    /// Makes a new store on Domain-0's disk → `Done`. False: only if there is none on it.
    #[n(11)]
    HostInit(#[n(0)] bool),

    /// Creates and starts a domain → `Created`, with progress.
    #[n(16)]
    Create(#[n(0)] Create),
    /// Stops a domain's vCPUs → `Done`.
    #[n(17)]
    Pause(#[n(0)] DomainRef),
    /// Lets them run again → `Done`.
    #[n(18)]
    Unpause(#[n(0)] DomainRef),
    /// Asks the guest to shut down → `Done`.
    #[n(19)]
    Shutdown(#[n(0)] Shutdown),
    /// Asks the guest to reboot → `Done`.
    #[n(20)]
    Reboot(#[n(0)] Shutdown),
    /// Takes a domain apart at once → `Done`, when all is returned.
    #[n(21)]
    Destroy(#[n(0)] DomainRef),
    /// Gives a domain another name → `Done`.
    #[n(22)]
    Rename(#[n(0)] Rename),

    /// What a domain used, down to its vCPUs → `Usage`.
    #[n(23)]
    Usage(#[n(0)] DomainRef),
    /// What each domain may use of the CPUs, Domain-0 first → `Scheduling`.
    #[n(24)]
    SchedulingList,
    /// Changes it for one domain → `Done`.
    #[n(25)]
    SchedulingSet(#[n(0)] SetScheduling),
    /// All vCPUs, Domain-0's first → `Vcpus`.
    #[n(26)]
    VcpuList,
    /// Says where vCPUs may run → `Done`.
    #[n(27)]
    VcpuPin(#[n(0)] PinVcpu),

    /// Keeps a domain's definition, without starting it → `Defined`.
    #[n(28)]
    New(#[n(0)] Define),
    /// Starts a managed domain → `Created`, with progress.
    #[n(29)]
    Start(#[n(0)] Start),
    /// Forgets the definition of a managed domain that does not run → `Done`.
    #[n(30)]
    Delete(#[n(0)] String),
    /// The definition of a managed domain → `Definition`.
    #[n(31)]
    DefinitionShow(#[n(0)] String),

    /// Console output from a cursor on → `Console`.
    #[n(32)]
    ConsoleRead(#[n(0)] ConsoleRead),
    /// Keys for a console → `Written`.
    #[n(33)]
    ConsoleWrite(#[n(0)] ConsoleWrite),
    /// Defines a managed domain anew, if it is as the client saw it → `Defined`.
    #[n(34)]
    DefinitionSet(#[n(0)] Redefine),

    /// Asks for a blob by its id: held at once if xend has it, else an upload begins → `Blob`.
    #[n(48)]
    BlobOpen(#[n(0)] BlobOpen),
    /// One chunk of an upload, in any order → `Done`.
    #[n(49)]
    BlobPut(#[n(0)] BlobPut),
    /// All chunks are there: checks the blob's id → `Held`.
    #[n(50)]
    BlobCommit(#[n(0)] u32),
    /// Gives an upload up → `Done`.
    #[n(51)]
    BlobAbort(#[n(0)] u32),
    /// This session no longer needs the blob → `Done`.
    #[n(52)]
    BlobRelease(#[n(0)] BlobId),
    /// All blobs → `Blobs`.
    #[n(53)]
    BlobList,
    /// A chunk of a blob, which this session holds then → `Chunk`.
    #[n(54)]
    BlobRead(#[n(0)] BlobRead),

    /// Stops a domain and prepares its state for reading → `SaveStarted`.
    #[n(64)]
    SaveBegin(#[n(0)] DomainRef),
    /// A piece of the manifest → `Manifest`.
    #[n(65)]
    SaveManifest(#[n(0)] SaveManifest),
    /// The next chunk of memory that is not all zero → `SavedChunk`.
    #[n(66)]
    SaveRead(#[n(0)] SaveRead),
    /// The client has everything, safely on disk, and says what it has: if the root matches what was
    /// read, the domain is destroyed → `Done`.
    #[n(67)]
    SaveCommit(#[n(0)] SaveCommit),
    /// Gives the save up: the domain runs on → `Done`.
    #[n(68)]
    SaveAbort(#[n(0)] u32),
    /// Saves into the host's store; the domain is gone then → `Saved`, with progress.
    #[n(69)]
    SaveToStore(#[n(0)] SaveToStore),

    /// Begins to restore a domain → `RestoreStarted`.
    #[n(80)]
    RestoreBegin(#[n(0)] RestoreBegin),
    /// A piece of the manifest, in order; the last one makes xend check it and reserve the domain's
    /// memory → `Done`.
    #[n(81)]
    RestoreManifest(#[n(0)] RestoreManifest),
    /// One chunk of memory, in rising order; chunks never put are zero → `Done`.
    #[n(82)]
    RestorePut(#[n(0)] RestorePut),
    /// All is there: if the root matches, the domain runs → `Created`.
    #[n(83)]
    RestoreCommit(#[n(0)] RestoreCommit),
    /// Gives the restore up → `Done`.
    #[n(84)]
    RestoreAbort(#[n(0)] u32),
    /// Restores from the host's store; the snapshot stays → `Created`, with progress.
    #[n(85)]
    RestoreFromStore(#[n(0)] RestoreFromStore),

    /// The store's snapshots → `Snapshots`.
    #[n(96)]
    SnapshotList,
    /// Deletes a snapshot from the store → `Done`.
    #[n(97)]
    SnapshotDelete(#[n(0)] String),

    /// Keeps an image → `Done`, with progress.
    #[n(112)]
    ImageAdd(#[n(0)] ImageAdd),
    /// The store's images → `Images`.
    #[n(113)]
    ImageList,
    /// One image in full → `Image`.
    #[n(114)]
    ImageShow(#[n(0)] String),
    /// Takes an image out of the store; what was made from it keeps what it needs → `Done`.
    #[n(115)]
    ImageRemove(#[n(0)] String),
}

impl RequestBody {
    /// The stream of a session it goes on, and its answer: chunks apart from the rest, and what follows
    /// a log or a console apart from keys.
    #[must_use]
    pub const fn stream(&self) -> u16 {
        match self {
            Self::BlobPut(_)
            | Self::BlobRead(_)
            | Self::SaveManifest(_)
            | Self::SaveRead(_)
            | Self::RestoreManifest(_)
            | Self::RestorePut(_) => link::STREAM_BULK,
            Self::Dmesg(_) | Self::Log(_) | Self::Events(_) | Self::ConsoleRead(_) => {
                link::STREAM_FOLLOW
            }
            _ => link::STREAM_CONTROL,
        }
    }

    /// Whether it changes something that outlives its session.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(
            self,
            Self::ConfigSet(_)
                | Self::HostInit(_)
                | Self::Create(_)
                | Self::Pause(_)
                | Self::Unpause(_)
                | Self::Shutdown(_)
                | Self::Reboot(_)
                | Self::Destroy(_)
                | Self::Rename(_)
                | Self::SchedulingSet(_)
                | Self::VcpuPin(_)
                | Self::New(_)
                | Self::Start(_)
                | Self::Delete(_)
                | Self::DefinitionSet(_)
                | Self::SaveToStore(_)
                | Self::RestoreFromStore(_)
                | Self::SnapshotDelete(_)
                | Self::ImageAdd(_)
                | Self::ImageRemove(_)
        )
    }
}

/// Reads on from a cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Follow {
    /// Where to go on; absent: from the oldest there is.
    #[n(0)]
    pub cursor: Option<u64>,
    /// How long to wait for something new before answering with nothing, in milliseconds.
    #[n(1)]
    pub wait_ms: u32,
}

/// A domain to create.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Create {
    /// The configuration text (`MAX_CONFIG` bytes at most), `key=value` overrides already appended.
    #[n(0)]
    pub config: String,
    /// The configuration's file name, for messages.
    #[n(1)]
    pub origin: String,
    /// The blobs that stand for files on the operator's side.
    #[n(2)]
    pub files: Vec<NamedBlob>,
    /// Leave it paused.
    #[n(3)]
    pub paused: bool,
}

/// A blob that stands for a file named in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NamedBlob {
    /// The configuration key: `kernel`, `ramdisk`.
    #[n(0)]
    pub key: String,
    /// The file's content, held by this session.
    #[n(1)]
    pub blob: BlobId,
    /// Its length in bytes.
    #[n(2)]
    pub length: u64,
}

/// A shutdown or reboot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Shutdown {
    /// Which domain.
    #[n(0)]
    pub domain: DomainRef,
    /// How long to wait until it has happened, in milliseconds; 0: answer once the guest is asked. When
    /// the time is over the answer is `TIMED_OUT`, and the request to the guest stands.
    #[n(1)]
    pub wait_ms: u32,
}

/// A new name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rename {
    /// Which domain.
    #[n(0)]
    pub domain: DomainRef,
    /// Its new name.
    #[n(1)]
    pub name: String,
}

/// Reads a console.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConsoleRead {
    /// Which domain; a name also finds the scrollback of a domain that is gone.
    #[n(0)]
    pub domain: DomainRef,
    /// Where to go on; absent: from the oldest there is.
    #[n(1)]
    pub cursor: Option<u64>,
    /// How long to wait for output before answering with none, in milliseconds.
    #[n(2)]
    pub wait_ms: u32,
    /// The most bytes wanted; xend may send fewer, and never more than `MAX_TEXT`.
    #[n(3)]
    pub max: u32,
}

/// Keys for a console.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConsoleWrite {
    /// Which domain.
    #[n(0)]
    pub domain: DomainRef,
    /// The keys, `MAX_CONSOLE_WRITE` at most.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// Asks for a blob.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobOpen {
    /// Its id.
    #[n(0)]
    pub id: BlobId,
    /// Its length in bytes.
    #[n(1)]
    pub length: u64,
}

/// One chunk of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobPut {
    /// Which upload.
    #[n(0)]
    pub upload: u32,
    /// Which chunk of the blob, from 0.
    #[n(1)]
    pub index: u32,
    /// The chunk.
    #[n(2)]
    pub chunk: Chunk,
}

/// Asks for a chunk of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobRead {
    /// Which blob.
    #[n(0)]
    pub id: BlobId,
    /// Which chunk of it, from 0.
    #[n(1)]
    pub index: u32,
}

/// Asks for a piece of a save's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SaveManifest {
    /// Which save.
    #[n(0)]
    pub save: u32,
    /// From which byte on.
    #[n(1)]
    pub offset: u32,
}

/// Asks for a chunk of a save's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SaveRead {
    /// Which save.
    #[n(0)]
    pub save: u32,
    /// The first chunk looked at.
    #[n(1)]
    pub index: u32,
    /// How many chunks xend may look at, to find one that is not all zero; it may stop earlier.
    #[n(2)]
    pub limit: u32,
}

/// Ends a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SaveCommit {
    /// Which save.
    #[n(0)]
    pub save: u32,
    /// The snapshot's root as the client computed it.
    #[n(1)]
    pub root: Digest,
}

/// Saves into the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SaveToStore {
    /// Which domain.
    #[n(0)]
    pub domain: DomainRef,
    /// The snapshot's name there; must be free.
    #[n(1)]
    pub label: String,
}

/// Begins a restore.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreBegin {
    /// The manifest's length in bytes.
    #[n(0)]
    pub manifest_length: u32,
    /// Leave the domain paused.
    #[n(1)]
    pub paused: bool,
    /// Another name than the saved one.
    #[n(2)]
    pub name: Option<String>,
}

/// A piece of the manifest of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreManifest {
    /// Which restore.
    #[n(0)]
    pub restore: u32,
    /// Where the piece belongs; equals the number of bytes sent so far.
    #[n(1)]
    pub offset: u32,
    /// The piece.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// One chunk of memory of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestorePut {
    /// Which restore.
    #[n(0)]
    pub restore: u32,
    /// Which chunk of the memory image.
    #[n(1)]
    pub index: u32,
    /// The chunk.
    #[n(2)]
    pub chunk: Chunk,
}

/// Ends a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreCommit {
    /// Which restore.
    #[n(0)]
    pub restore: u32,
    /// The snapshot's root.
    #[n(1)]
    pub root: Digest,
}

/// Restores from the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreFromStore {
    /// The snapshot's name there.
    #[n(0)]
    pub label: String,
    /// Leave the domain paused.
    #[n(1)]
    pub paused: bool,
    /// Another name than the saved one.
    #[n(2)]
    pub name: Option<String>,
}
