//! Building a domain, one bounded step at a time.
//!
//! Nothing here undoes anything: what a step made is in the [`Domain`] at once (its domid, its backend), so that who
//! gives up takes the domain apart like any other. Frames that are copied over whole are not cleared first.

use super::kernel::{HEADER, KernelImage};
use super::placement::{self, Placement};
use super::tree::{self, Guest};
use crate::backend::{self, GuestPorts};
use crate::domain::{Domain, Plan};
use crate::hypervisor::{Answer, Hypervisor, Run};
use crate::job::{Done, Step, Workshop};
use crate::nodes;
use crate::refusal::{no_domain, refused};
use crate::scheduling;
use crate::store::content::{Content, Piece};
use alloc::format;
use alloc::vec::Vec;
use hv_abi::control::domain::{CreateDomain, DomainKind};
use hv_abi::control::vcpu::StartContext;
use hv_abi::layout::arm::{CONSOLE_GFN, XENSTORE_GFN};
use hv_abi::xen::hvm::param;
use hv_abi::{DomId, Errno, FRAME_SIZE};
use mgmt_proto::blob::CHUNK;
use mgmt_proto::messages::{self, ErrorCode, Failure};

/// The pages of console and xenstore, next to each other.
const MAGIC: Run = Run {
    gfn: CONSOLE_GFN,
    count: XENSTORE_GFN - CONSOLE_GFN + 1,
};

/// A domain being built.
pub(crate) struct Build {
    stage: Stage,
    layout: Layout,
    ports: GuestPorts,
}

/// What is decided before anything is made.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    banks: Vec<Run>,
    placement: Placement,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Reserve,
    Populate(Cursor),
    Kernel { chunk: u64 },
    Ramdisk { chunk: u64 },
    Tree,
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

/// Where things go in a domain of this plan; or why it cannot be built.
pub(crate) fn lay_out<F: AsRef<[u8]>>(plan: &Plan<F>) -> Result<Layout, Failure> {
    let config = &plan.config;
    for content in plan.ramdisk.iter().chain([&plan.kernel]) {
        if let Content::Lost { name, .. } = content {
            let sentence = format!("'{name}' is no longer in the store");
            return Err(Failure::new(ErrorCode::BAD_IMAGE, sentence)
                .with_remedy("destroy the domain and create it again"));
        }
    }
    let start = plan.kernel.start();
    let header = start.get(..HEADER).unwrap_or(start);
    let kernel = KernelImage::parse(header, plan.kernel.length())
        .map_err(|error| Failure::new(ErrorCode::BAD_IMAGE, format!("{error}")))?;
    let ramdisk_length = plan.ramdisk.as_ref().map_or(0, Content::length);
    if plan.ramdisk.is_some() && ramdisk_length == 0 {
        return Err(Failure::new(ErrorCode::BAD_IMAGE, "the ramdisk is empty"));
    }
    let placement = placement::place(kernel, ramdisk_length, config.memory_mib);
    let placement = placement.map_err(|small| {
        let sentence = format!(
            "memory = {} is too little: kernel and ramdisk need {} MiB",
            config.memory_mib, small.needed_mib
        );
        Failure::new(ErrorCode::BAD_CONFIG, sentence).with_remedy("ask for more memory")
    })?;
    let banks = placement::banks(config.memory_mib).ok_or_else(|| {
        let sentence = format!("a domain cannot have {} MiB of memory", config.memory_mib);
        Failure::new(ErrorCode::BAD_CONFIG, sentence)
    })?;
    Ok(Layout { banks, placement })
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
            Stage::Kernel { chunk } => self.copy_kernel(shop.hypervisor, domain, domid, chunk)?,
            Stage::Ramdisk { chunk } => self.copy_ramdisk(shop.hypervisor, domain, domid, chunk)?,
            Stage::Tree => self.write_tree(shop.hypervisor, domain, domid)?,
            Stage::Rings => rings(shop.hypervisor, domid)?,
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
            return Ok(Stage::Kernel { chunk: 0 });
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

    fn copy_kernel<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
        chunk: u64,
    ) -> Result<Stage, Failure> {
        let base = self.layout.placement.kernel;
        let more = copy_chunk(hypervisor, domid, base, &domain.plan.kernel, chunk)
            .map_err(|errno| refused("copy the kernel", errno))?;
        Ok(if more {
            Stage::Kernel {
                chunk: chunk.saturating_add(1),
            }
        } else {
            Stage::Ramdisk { chunk: 0 }
        })
    }

    fn copy_ramdisk<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
        chunk: u64,
    ) -> Result<Stage, Failure> {
        let base = self.layout.placement.ramdisk;
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
            Stage::Tree
        })
    }

    fn write_tree<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domain: &Domain<H>,
        domid: DomId,
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
            placement: self.layout.placement,
            seed,
            kaslr_seed,
        };
        let bytes = tree::build(&guest).ok_or_else(|| {
            Failure::new(
                ErrorCode::BAD_CONFIG,
                "the domain's device tree is too large",
            )
        })?;
        write_whole_frames(hypervisor, domid, self.layout.placement.tree, &bytes)
            .map_err(|errno| refused("write the device tree", errno))?;
        Ok(Stage::Rings)
    }

    fn connect<H: Hypervisor>(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domain: &mut Domain<H>,
        domid: DomId,
    ) -> Result<Stage, Failure> {
        let failed = |errno| refused("connect the domain's console and xenstore", errno);
        let (xenstore, hypervisor) = (&mut *shop.xenstore, &mut *shop.hypervisor);
        self.ports = set_parameters(hypervisor, domid).map_err(failed)?;
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
        };
        nodes::create(xenstore, &facts).map_err(|_| failed(Errno::EIO))?;
        Ok(Stage::Clear(Cursor::default()))
    }

    fn set_context<H: Hypervisor>(&self, hypervisor: &mut H, domid: DomId) -> Result<(), Failure> {
        let context = StartContext {
            entry: self.layout.placement.kernel,
            argument: self.layout.placement.tree,
        };
        hypervisor
            .set_context(domid, 0, &context)
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
            Stage::Kernel { chunk } => (
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

/// Populates and clears the pages of console and xenstore.
fn rings<H: Hypervisor>(hypervisor: &mut H, domid: DomId) -> Result<Stage, Failure> {
    let every = |call: &mut dyn FnMut(Run) -> Answer<u64>| -> Answer<()> {
        let mut done = 0;
        while done < MAGIC.count {
            let run = Run {
                gfn: MAGIC.gfn.saturating_add(done),
                count: MAGIC.count.saturating_sub(done),
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

/// Leaves two ports for us and tells the guest where everything is.
fn set_parameters<H: Hypervisor>(hypervisor: &mut H, domid: DomId) -> Answer<GuestPorts> {
    let ports = GuestPorts {
        xenstore: hypervisor.alloc_unbound(domid)?,
        console: hypervisor.alloc_unbound(domid)?,
    };
    for (index, value) in [
        (param::CONSOLE_PFN, CONSOLE_GFN),
        (param::CONSOLE_EVTCHN, u64::from(ports.console)),
        (param::STORE_PFN, XENSTORE_GFN),
        (param::STORE_EVTCHN, u64::from(ports.xenstore)),
    ] {
        hypervisor.set_param(domid, index, value)?;
    }
    Ok(ports)
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
