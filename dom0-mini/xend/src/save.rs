//! Saving a domain: its records, its memory map, its part of xenstore, and then its memory chunk by chunk, to a client
//! that asks for it or into the store.
//!
//! The domain stands still all the while. Nothing is taken from it before the end: a save can be given up at any step,
//! and the domain runs on.

use crate::domain::Domain;
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::image::MemoryImage;
use crate::job::{Done, Step, Workshop};
use crate::refusal::refused;
use crate::session::{Sessions, Ticket};
use crate::store::content::Content;
use crate::store::snapshots::Packer;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use hv_abi::control::state::RECORD_MAX;
use hv_abi::record::Header;
use hv_abi::{DomId, Errno};
use mgmt_proto::blob::{Chunk, Digest, is_zero};
use mgmt_proto::messages::{
    ErrorCode, Failure, ManifestPiece, Reply, SaveRead, SaveStarted, SavedChunk,
};
use mgmt_proto::snapshot::{
    Extra, FORMAT, KERNEL, Manifest, MemoryRange, RAMDISK, Record, RootHasher, XENSTORE,
};
use zerocopy::FromBytes;

/// Ranges of memory a manifest holds at most.
const RANGES: usize = 4096;
/// Zero chunks looked at in one step.
const LOOKS: u32 = 8;
/// Messages that may wait for the client before more memory is read for it.
const AHEAD: usize = 2;

/// The host, as far as a snapshot depends on it.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    pub(crate) arch: String,
    pub(crate) platform: String,
    pub(crate) counter_hz: u64,
}

/// Whom a domain is saved for.
pub(crate) enum Purpose<F> {
    /// A client that reads it.
    Client {
        session: SessionId,
        number: u32,
        /// Waits for the manifest to be made.
        begin: Option<Ticket>,
    },
    /// The store, under this label.
    Store {
        label: String,
        ticket: Ticket,
        packer: Packer<F>,
    },
}

impl<F> Purpose<F> {
    /// The session that asked for it.
    pub(crate) fn session(&self) -> SessionId {
        match self {
            Self::Client { session, .. } => *session,
            Self::Store { ticket, .. } => ticket.session,
        }
    }
}

/// A save under way.
pub(crate) struct Save<F> {
    pub(crate) purpose: Purpose<F>,
    /// The operator had paused the domain before.
    pub(crate) was_paused: bool,
    host: Platform,
    stage: Stage,
    records: Vec<Record>,
    ranges: Vec<MemoryRange>,
    pub(crate) manifest: Vec<u8>,
    image: MemoryImage,
    root: RootHasher,
    hashed: u32,
    reads: VecDeque<Read>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Stage {
    Records { cursor: u64 },
    Ranges { gfn: u64 },
    Manifest,
    Pack { index: u32 },
    Serve,
}

/// A client's wish for the next chunk that is not all zero.
struct Read {
    ticket: Ticket,
    next: u32,
    end: u32,
}

impl<F: AsRef<[u8]> + AsMut<[u8]>> Save<F> {
    pub(crate) fn new(purpose: Purpose<F>, was_paused: bool, host: Platform) -> Self {
        Self {
            purpose,
            was_paused,
            host,
            stage: Stage::Records { cursor: 0 },
            records: Vec::new(),
            ranges: Vec::new(),
            manifest: Vec::new(),
            image: MemoryImage::default(),
            root: RootHasher::new(&[]),
            hashed: 0,
            reads: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    /// Whether this is the save that a session calls by this number.
    pub(crate) fn belongs_to(&self, who: SessionId, called: Option<u32>) -> bool {
        match &self.purpose {
            Purpose::Client {
                session, number, ..
            } => *session == who && called.is_none_or(|called| called == *number),
            Purpose::Store { ticket, .. } => called.is_none() && ticket.session == who,
        }
    }

    /// All who wait for an answer.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        let first = match &self.purpose {
            Purpose::Client { begin, .. } => *begin,
            Purpose::Store { ticket, .. } => Some(*ticket),
        };
        let reads = self.reads.iter().map(|read| read.ticket);
        first.into_iter().chain(reads).collect()
    }

    pub(crate) fn is_ready(&self, sessions: &Sessions) -> bool {
        match self.stage {
            Stage::Serve => self
                .reads
                .front()
                .is_some_and(|read| sessions.waiting(read.ticket.session) < AHEAD),
            _ => true,
        }
    }

    /// Memory of the domain in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        self.image.length() / 1024
    }

