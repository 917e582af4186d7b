//! Restoring a domain: check everything, make it, fill its memory, load its records, connect it.
//!
//! A snapshot is read as if the guest had written it. What depends on this host is checked here before anything is made;
//! what the records hold is the hypervisor's to judge. What was made is in the [`Domain`] at once, so that a restore that
//! is given up is taken apart like any other domain.

use crate::backend::{self, GuestPorts};
use crate::build::job::{kind_of, some};
use crate::domain::Domain;
use crate::event::SessionId;
use crate::hypervisor::{Hypervisor, Run};
use crate::image::MemoryImage;
use crate::job::{Done, Step, Workshop};
use crate::nodes;
use crate::platform::{self, Architecture};
use crate::refusal::{no_domain, refused};
use crate::save::Platform;
use crate::scheduling;
use crate::session::Ticket;
use crate::store::snapshots::Snapshot;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::control::domain::{CreateDomain, EXTRA_FRAMES, VCPUS_MAX};
use hv_abi::control::state::RECORD_MAX;
use hv_abi::record::{Header, Kind, do_rates_agree};
use hv_abi::xen::hvm::param;
use hv_abi::{DomId, Errno, FRAME_SIZE};
use mgmt_proto::blob::{CHUNK, Chunk, Digest};
use mgmt_proto::config::{ConfigFile, DomainConfig, Policies, check_name, uuid_text};
use mgmt_proto::messages::{ErrorCode, Failure, Reply};
use mgmt_proto::snapshot::{Manifest, Record, RootHasher, XENSTORE};
use zerocopy::IntoBytes;

/// Where the memory comes from.
pub(crate) enum Origin<F> {
    /// A client sends it.
    Client {
        session: SessionId,
        number: u32,
        /// Waits for the memory to be reserved.
        begin: Option<Ticket>,
    },
    /// The store.
    Store(Snapshot<F>),
}

/// A restore under way.
pub(crate) struct Restore<F> {
    origin: Origin<F>,
    manifest: Manifest,
    image: MemoryImage,
    root: RootHasher,
    stage: Stage,
    next: u32,
}

#[derive(Clone, Copy)]
enum Stage {
    Reserve,
    Populate { range: usize, frame: u64 },
    Receive,
    Copy { place: u64 },
    Clear { range: usize, frame: u64 },
    Record { number: usize },
    Connect,
}

fn bad(sentence: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::BAD_SNAPSHOT, sentence)
}

/// Checks a manifest against this host; the domain's configuration, with these policies where it has none.
pub(crate) fn check(
    manifest: &Manifest,
    host: &Platform,
    policies: &Policies,
) -> Result<DomainConfig, Failure> {
    check_host(manifest, host)?;
    check_name(&manifest.name).map_err(|reason| bad(format!("the snapshot's name: {reason}")))?;
    let file = ConfigFile::parse("the saved configuration", &manifest.config)
        .map_err(|error| bad(format!("{error}")))?;
    let (config, _) = DomainConfig::from_file_with(&file, policies).map_err(|errors| {
        bad(errors
            .first()
            .map_or_else(String::new, |error| format!("{error}")))
    })?;
    if manifest.vcpus > VCPUS_MAX || manifest.vcpus != config.max_vcpus {
        return Err(bad(
            "the snapshot's vCPUs are not those of its configuration",
        ));
    }
    if manifest.guest_domid == 0 || manifest.guest_domid >= DomId::FIRST_RESERVED.0 {
        return Err(bad("the snapshot's domid makes no sense"));
    }
    check_memory(manifest, &config)?;
    manifest.records.iter().try_for_each(check_record)?;
    Ok(config)
}

fn check_host(manifest: &Manifest, host: &Platform) -> Result<(), Failure> {
    if manifest.arch != host.arch {
        let sentence = format!(
            "the snapshot's architecture is {}, this host's is {}",
            manifest.arch, host.arch
        );
        return Err(bad(sentence).with_remedy("restore it on a host of its kind"));
    }
    let platform = platform::of_snapshot(manifest);
    if platform != host.platform {
        let sentence = format!(
            "the snapshot is of a machine with {}, this one has {}",
            platform::in_words(platform),
            platform::in_words(&host.platform)
        );
        return Err(bad(sentence).with_remedy("restore it on a host of its kind"));
    }
    if !do_rates_agree(manifest.counter_hz, host.counter_hz) {
        let sentence = format!(
            "the snapshot's counter runs at {} Hz, this host's at {} Hz",
            manifest.counter_hz, host.counter_hz
        );
        return Err(bad(sentence).with_remedy("restore it on a host of its kind"));
    }
    Ok(())
}

