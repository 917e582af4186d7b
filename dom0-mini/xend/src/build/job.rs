//! Building a domain, one bounded step at a time.
//!
//! Nothing here undoes anything: what a step made is in the [`Domain`] at once (its domid, its backend), so that who
//! gives up takes the domain apart like any other. Frames that are copied over whole are not cleared first.

use super::layout::{Layout, Part};
use super::placement::Placement;
use super::tree::{self, Guest};
use super::{acpi, pvh};
use crate::backend::{self, GuestPorts};
use crate::domain::Domain;
use crate::hypervisor::{Answer, Hypervisor, Run};
use crate::job::{Done, Step, Workshop};
use crate::nodes;
use crate::platform::Places;
use crate::refusal::{no_domain, refused};
use crate::scheduling;
use crate::store::content::{Content, Piece};
use hv_abi::control::domain::{CreateDomain, DomainKind};
use hv_abi::layout::x86::{ACPI_BASE, COMMAND_LINE_BASE, START_INFO_BASE};
use hv_abi::xen::hvm::param;
use hv_abi::{DomId, Errno, FRAME_SIZE};
use mgmt_proto::blob::CHUNK;
use mgmt_proto::messages::{self, ErrorCode, Failure};

/// A domain being built.
pub(crate) struct Build {
    stage: Stage,
    layout: Layout,
    ports: GuestPorts,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Reserve,
    Populate(Cursor),
    Kernel { part: usize, chunk: u64 },
    Ramdisk { chunk: u64 },
    Describe,
    Rings,
    Devices,
    Clear(Cursor),
    Start,
}

/// A place in the banks.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    bank: usize,
    frame: u64,
}

impl Build {
    pub(crate) fn new(layout: Layout) -> Self {
        let ports = GuestPorts {
            console: 0,
            xenstore: 0,
        };
        Self {
            stage: Stage::Reserve,
            layout,
            ports,
        }
    }

