// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fake xend knows, and how it answers.

mod definitions;
mod transfers;

use super::{images, unknown, usage};
use mgmt_proto::{
    blob::{BlobId, CHUNK, Chunk},
    messages::*,
    snapshot::{Manifest, MemoryRange},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

type Answer = Option<Result<Reply, Failure>>;

pub struct State {
    pub domains: Vec<DomainSummary>,
    /// What the console of the guest said.
    pub console: Vec<u8>,
    /// What was typed.
    pub typed: Vec<u8>,
    /// The guest reboots: it is not there until then.
    away_until: Option<Instant>,
    pub blobs: BTreeMap<BlobId, Vec<u8>>,
    uploads: Vec<(BlobOpen, BTreeMap<u32, Chunk>)>,
    pub chunks_put: usize,
    pub created: Vec<Create>,
    pub defined: BTreeMap<String, Define>,
    pub images: BTreeMap<String, ImageAdd>,
    /// Chunks of blobs arrive with a bit flipped.
    pub damages_chunks: bool,
    /// Who changes a definition while it is edited.
    pub faster: Option<String>,
    pub paused_restore: Option<bool>,
    /// The guest's memory, and what was restored.
    pub memory: Vec<u8>,
    pub restored: BTreeMap<u32, Vec<u8>>,
    restore_manifest: Vec<u8>,
    pub reads: usize,
    /// Answer no further reads of a save.
    pub stall_after: usize,
    /// Do not answer these requests, and note that one came.
    pub stall: Option<fn(&RequestBody) -> bool>,
    pub is_stalled: bool,
    pub saves_aborted: usize,
    pub restores_aborted: usize,
    pub refuse_commit: bool,
    pub sessions_ended: usize,
    pub refuse_hello: Option<Failure>,
    pub log: Vec<u8>,
    samples: u64,
}

fn summary(domid: u16, name: &str, kind: DomainKind) -> DomainSummary {
    DomainSummary {
        domid,
        name: name.into(),
        uuid: [domid as u8; 16],
        kind,
        state: DomainState::BLOCKED,
        vcpus: 1,
        memory_kib: 65536,
        cpu_ns: 1_500_000_000,
        age_ns: 2,
        flags: DomainFlags::default(),
    }
}

/// The guest's manifest: 40 pages, two and a half chunks.
pub fn manifest() -> Manifest {
    Manifest {
        format: 1,
        arch: "aarch64".into(),
        name: "debian".into(),
        config: "name='debian'".into(),
        uuid: [3; 16],
        guest_domid: 3,
        vcpus: 1,
        platform: "gicv3".into(),
        memory: vec![MemoryRange {
            gfn: 0x40000,
            count: 40 * 16,
        }],
        counter_hz: 62_500_000,
        saved_ns: None,
        records: Vec::new(),
        xenstore: Vec::new(),
        extra: Vec::new(),
    }
}

impl State {
    pub fn new() -> Self {
        let mut memory = vec![0; 40 * CHUNK];
        // Some full, some empty, some dense.
        for chunk in [0usize, 1, 2, 3, 17, 18, 39] {
            let bytes = &mut memory[chunk * CHUNK..(chunk + 1) * CHUNK];
            bytes
                .iter_mut()
                .enumerate()
                .for_each(|(i, byte)| *byte = (i * (chunk + 3) % 251) as u8);
        }
        Self {
            domains: vec![
                summary(0, "Domain-0", DomainKind::CONTROL),
                summary(3, "debian", DomainKind::PVH),
            ],
            console: b"Linux version 6\x1b[6n\r\n~ # ".to_vec(),
            typed: Vec::new(),
            away_until: None,
            blobs: BTreeMap::new(),
            uploads: Vec::new(),
            chunks_put: 0,
            created: Vec::new(),
            defined: BTreeMap::new(),
            images: BTreeMap::new(),
            damages_chunks: false,
            faster: None,
            paused_restore: None,
            memory,
            restored: BTreeMap::new(),
            restore_manifest: Vec::new(),
            reads: 0,
            stall_after: usize::MAX,
            stall: None,
            is_stalled: false,
            saves_aborted: 0,
            restores_aborted: 0,
            refuse_commit: false,
            sessions_ended: 0,
            refuse_hello: None,
            log: b"xend: started\nxend: ready\n".to_vec(),
            samples: 0,
        }
    }

    pub fn session_ended(&mut self) {
        self.sessions_ended += 1;
    }

    pub fn find(&self, domain: &DomainRef) -> Result<&DomainSummary, Failure> {
        let is_it = |it: &&DomainSummary| match domain {
            DomainRef::Id(domid) => it.domid == *domid,
            DomainRef::Name(name) => it.name == *name,
        };
        self.domains.iter().find(is_it).ok_or_else(unknown)
    }

    fn scheduling(&self) -> Vec<DomainScheduling> {
        let of = |domain: &DomainSummary| DomainScheduling {
            domid: domain.domid,
            name: domain.name.clone(),
            weight: 256,
            cap: u32::from(domain.domid) * 10,
        };
        self.domains.iter().map(of).collect()
    }

    fn vcpus(&self) -> Vec<VcpuSummary> {
        let of = |domain: &DomainSummary| VcpuSummary {
            domid: domain.domid,
            name: domain.name.clone(),
            vcpu: 0,
            state: Some(domain.state),
            cpu: 1,
            cpu_ns: domain.cpu_ns,
            affinity: if domain.domid == 0 { 0b1111 } else { 0b1010 },
        };
        self.domains.iter().map(of).collect()
    }

    fn usage(&mut self, domain: &DomainRef) -> Result<Reply, Failure> {
        let domid = self.find(domain)?.domid;
        let vcpu = self.vcpus().into_iter().find(|vcpu| vcpu.domid == domid);
        let stats = self.stats().domains.into_iter();
        let mut stats = stats.filter(|stats| stats.summary.domid == domid);
        Ok(usage::reply(stats.next().unwrap(), vcpu.unwrap()))
    }

    fn remove(&mut self, domain: &DomainRef) -> Result<Reply, Failure> {
        let domid = self.find(domain)?.domid;
        self.domains.retain(|domain| domain.domid != domid);
        Ok(Reply::Done)
    }

    fn set(&mut self, domain: &DomainRef, state: DomainState) -> Result<Reply, Failure> {
        let domid = self.find(domain)?.domid;
        self.domains
            .iter_mut()
            .filter(|domain| domain.domid == domid)
            .for_each(|domain| domain.state = state);
        Ok(Reply::Done)
    }

    /// The answer, if it is time for one.
    pub fn answer(&mut self, body: &RequestBody, waited: Duration) -> Answer {
        if self.away_until.is_some_and(|until| until <= Instant::now()) {
            self.away_until = None;
            self.domains.push(summary(4, "debian", DomainKind::PVH));
            self.console.extend_from_slice(b"\r\nsecond life\r\n");
        }
        if self.stall.is_some_and(|stalls| stalls(body)) {
            self.is_stalled = true;
            return None;
        }
        Some(match body {
            RequestBody::Info => Ok(Reply::Info(info())),
            RequestBody::ConfigShow => Ok(Reply::Text(TextChunk {
                next: 37,
                lost: 0,
                text: b"(loglevel INFO)\n(default-bridge br7)\n".to_vec(),
            })),
            RequestBody::ConfigSet(text) if text.contains("LOUD") => {
                Err(Failure::new(ErrorCode::BAD_CONFIG, "1:11: error: loglevel"))
            }
            RequestBody::ConfigSet(text) | RequestBody::ConfigCheck(text) => {
                Ok(Reply::Remarks(remarks(text)))
            }
            RequestBody::HostInit(true) => Ok(Reply::Done),
            RequestBody::HostInit(false) => Err(Failure::new(
                ErrorCode::REFUSED,
                "the host has a store already",
            )
            .with_remedy("'xenman host init --force' makes a new one")),
            RequestBody::Stats => Ok(Reply::Stats(self.stats())),
            RequestBody::List => Ok(Reply::List(self.domains.clone())),
            RequestBody::Show(domain) => self.find(domain).map(|summary| {
                Reply::Domain(DomainDetail {
                    summary: summary.clone(),
                    config: String::new(),
                    counters: vec![NamedCount {
                        name: "refused calls".to_owned(),
                        count: 3,
                    }],
                    guest_domid: None,
                    totals: Some(usage::totals()),
                })
            }),
            RequestBody::Dmesg(follow) | RequestBody::Log(follow) => {
                return self.text(*follow, waited);
            }
            RequestBody::Create(create) => self.create(create),
            RequestBody::New(define) => Ok(self.define(define)),
            RequestBody::Start(start) => self.start(start),
            RequestBody::Delete(name) => {
                self.defined.remove(name);
                self.remove(&DomainRef::Name(name.clone()))
            }
            RequestBody::DefinitionShow(name) => self.definition(name),
            RequestBody::DefinitionSet(redefine) => self.redefine(redefine),
            RequestBody::Pause(domain) => self.set(domain, DomainState::PAUSED),
            RequestBody::Unpause(domain) => self.set(domain, DomainState::RUNNING),
            RequestBody::Destroy(domain) => self.remove(domain),
            RequestBody::Shutdown(shutdown) => {
                match (self.find(&shutdown.domain), shutdown.wait_ms) {
                    (Ok(_), 0) => Ok(Reply::Done),
                    (Ok(_), _) if waited < Duration::from_millis(100) => return None,
                    _ => self.remove(&shutdown.domain),
                }
            }
            RequestBody::Reboot(reboot) => self.find(&reboot.domain).map(|_| Reply::Done),
            RequestBody::Rename(rename) => self.find(&rename.domain).map(|_| Reply::Done),
            RequestBody::SchedulingList => Ok(Reply::Scheduling(self.scheduling())),
            RequestBody::SchedulingSet(set) => self.find(&set.domain).map(|_| Reply::Done),
            RequestBody::VcpuList => Ok(Reply::Vcpus(self.vcpus())),
            RequestBody::Usage(domain) => self.usage(domain),
            RequestBody::VcpuPin(pin) => self.find(&pin.domain).map(|_| Reply::Done),
            RequestBody::ConsoleRead(read) => return self.console_read(read, waited),
            RequestBody::ConsoleWrite(write) => self.console_write(write),
            RequestBody::BlobOpen(open) => Ok(self.blob_open(open)),
            RequestBody::BlobPut(put) => {
                self.chunks_put += 1;
                self.uploads[put.upload as usize]
                    .1
                    .insert(put.index, put.chunk.clone());
                Ok(Reply::Done)
            }
            RequestBody::BlobCommit(upload) => self.blob_commit(*upload),
            RequestBody::BlobRead(read) => self.blob_read(*read),
            RequestBody::BlobRelease(_) => Ok(Reply::Done),
            RequestBody::ImageAdd(add) => self.image_add(add),
            RequestBody::ImageList => Ok(images::list(&self.images)),
            RequestBody::ImageShow(name) => images::show(&self.images, name),
            RequestBody::ImageRemove(name) => match self.images.remove(name) {
                Some(_) => Ok(Reply::Done),
                None => Err(images::unknown(name)),
            },
            RequestBody::SaveBegin(domain) => self.find(domain).map(|_| {
                Reply::SaveStarted(SaveStarted {
                    save: 7,
                    manifest_length: manifest().encode().unwrap().len() as u32,
                    chunk_count: 40,
                    memory_kib: 2560,
                })
            }),
            RequestBody::SaveManifest(piece) => {
                let bytes = manifest().encode().unwrap();
                let from = piece.offset as usize;
                Ok(Reply::Manifest(ManifestPiece {
                    bytes: bytes[from..(from + 50).min(bytes.len())].to_vec(),
                }))
            }
            RequestBody::SaveRead(read) => return self.save_read(*read),
            RequestBody::SaveCommit(commit) => self.save_commit(*commit),
            RequestBody::SaveAbort(_) => {
                self.saves_aborted += 1;
                Ok(Reply::Done)
            }
            RequestBody::SaveToStore(save) => self.remove(&save.domain).map(|_| {
                Reply::Saved(Saved {
                    label: save.label.clone(),
                    memory_kib: 2560,
                    stored_kib: 100,
                })
            }),
            RequestBody::RestoreBegin(begin) => {
                self.restored.clear();
                self.restore_manifest.clear();
                self.paused_restore = Some(begin.paused);
                Ok(Reply::RestoreStarted(RestoreStarted { restore: 9 }))
            }
            RequestBody::RestoreManifest(piece) => {
                assert_eq!(piece.offset as usize, self.restore_manifest.len());
                self.restore_manifest.extend_from_slice(&piece.bytes);
                Ok(Reply::Done)
            }
            RequestBody::RestorePut(put) => match put.chunk.decode(CHUNK) {
                Ok(raw) => {
                    self.restored.insert(put.index, raw);
                    Ok(Reply::Done)
                }
                Err(error) => Err(Failure::new(ErrorCode::BAD_SNAPSHOT, error.to_string())),
            },
            RequestBody::RestoreCommit(commit) => self.restore_commit(*commit),
            RequestBody::RestoreAbort(_) => {
                self.restores_aborted += 1;
                Ok(Reply::Done)
            }
            RequestBody::RestoreFromStore(restore) if restore.label == "evening" => {
                Ok(self.add("debian"))
            }
            RequestBody::RestoreFromStore(_) => Err(Failure::new(
                ErrorCode::UNKNOWN_SNAPSHOT,
                "no snapshot has this label",
            )),
            RequestBody::SnapshotList => Ok(Reply::Snapshots(vec![SnapshotSummary {
                label: "evening".into(),
                domain: "debian".into(),
                uuid: [3; 16],
                memory_kib: 2560,
                stored_kib: 100,
                saved_ns: None,
            }])),
            RequestBody::SnapshotDelete(label) if label == "evening" => Ok(Reply::Done),
            RequestBody::SnapshotDelete(_) => Err(Failure::new(
                ErrorCode::UNKNOWN_SNAPSHOT,
                "no snapshot has this label",
            )),
            _ => Err(Failure::new(ErrorCode::REFUSED, "not in this fake")),
        })
    }

    /// Every sample is a second after the one before; all domains are half busy.
    fn stats(&mut self) -> Stats {
        self.samples += 1;
        let seconds = self.samples;
        let domains = self.domains.iter().map(|summary| DomainStats {
            summary: DomainSummary {
                cpu_ns: seconds * 500_000_000,
                age_ns: seconds * 1_000_000_000,
                ..summary.clone()
            },
            vcpus_online: 1,
            exits: seconds * 1000,
            hypercalls: seconds * 200,
            refusals: 3,
            usage: Some(usage::used(seconds)),
        });
        Stats {
            host: HostStats {
                time_ns: seconds * 1_000_000_000,
                cpus: 1,
                idle_ns: 0,
                total_kib: 2_097_152,
                free_kib: 2_000_000,
                hypervisor_kib: 5_000,
                dom0_kib: 24_576,
                boot_kib: 2_040,
                store_kib: 0,
                domains_kib: 65_536,
                hypervisor_log_bytes: Some(seconds * 1000),
                xend_log_bytes: Some(seconds * 24),
            },
            domains: domains.collect(),
        }
    }

    fn add(&mut self, name: &str) -> Reply {
        self.domains.push(summary(8, name, DomainKind::PVH));
        Reply::Created(Created {
            domid: 8,
            name: name.into(),
            warnings: Vec::new(),
        })
    }

    fn text(&self, follow: Follow, waited: Duration) -> Answer {
        let from = follow.cursor.unwrap_or(0) as usize;
        if from >= self.log.len() && waited < Duration::from_millis(u64::from(follow.wait_ms)) {
            return None;
        }
        Some(Ok(Reply::Text(TextChunk {
            next: self.log.len() as u64,
            lost: 0,
            text: self.log[from..].to_vec(),
        })))
    }

    fn console_read(&self, read: &ConsoleRead, waited: Duration) -> Answer {
        let DomainRef::Name(name) = &read.domain else {
            return Some(Err(unknown()));
        };
        let there = self.find(&read.domain).is_ok();
        if name != "debian" && !there {
            return Some(Err(unknown()));
        }
        let from = read.cursor.unwrap_or(0) as usize;
        let nothing = from >= self.console.len();
        if nothing && there && waited < Duration::from_millis(u64::from(read.wait_ms)) {
            return None;
        }
        let to = (from + (read.max as usize).min(10)).min(self.console.len());
        Some(Ok(Reply::Console(ConsoleChunk {
            next: to as u64,
            lost: 0,
            ended: !there,
            bytes: self.console[from..to].to_vec(),
        })))
    }

    /// A guest that echoes, and knows two commands.
    fn console_write(&mut self, write: &ConsoleWrite) -> Result<Reply, Failure> {
        self.find(&write.domain)?;
        let count = write.bytes.len().min(7);
        self.typed.extend_from_slice(&write.bytes[..count]);
        self.console.extend_from_slice(&write.bytes[..count]);
        if self.typed.ends_with(b"reboot\n") || self.typed.ends_with(b"poweroff\n") {
            self.domains.retain(|domain| domain.name != "debian");
            let back = Instant::now() + Duration::from_millis(600);
            self.away_until = self.typed.ends_with(b"reboot\n").then_some(back);
        }
        Ok(Reply::Written(Written {
            count: count as u32,
        }))
    }
}

/// A remark for each line that has a word of one kind in it.
fn remarks(text: &str) -> Vec<Remark> {
    let remarked = text
        .lines()
        .filter(|line| line.contains("vnc") || line.contains("LOUD"));
    remarked
        .map(|line| Remark {
            is_error: line.contains("LOUD"),
            text: format!("xend-config.sxp: about {line}"),
        })
        .collect()
}

fn info() -> HostInfo {
    HostInfo {
        total_kib: 2_097_152,
        free_kib: 2_000_000,
        hypervisor_kib: 5_000,
        dom0_kib: 24_576,
        boot_kib: 2_040,
        store_kib: 0,
        domains_kib: 65_536,
        cpus: 1,
        arch: "aarch64".into(),
        board: "fake".into(),
        uptime_ns: 12_345_678_901,
        hypervisor: "alcove 0.0.0".into(),
        xend: "xend 0.0.0".into(),
        boot_phases: vec![BootPhase {
            name: "frames".into(),
            duration_ns: 1_234_567,
        }],
        heap_used: 100_000,
        heap_size: 4_000_000,
        domains: 2,
        wall_clock_ns: None,
        store: Some(Box::new(StoreInfo {
            place: StorePlace::RESCUE,
            size_kib: 65_536,
            reason: Some("there is something on the disk that is not a store".into()),
            free_kib: None,
        })),
        virtualization: Some("ARM EL2".into()),
    }
}