/// The architecture of a snapshot, which is the host's once it was checked.
fn architecture_of(manifest: &Manifest) -> Architecture {
    Architecture::named(&manifest.arch).unwrap_or(Architecture::Arm64)
}

fn check_memory(manifest: &Manifest, config: &DomainConfig) -> Result<(), Failure> {
    let frames = manifest.memory_length() / FRAME_SIZE as u64;
    let allowed = config
        .memory_mib
        .saturating_mul(256)
        .saturating_add(EXTRA_FRAMES);
    let end = manifest
        .memory
        .last()
        .map_or(0, |range| range.gfn.saturating_add(range.count));
    if frames > allowed || end > architecture_of(manifest).places().end / FRAME_SIZE as u64 {
        return Err(bad("the snapshot has more memory than its configuration"));
    }
    Ok(())
}

fn check_record(record: &Record) -> Result<(), Failure> {
    let too_long = record.bytes.len() > RECORD_MAX.saturating_sub(size_of::<Header>());
    if too_long || u32::from(record.vcpu) >= VCPUS_MAX {
        let sentence = format!("record {:#x} of the snapshot makes no sense", record.kind);
        return Err(bad(sentence));
    }
    Ok(())
}

impl<F: AsRef<[u8]> + AsMut<[u8]>> Restore<F> {
    /// A restore of a checked manifest, of which these are the bytes.
    pub(crate) fn new(origin: Origin<F>, manifest: Manifest, bytes: &[u8]) -> Self {
        Self {
            origin,
            image: MemoryImage::new(&manifest.memory),
            root: RootHasher::new(bytes),
            manifest,
            stage: Stage::Reserve,
            next: 0,
        }
    }

    /// Whether this is the restore that a session calls by this number.
    pub(crate) fn belongs_to(&self, who: SessionId, called: Option<u32>) -> bool {
        match &self.origin {
            Origin::Client {
                session, number, ..
            } => *session == who && called.is_none_or(|called| called == *number),
            Origin::Store(_) => false,
        }
    }