    /// A piece of the manifest.
    pub(crate) fn piece(&self, offset: u32) -> Reply {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.manifest.len());
        let rest = self.manifest.get(start..).unwrap_or_default();
        let bytes = rest
            .get(..mgmt_proto::messages::MAX_PIECE)
            .unwrap_or(rest)
            .to_vec();
        Reply::Manifest(ManifestPiece { bytes })
    }

    /// Notes a wish; it is served when the client has read what was sent before.
    pub(crate) fn read(&mut self, ticket: Ticket, wish: &SaveRead) -> Result<(), Failure> {
        if wish.index > self.hashed && self.reads.is_empty() {
            let sentence = format!(
                "memory is read in rising order: chunk {} is next",
                self.hashed
            );
            return Err(Failure::new(ErrorCode::BAD_REQUEST, sentence));
        }
        let end = wish.index.saturating_add(wish.limit.max(1));
        self.reads.push_back(Read {
            ticket,
            next: wish.index,
            end: end.min(self.image.chunks()),
        });
        Ok(())
    }

    /// Whether the client has read everything, and has what was read.
    pub(crate) fn check_root(&self, root: &Digest) -> Result<(), Failure> {
        let complete = matches!(self.stage, Stage::Serve) && self.hashed >= self.image.chunks();
        if !complete {
            let sentence = format!(
                "the save is not complete: {} of {} chunks were read",
                self.hashed,
                self.image.chunks()
            );
            return Err(Failure::new(ErrorCode::BAD_REQUEST, sentence));
        }
        if self.root.finish() != *root {
            let sentence = "what the client has is not what was read; the domain is kept";
            return Err(
                Failure::new(ErrorCode::BAD_SNAPSHOT, sentence).with_remedy("save it again")
            );
        }
        Ok(())
    }

    /// Does the next thing.
    pub(crate) fn step<H: Hypervisor<Frames = F>>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domain: &Domain<H>,
    ) -> Result<Step, Failure> {
        let Some(domid) = domain.domid else {
            return Err(refused("save the domain", Errno::ESRCH));
        };
        match self.stage {
            Stage::Records { cursor } => self.collect_records(shop.hypervisor, domid, cursor)?,
            Stage::Ranges { gfn } => self.collect_ranges(shop.hypervisor, domid, gfn)?,
            Stage::Manifest => self.make_manifest(shop, domain, domid)?,
            Stage::Pack { index } => return self.pack(shop.hypervisor, domid, index),
            Stage::Serve => return self.serve(shop, domid),
        }
        Ok(Step::More {
            done: 0,
            total: 0,
            what: "saving the state of vCPUs and devices",
        })
    }

    fn collect_records<H: Hypervisor>(
        &mut self,
        hypervisor: &mut H,
        domid: DomId,
        cursor: u64,
    ) -> Result<(), Failure> {
        let failed = |errno| refused("save the domain's state", errno);
        let mut buffer = vec![0; RECORD_MAX];
        let piece = hypervisor
            .save_records(domid, cursor, &mut buffer)
            .map_err(failed)?;
        let bytes = buffer.get(..piece.length).unwrap_or_default();
        split_records(bytes, &mut self.records).ok_or_else(|| failed(Errno::EIO))?;
        if !piece.last && piece.next <= cursor {
            return Err(failed(Errno::EIO));
        }
        self.stage = if piece.last {
            Stage::Ranges { gfn: 0 }
        } else {
            Stage::Records { cursor: piece.next }
        };
        Ok(())
    }

    fn collect_ranges<H: Hypervisor>(
        &mut self,
        hypervisor: &mut H,
        domid: DomId,
        gfn: u64,
    ) -> Result<(), Failure> {
        let failed = |errno| refused("list the domain's memory", errno);
        let found = hypervisor.next_extent(domid, gfn, 0).map_err(failed)?;
        let Some(run) = found else {
            self.stage = Stage::Manifest;
            return Ok(());
        };
        let end = run.gfn.saturating_add(run.count);
        if run.gfn < gfn || run.count == 0 {
            return Err(failed(Errno::EIO));
        }
        let full = self.ranges.len() >= RANGES;
        match self.ranges.last_mut() {
            Some(last) if last.gfn.saturating_add(last.count) == run.gfn => {
                last.count = last.count.saturating_add(run.count);
            }
            _ if full => {
                let sentence = "the domain's memory is in too many pieces to be saved";
                return Err(Failure::new(ErrorCode::BAD_SNAPSHOT, sentence));
            }
            _ => self.ranges.push(MemoryRange {
                gfn: run.gfn,
                count: run.count,
            }),
        }
        self.stage = Stage::Ranges { gfn: end };
        Ok(())
    }

    fn make_manifest<H: Hypervisor<Frames = F>>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domain: &Domain<H>,
        domid: DomId,
    ) -> Result<(), Failure> {
        let bad = |what: String| Failure::new(ErrorCode::BAD_SNAPSHOT, what);
        let xenstore = shop
            .xenstore
            .export(domid.0)
            .map_err(|error| bad(format!("{error}")))?;
        let manifest = Manifest {
            format: FORMAT,
            arch: self.host.arch.clone(),
            name: domain.name.clone(),
            config: domain.plan.text.clone(),
            uuid: domain.uuid,
            guest_domid: domain.guest_domid,
            vcpus: domain.plan.config.max_vcpus,
            platform: self.host.platform.clone(),
            memory: core::mem::take(&mut self.ranges),
            counter_hz: self.host.counter_hz,
            saved_ns: shop.now.wall_ns,
            records: core::mem::take(&mut self.records),
            xenstore: Vec::new(),
            extra: extras(xenstore, domain),
        };
        self.manifest = manifest
            .encode()
            .map_err(|error| bad(format!("the domain cannot be saved: {error}")))?;
        self.image = MemoryImage::new(&manifest.memory);
        self.root = RootHasher::new(&self.manifest);
        self.begin_memory(shop.sessions);
        Ok(())
    }

    fn begin_memory(&mut self, sessions: &mut Sessions) {
        let started = SaveStarted {
            save: 0,
            manifest_length: u32::try_from(self.manifest.len()).unwrap_or(u32::MAX),
            chunk_count: self.image.chunks(),
            memory_kib: self.memory_kib(),
        };
        match &mut self.purpose {
            Purpose::Store { .. } => self.stage = Stage::Pack { index: 0 },
            Purpose::Client { number, begin, .. } => {
                self.stage = Stage::Serve;
                if let Some(ticket) = begin.take() {
                    let reply = SaveStarted {
                        save: *number,
                        ..started
                    };
                    sessions.answer(ticket, Ok(Reply::SaveStarted(reply)));
                }
            }
        }
    }

    fn pack<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        domid: DomId,
        index: u32,
    ) -> Result<Step, Failure> {
        let failed = |errno| refused("keep the snapshot", errno);
        if index >= self.image.chunks() {
            return Ok(Step::Done(Done::Stored));
        }
        self.image
            .read(hypervisor, domid, index, &mut self.buffer)
            .map_err(|errno| refused("read the domain's memory", errno))?;
        if let Purpose::Store { packer, .. } = &mut self.purpose {
            if index == 0 {
                packer
                    .manifest(hypervisor, &self.manifest)
                    .map_err(failed)?;
            }
            packer
                .push(hypervisor, index, &self.buffer)
                .map_err(failed)?;
        }
        let next = index.saturating_add(1);
        self.stage = Stage::Pack { index: next };
        Ok(Step::More {
            done: u64::from(next).saturating_mul(64),
            total: self.memory_kib(),
            what: "KiB of memory saved",
        })
    }

    fn serve<H: Hypervisor>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domid: DomId,
    ) -> Result<Step, Failure> {
        let Some(mut read) = self.reads.pop_front() else {
            return Ok(Step::Wait);
        };
        let mut looks = 0;
        let chunk = loop {
            if read.next >= read.end {
                break None;
            }
            if looks >= LOOKS {
                self.reads.push_front(read);
                return Ok(Step::Wait);
            }
            looks = looks.saturating_add(1);
            let index = read.next;
            let got = self
                .image
                .read(shop.hypervisor, domid, index, &mut self.buffer);
            if let Err(errno) = got {
                // Put back, so that its client is answered with the others.
                self.reads.push_front(read);
                return Err(refused("read the domain's memory", errno));
            }
            read.next = index.saturating_add(1);
            let chunk = (!is_zero(&self.buffer)).then(|| Chunk::encode(&self.buffer));
            self.hash(index, chunk.as_ref());
            if chunk.is_some() {
                break chunk;
            }
        };
        let reply = SavedChunk {
            next: read.next,
            chunk,
        };
        shop.sessions
            .answer(read.ticket, Ok(Reply::SavedChunk(reply)));
        Ok(Step::Wait)
    }

    /// Chunks count once, in order, however often they are read.
    fn hash(&mut self, index: u32, chunk: Option<&Chunk>) {
        if index != self.hashed {
            return;
        }
        self.hashed = index.saturating_add(1);
        if let Some(chunk) = chunk {
            self.root.chunk(index, &chunk.id);
        }
    }
}

fn extras<H: Hypervisor>(xenstore: Vec<u8>, domain: &Domain<H>) -> Vec<Extra> {
    let image = |name: &str, content: Option<&Content<H::Frames>>| {
        let id = content.and_then(Content::id)?;
        Some(Extra {
            name: name.into(),
            bytes: id.0.to_vec(),
        })
    };
    let store = Extra {
        name: XENSTORE.into(),
        bytes: xenstore,
    };
    [
        Some(store),
        image(KERNEL, Some(&domain.plan.kernel)),
        image(RAMDISK, domain.plan.ramdisk.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Cuts the hypervisor's records apart; none if they are not records.
fn split_records(mut bytes: &[u8], into: &mut Vec<Record>) -> Option<()> {
    while !bytes.is_empty() {
        let (header, rest) = Header::read_from_prefix(bytes).ok()?;
        let length = usize::try_from(header.length).ok()?;
        let body = rest.get(..length)?;
        into.push(Record {
            kind: header.kind.0,
            version: header.version,
            vcpu: u16::try_from(header.vcpu).ok()?,
            bytes: body.to_vec(),
        });
        let padded = length.checked_next_multiple_of(8)?;
        bytes = rest.get(padded..).unwrap_or_default();
    }
    Some(())
}