    /// Does the next thing.
    pub(crate) fn step<H: Hypervisor>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domain: &mut Domain<H>,
    ) -> Result<Step, Failure> {
        if let Stage::Reserve = self.stage {
            reserve(shop.hypervisor, domain)?;
            self.stage = Stage::Populate(Cursor::default());
            return Ok(self.progress(domain));
        }
        let Some(domid) = domain.domid else {
            return Err(refused("build the domain", Errno::ESRCH));
        };
        let next = match self.stage {
            Stage::Reserve => Stage::Reserve,
            Stage::Populate(cursor) => self.populate(shop.hypervisor, domid, cursor)?,
            Stage::Kernel { part, chunk } => {
                self.copy_kernel(shop.hypervisor, domain, domid, (part, chunk))?
            }
            Stage::Ramdisk { chunk } => self.copy_ramdisk(shop.hypervisor, domain, domid, chunk)?,
            Stage::Describe => self.describe(shop.hypervisor, domain, domid)?,
            Stage::Rings => self.rings(shop.hypervisor, domid)?,
            Stage::Devices => self.connect(shop, domain, domid)?,
            Stage::Clear(cursor) => self.clear(shop.hypervisor, domid, cursor)?,
            Stage::Start => {
                self.set_context(shop.hypervisor, domid)?;
                return Ok(Step::Done(Done::Ready));
            }
        };
        self.stage = next;
        Ok(self.progress(domain))
    }

    fn populate<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domid: DomId,
        cursor: Cursor,
    ) -> Result<Stage, Failure> {
        let Some(run) = self.rest(cursor) else {
            return Ok(Stage::Kernel { part: 0, chunk: 0 });
        };
        let done = hypervisor
            .populate(domid, run)
            .and_then(some)
            .map_err(|errno| refused("populate the domain's memory", errno))?;
        Ok(Stage::Populate(self.advance(cursor, done)))
    }

    fn clear<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domid: DomId,
        cursor: Cursor,
    ) -> Result<Stage, Failure> {
        let Some(run) = self.rest(cursor) else {
            return Ok(Stage::Start);
        };
        let done = hypervisor
            .clear(domid, run)
            .and_then(some)
            .map_err(|errno| refused("clear the domain's memory", errno))?;
        Ok(Stage::Clear(self.advance(cursor, done)))
    }

    /// Copies what a chunk of the file holds of a part.
    fn copy_kernel<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
        (part, chunk): (usize, u64),
    ) -> Result<Stage, Failure> {
        let Some(current) = self.layout.kernel.get(part) else {
            return Ok(Stage::Ramdisk { chunk: 0 });
        };
        let first = current.offset / CHUNK as u64;
        let kernel = &domain.plan.kernel;
        let more = copy_part(hypervisor, domid, kernel, current, chunk.max(first))
            .map_err(|errno| refused("copy the kernel", errno))?;
        Ok(if more {
            Stage::Kernel {
                part,
                chunk: chunk.max(first).saturating_add(1),
            }
        } else {
            Stage::Kernel {
                part: part.saturating_add(1),
                chunk: 0,
            }
        })
    }

    fn copy_ramdisk<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
        chunk: u64,
    ) -> Result<Stage, Failure> {
        let base = self.layout.ramdisk;
        let more = match &domain.plan.ramdisk {
            Some(ramdisk) => copy_chunk(hypervisor, domid, base, ramdisk, chunk)
                .map_err(|errno| refused("copy the ramdisk", errno))?,
            None => false,
        };
        Ok(if more {
            Stage::Ramdisk {
                chunk: chunk.saturating_add(1),
            }
        } else {
            Stage::Describe
        })
    }

    /// Writes what tells the guest what it has.
    fn describe<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
    ) -> Result<Stage, Failure> {
        match self.layout.placement {
            Some(placement) => self.write_tree(hypervisor, domain, domid, placement),
            None => self.write_start_info(hypervisor, domain, domid),
        }
    }

    fn write_start_info<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
    ) -> Result<Stage, Failure> {
        let config = &domain.plan.config;
        let ramdisk = domain.plan.ramdisk.as_ref();
        let ramdisk = ramdisk.map(|ramdisk| (self.layout.ramdisk, ramdisk.length()));
        let start_info = pvh::start_info(&self.layout.banks, ramdisk);
        let mut command_line = config.command_line.clone().into_bytes();
        command_line.push(0);
        let tables = acpi::build(config.max_vcpus)
            .filter(|_| command_line.len() <= pvh::COMMAND_LINE_MAX)
            .ok_or_else(|| {
                let sentence = "the domain's command line or ACPI tables are too long";
                Failure::new(ErrorCode::BAD_CONFIG, sentence)
            })?;
        for (address, bytes) in [
            (START_INFO_BASE, start_info),
            (COMMAND_LINE_BASE, command_line),
            (ACPI_BASE, tables),
        ] {
            write_whole_frames(hypervisor, domid, address, &bytes)
                .map_err(|errno| refused("write the start information", errno))?;
        }
        Ok(Stage::Rings)
    }

    fn write_tree<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
        placement: Placement,
    ) -> Result<Stage, Failure> {
        let (mut seed, mut kaslr_seed) = ([0; 64], [0; 8]);
        hypervisor.random(&mut seed);
        hypervisor.random(&mut kaslr_seed);
        let host = hypervisor
            .host_info()
            .map_err(|errno| refused("learn about the host", errno))?;
        let config = &domain.plan.config;
        let guest = Guest {
            kind: config.kind,
            command_line: &config.command_line,
            vcpus: config.max_vcpus,
            gic_version: host.interrupt_controller_version,
            banks: &self.layout.banks,
            ramdisk_length: domain.plan.ramdisk.as_ref().map_or(0, Content::length),
            placement,
            seed,
            kaslr_seed,
        };
        let bytes = tree::build(&guest).ok_or_else(|| {
            Failure::new(
                ErrorCode::BAD_CONFIG,
                "the domain's device tree is too large",
            )
        })?;
        write_whole_frames(hypervisor, domid, placement.tree, &bytes)
            .map_err(|errno| refused("write the device tree", errno))?;
        Ok(Stage::Rings)
    }

    /// Populates and clears the pages of console and xenstore, which are next to each other.
    fn rings<H: Hypervisor>(&self, hypervisor: &mut H, domid: DomId) -> Result<Stage, Failure> {
        let places = self.layout.architecture.places();
        let count = places.xenstore_gfn - places.console_gfn + 1;
        let every = |call: &mut dyn FnMut(Run) -> Answer<u64>| -> Answer<()> {
            let mut done = 0;
            while done < count {
                let run = Run {
                    gfn: places.console_gfn.saturating_add(done),
                    count: count.saturating_sub(done),
                };
                done = done.saturating_add(call(run).and_then(some)?);
            }
            Ok(())
        };
        every(&mut |run| hypervisor.populate(domid, run))
            .and_then(|()| every(&mut |run| hypervisor.clear(domid, run)))
            .map_err(|errno| refused("make the domain's rings", errno))?;
        Ok(Stage::Devices)
    }

    fn connect<H: Hypervisor>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domain: &mut Domain<H>,
        domid: DomId,
    ) -> Result<Stage, Failure> {
        let failed = |errno| refused("connect the domain's console and xenstore", errno);
        let (xenstore, hypervisor) = (&mut *shop.xenstore, &mut *shop.hypervisor);
        let places = self.layout.architecture.places();
        self.ports = set_parameters(hypervisor, domid, places).map_err(failed)?;
        let guest_domid = domain.guest_domid;
        let backend = backend::attach(
            hypervisor,
            xenstore,
            domid,
            guest_domid,
            &domain.uuid,
            self.ports,
        );
        domain.backend = Some(backend.map_err(failed)?);
        let facts = nodes::Facts {
            domid: domid.0,
            guest_domid,
            name: &domain.name,
            uuid: domain.uuid,
            memory_kib: domain.memory_kib,
            vcpus: domain.plan.config.vcpus,
            ports: self.ports,
            places,
        };
        nodes::create(xenstore, &facts).map_err(|_| failed(Errno::EIO))?;
        Ok(Stage::Clear(Cursor::default()))
    }

    fn set_context<H: Hypervisor>(&self, hypervisor: &mut H, domid: DomId) -> Result<(), Failure> {
        hypervisor
            .set_context(domid, 0, &self.layout.context)
            .map_err(|errno| refused("start the domain", errno))
    }

    /// What is left of the bank at `cursor`; none after the last.
    fn rest(&self, cursor: Cursor) -> Option<Run> {
        let bank = self.layout.banks.get(cursor.bank)?;
        Some(Run {
            gfn: bank.gfn.saturating_add(cursor.frame),
            count: bank.count.saturating_sub(cursor.frame),
        })
    }

    fn advance(&self, cursor: Cursor, frames: u64) -> Cursor {
        let frame = cursor.frame.saturating_add(frames);
        let full = self
            .layout
            .banks
            .get(cursor.bank)
            .is_none_or(|bank| frame >= bank.count);
        if full {
            Cursor {
                bank: cursor.bank.saturating_add(1),
                frame: 0,
            }
        } else {
            Cursor { frame, ..cursor }
        }
    }

    /// KiB before the place.
    fn kib_before(&self, cursor: Cursor) -> u64 {
        let full = self.layout.banks.iter().take(cursor.bank);
        let frames: u64 = full.map(|bank| bank.count).sum();
        frames.saturating_add(cursor.frame).saturating_mul(4)
    }

    fn progress<H: Hypervisor>(&self, domain: &Domain<H>) -> Step {
        let kib = |chunk: u64| chunk.saturating_mul(CHUNK as u64 / 1024);
        let length = |content: Option<&Content<H::Frames>>| content.map_or(0, Content::length);
        let (done, total, what) = match self.stage {
            Stage::Populate(cursor) => (
                self.kib_before(cursor),
                domain.memory_kib,
                "KiB of memory reserved",
            ),
            Stage::Kernel { chunk, .. } => (
                kib(chunk),
                length(Some(&domain.plan.kernel)) / 1024,
                "KiB of the kernel copied",
            ),
            Stage::Ramdisk { chunk } => (
                kib(chunk),
                length(domain.plan.ramdisk.as_ref()) / 1024,
                "KiB of the ramdisk copied",
            ),
            Stage::Clear(cursor) => (
                self.kib_before(cursor),
                domain.memory_kib,
                "KiB of memory cleared",
            ),
            _ => (0, 0, "preparing"),
        };
        Step::More { done, total, what }
    }
}