    /// Who waits for an answer.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        match &self.origin {
            Origin::Client { begin, .. } => *begin,
            Origin::Store(_) => None,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        !matches!(self.stage, Stage::Receive)
    }

    /// Takes one chunk in.
    pub(crate) fn put<H: Hypervisor>(
        &mut self,
        hypervisor: &mut H,
        domid: DomId,
        index: u32,
        chunk: &Chunk,
    ) -> Result<(), Failure> {
        if !matches!(self.stage, Stage::Receive) {
            let sentence = "the domain's memory is not ready to be filled";
            return Err(Failure::new(ErrorCode::BAD_REQUEST, sentence));
        }
        let length = self.image.chunk_length(index);
        let Some(length) = length.filter(|_| index >= self.next) else {
            return Err(bad(format!(
                "chunk {index} is out of order, or beyond the memory"
            )));
        };
        let raw = chunk
            .decode(length)
            .map_err(|error| bad(format!("chunk {index}: {error}")))?;
        if chunk.id == Digest::ZERO {
            return Err(bad(format!(
                "chunk {index} is all zero, and is to be left out"
            )));
        }
        self.image
            .write(hypervisor, domid, index, &raw)
            .map_err(|errno| refused("write the domain's memory", errno))?;
        self.root.chunk(index, &chunk.id);
        self.next = index.saturating_add(1);
        Ok(())
    }

    /// All chunks are there: goes on if the root is right.
    pub(crate) fn commit(&mut self, root: &Digest) -> Result<(), Failure> {
        if !matches!(self.stage, Stage::Receive) {
            let sentence = "the restore is not ready to be ended";
            return Err(Failure::new(ErrorCode::BAD_REQUEST, sentence));
        }
        if self.root.finish() != *root {
            return Err(bad("the snapshot's parts do not belong together"));
        }
        self.stage = Stage::Clear { range: 0, frame: 0 };
        Ok(())
    }

    /// Does the next thing.
    pub(crate) fn step<H: Hypervisor<Frames = F>>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domain: &mut Domain<H>,
    ) -> Result<Step, Failure> {
        if let Stage::Reserve = self.stage {
            self.reserve(shop.hypervisor, domain)?;
            self.stage = Stage::Populate { range: 0, frame: 0 };
            return Ok(self.progress());
        }
        let Some(domid) = domain.domid else {
            return Err(refused("restore the domain", Errno::ESRCH));
        };
        self.stage = match self.stage {
            Stage::Reserve | Stage::Receive => return Ok(Step::Wait),
            Stage::Populate { range, frame } => self.populate(shop, domid, range, frame)?,
            Stage::Copy { place } => self.copy(shop.hypervisor, domid, place)?,
            Stage::Clear { range, frame } => self.clear(shop.hypervisor, domid, range, frame)?,
            Stage::Record { number } => self.load(shop.hypervisor, domid, number)?,
            Stage::Connect => {
                self.connect(shop, domain, domid)?;
                return Ok(Step::Done(Done::Ready));
            }
        };
        Ok(self.progress())
    }

    fn reserve<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &mut Domain<H>,
    ) -> Result<(), Failure> {
        let create = CreateDomain {
            uuid: domain.uuid,
            kind: kind_of(domain.plan.config.kind),
            vcpus: self.manifest.vcpus,
            frames_max: domain.memory_kib / 4,
            guest_domid: DomId(self.manifest.guest_domid),
            ..CreateDomain::default()
        };
        let domid = hypervisor
            .create(&create)
            .map_err(|errno| no_domain(hypervisor, domain.memory_kib, errno))?;
        domain.domid = Some(domid);
        domain.guest_domid = self.manifest.guest_domid;
        let record = domain.record();
        hypervisor
            .set_blob(domid, &record)
            .map_err(|errno| refused("keep the domain's record", errno))?;
        scheduling::apply(hypervisor, domid, &domain.plan.config)
    }

    fn populate<H: Hypervisor>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domid: DomId,
        range: usize,
        frame: u64,
    ) -> Result<Stage, Failure> {
        if let Some(run) = self.rest(range, frame) {
            let done = shop
                .hypervisor
                .populate(domid, run)
                .and_then(some)
                .map_err(|errno| refused("populate the domain's memory", errno))?;
            let (range, frame) = self.advance(range, frame, done);
            return Ok(Stage::Populate { range, frame });
        }
        Ok(match &mut self.origin {
            Origin::Store(snapshot) => Stage::Copy {
                place: snapshot.memory(),
            },
            Origin::Client { begin, .. } => {
                if let Some(ticket) = begin.take() {
                    shop.sessions.answer(ticket, Ok(Reply::Done));
                }
                Stage::Receive
            }
        })
    }

    fn copy<H: Hypervisor<Frames = F>>(
        &mut self,
        hypervisor: &mut H,
        domid: DomId,
        place: u64,
    ) -> Result<Stage, Failure> {
        let snapshot = match &self.origin {
            Origin::Store(snapshot) if !snapshot.is_end(place) => snapshot,
            _ => return Ok(Stage::Clear { range: 0, frame: 0 }),
        };
        let chunk = snapshot
            .chunk(place, |index| self.image.chunk_length(index))
            .ok_or_else(|| bad("the snapshot's memory is damaged"))?;
        self.image
            .write(hypervisor, domid, chunk.index, &chunk.raw)
            .map_err(|errno| refused("write the domain's memory", errno))?;
        self.next = chunk.index.saturating_add(1);
        Ok(Stage::Copy { place: chunk.next })
    }

    fn clear<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domid: DomId,
        range: usize,
        frame: u64,
    ) -> Result<Stage, Failure> {
        let Some(run) = self.rest(range, frame) else {
            return Ok(Stage::Record { number: 0 });
        };
        let done = hypervisor
            .clear(domid, run)
            .and_then(some)
            .map_err(|errno| refused("clear the domain's memory", errno))?;
        let (range, frame) = self.advance(range, frame, done);
        Ok(Stage::Clear { range, frame })
    }

    fn load<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domid: DomId,
        number: usize,
    ) -> Result<Stage, Failure> {
        let Some(record) = self.manifest.records.get(number) else {
            return Ok(Stage::Connect);
        };
        let header = Header {
            kind: Kind(record.kind),
            version: record.version,
            vcpu: u32::from(record.vcpu),
            length: record.bytes.len() as u64,
        };
        let bytes = [header.as_bytes(), &record.bytes].concat();
        hypervisor
            .restore_record(domid, &bytes)
            .map_err(|errno| bad_record(record, errno))?;
        Ok(Stage::Record {
            number: number.saturating_add(1),
        })
    }

    fn connect<H: Hypervisor>(
        &self,
        shop: &mut Workshop<'_, H>,
        domain: &mut Domain<H>,
        domid: DomId,
    ) -> Result<(), Failure> {
        let failed = |errno| match errno {
            Errno::ENOMEM | Errno::ENOSPC | Errno::EIO | Errno::ESRCH => {
                refused("connect the domain's console and xenstore", errno)
            }
            _ => bad("the snapshot's event channels or grants make no sense"),
        };
        let ports = guest_ports(shop.hypervisor, domid).map_err(failed)?;
        let backend = backend::attach(
            shop.hypervisor,
            shop.xenstore,
            domid,
            domain.guest_domid,
            &domain.uuid,
            ports,
        );
        domain.backend = Some(backend.map_err(failed)?);
        let facts = nodes::Facts {
            domid: domid.0,
            guest_domid: domain.guest_domid,
            name: &domain.name,
            uuid: domain.uuid,
            memory_kib: domain.memory_kib,
            vcpus: domain.plan.config.vcpus,
            ports,
            places: architecture_of(&self.manifest).places(),
        };
        let stored = |_| failed(Errno::EIO);
        match self.manifest.extra(XENSTORE) {
            Some(bytes) => {
                let imported = shop.xenstore.import(domid.0, bytes);
                imported.map_err(|error| bad(format!("{error}")))?;
                nodes::create_machine(shop.xenstore, &facts).map_err(stored)?;
            }
            None => nodes::create(shop.xenstore, &facts).map_err(stored)?,
        }
        let home = nodes::home(domid.0);
        let machine = nodes::machine(&domain.uuid);
        debug_assert!(machine.ends_with(&uuid_text(&domain.uuid)));
        shop.xenstore
            .write(&format!("{home}/name"), domain.name.as_bytes())
            .and_then(|()| {
                shop.xenstore
                    .write(&format!("{home}/vm"), machine.as_bytes())
            })
            .map_err(stored)
    }

    fn rest(&self, range: usize, frame: u64) -> Option<Run> {
        let range = self.manifest.memory.get(range)?;
        Some(Run {
            gfn: range.gfn.saturating_add(frame),
            count: range.count.saturating_sub(frame),
        })
    }

    fn advance(&self, range: usize, frame: u64, done: u64) -> (usize, u64) {
        let frame = frame.saturating_add(done);
        let full = self
            .manifest
            .memory
            .get(range)
            .is_none_or(|range| frame >= range.count);
        if full {
            (range.saturating_add(1), 0)
        } else {
            (range, frame)
        }
    }

    fn kib_before(&self, range: usize, frame: u64) -> u64 {
        let full: u64 = self
            .manifest
            .memory
            .iter()
            .take(range)
            .map(|range| range.count)
            .sum();
        full.saturating_add(frame).saturating_mul(4)
    }

    fn progress(&self) -> Step {
        let total = self.image.length() / 1024;
        let (done, what) = match self.stage {
            Stage::Populate { range, frame } => {
                (self.kib_before(range, frame), "KiB of memory reserved")
            }
            Stage::Copy { .. } => {
                let done = u64::from(self.next).saturating_mul(CHUNK as u64 / 1024);
                (done, "KiB of memory restored")
            }
            Stage::Clear { range, frame } => {
                (self.kib_before(range, frame), "KiB of memory cleared")
            }
            _ => (total, "restoring the state of vCPUs and devices"),
        };
        Step::More { done, total, what }
    }
}

/// The ports that the guest's parameters name.
pub(crate) fn guest_ports<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
) -> Result<GuestPorts, Errno> {
    let mut port = |index| {
        let value = hypervisor.get_param(domid, index)?;
        u32::try_from(value).map_err(|_| Errno::EINVAL)
    };
    Ok(GuestPorts {
        console: port(param::CONSOLE_EVTCHN)?,
        xenstore: port(param::STORE_EVTCHN)?,
    })
}

fn bad_record(record: &Record, errno: Errno) -> Failure {
    let what = format!(
        "record {:#x} (version {}, vCPU {}) of the snapshot",
        record.kind, record.version, record.vcpu
    );
    match errno {
        Errno::EOPNOTSUPP => bad(format!("{what} is of a kind this host does not know"))
            .with_remedy("use the release that wrote it, or a later one"),
        Errno::EXDEV => bad(
            "the snapshot needs what this host does not have: its counter, its CPU features, its \
             interrupt controller or its address width",
        )
        .with_remedy("the hypervisor's log (dmesg) says which; restore it on a host of its kind"),
        Errno::ENOMEM | Errno::ESRCH | Errno::EBUSY | Errno::EIO | Errno::EFAULT => {
            refused("load the domain's state", errno)
        }
        _ => bad(format!("{what} is damaged")),
    }
}

/// Manifests being received: bytes so far, and what to do with them.
pub(crate) struct Incoming {
    pub(crate) number: u32,
    pub(crate) length: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) paused: bool,
    pub(crate) name: Option<String>,
}