fn reserve<H: Hypervisor>(hypervisor: &mut H, domain: &mut Domain<H>) -> Result<(), Failure> {
    let create = CreateDomain {
        uuid: domain.uuid,
        kind: kind_of(domain.plan.config.kind),
        vcpus: domain.plan.config.max_vcpus,
        frames_max: domain.memory_kib / 4,
        ..CreateDomain::default()
    };
    let domid = hypervisor
        .create(&create)
        .map_err(|errno| no_domain(hypervisor, domain.memory_kib, errno))?;
    domain.domid = Some(domid);
    domain.guest_domid = domid.0;
    let record = domain.record();
    hypervisor
        .set_blob(domid, &record)
        .map_err(|errno| refused("keep the domain's record", errno))?;
    scheduling::apply(hypervisor, domid, &domain.plan.config)
}

/// A domain's kind, in the hypervisor's terms.
pub(crate) fn kind_of(kind: messages::DomainKind) -> DomainKind {
    if kind == messages::DomainKind::HVM {
        DomainKind::HVM
    } else {
        DomainKind::PVH
    }
}

/// Leaves two ports for us and tells the guest where everything is.
fn set_parameters<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
    places: &Places,
) -> Answer<GuestPorts> {
    let ports = GuestPorts {
        xenstore: hypervisor.alloc_unbound(domid)?,
        console: hypervisor.alloc_unbound(domid)?,
    };
    for (index, value) in [
        (param::CONSOLE_PFN, places.console_gfn),
        (param::CONSOLE_EVTCHN, u64::from(ports.console)),
        (param::STORE_PFN, places.xenstore_gfn),
        (param::STORE_EVTCHN, u64::from(ports.xenstore)),
    ] {
        hypervisor.set_param(domid, index, value)?;
    }
    Ok(ports)
}

/// Copies what a chunk of a file holds of a part of it; `false`: nothing, and no later one does.
fn copy_part<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
    content: &Content<H::Frames>,
    part: &Part,
    chunk: u64,
) -> Answer<bool> {
    let chunk_start = chunk.saturating_mul(CHUNK as u64);
    let start = part.offset.max(chunk_start);
    let end = part.offset.saturating_add(part.length);
    if start >= end {
        return Ok(false);
    }
    let bytes = match content.piece(chunk) {
        None => return Ok(false),
        // What is not written is cleared later.
        Some(Piece::Zero(_)) => return Ok(true),
        Some(Piece::Bytes(bytes)) => bytes,
    };
    let at = |place: u64| usize::try_from(place.saturating_sub(chunk_start)).unwrap_or(usize::MAX);
    let bytes = bytes.get(at(start)..).unwrap_or_default();
    let bytes = bytes
        .get(..at(end).saturating_sub(at(start)))
        .unwrap_or(bytes);
    let address = part.address.saturating_add(start - part.offset);
    if part.is_alone(content.length()) {
        write_whole_frames(hypervisor, domid, address, bytes)?;
    } else {
        copy_all(hypervisor, domid, address, bytes)?;
    }
    Ok(true)
}

/// Copies one chunk to its place; `false`: there is none.
fn copy_chunk<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
    base: u64,
    content: &Content<H::Frames>,
    chunk: u64,
) -> Answer<bool> {
    let place = base.saturating_add(chunk.saturating_mul(CHUNK as u64));
    match content.piece(chunk) {
        None => Ok(false),
        // What is not written is cleared later.
        Some(Piece::Zero(_)) => Ok(true),
        Some(Piece::Bytes(bytes)) => {
            write_whole_frames(hypervisor, domid, place, bytes).map(|()| true)
        }
    }
}

/// Writes `bytes` and zeros up to the end of the last frame: a frame that is written in part only would be cleared.
fn write_whole_frames<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
    gpa: u64,
    bytes: &[u8],
) -> Answer<()> {
    let (frames, rest) = bytes.as_chunks::<FRAME_SIZE>();
    let whole = frames.as_flattened();
    copy_all(hypervisor, domid, gpa, whole)?;
    if rest.is_empty() {
        return Ok(());
    }
    let mut last = [0; FRAME_SIZE];
    last.iter_mut()
        .zip(rest)
        .for_each(|(into, byte)| *into = *byte);
    copy_all(
        hypervisor,
        domid,
        gpa.saturating_add(whole.len() as u64),
        &last,
    )
}

/// Copies everything, however little a call does.
pub(crate) fn copy_all<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
    mut gpa: u64,
    mut bytes: &[u8],
) -> Answer<()> {
    while !bytes.is_empty() {
        let now = bytes.get(..hv_abi::control::COPY_MAX).unwrap_or(bytes);
        let done = hypervisor.copy_to(domid, gpa, now)?;
        bytes = bytes.get(done..).filter(|_| done > 0).ok_or(Errno::EIO)?;
        gpa = gpa.saturating_add(done as u64);
    }
    Ok(())
}

/// A call that did nothing would be called forever.
pub(crate) fn some(count: u64) -> Answer<u64> {
    if count == 0 {
        Err(Errno::EIO)
    } else {
        Ok(count)
    }
}
