//! Building Domain-0: RAM one to one, image, start page, devices, boot bundle.
//!
//! Its RAM is the lowest free memory below 4 GiB that is large enough, as blocks of the pool: Domain-0 is one run of
//! frames, so that `gfn = mfn` needs nothing remembered.

use core::fmt;

use hv_abi::control::domain::DomainKind;
use hv_abi::control::vcpu::StartContext;
use hv_abi::start::{Dom0Start, RAM_BANKS, Range};
use hv_abi::{DomId, Errno, FRAME_SHIFT, FRAME_SIZE};
use zerocopy::IntoBytes;

use super::image::{BadImage, Image};
use super::{FRAME, Machine, bundle};
use crate::arch::{Arch, Attributes, Gfn, Host, Mfn, PlatformConfig, Vcpu};
use crate::domain::create::{Blueprint, build as build_domain};
use crate::domain::{DomainRef, hold, remove_hold};
use crate::hypervisor::Hypervisor;
use crate::memory::account::Account;
use crate::memory::frames::{Frame, FrameKind};
use crate::vcpu::Activity;

/// Why there is no Domain-0.
pub(super) enum Problem {
    NoBundle,
    NoMember,
    Image(BadImage),
    NoMemory,
    TooSmall,
    Build(Errno),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBundle => f.write_str("the boot loader passed no boot bundle (initrd)"),
            Self::NoMember => f.write_str("the boot bundle has no member `dom0`"),
            Self::Image(bad) => bad.fmt(f),
            Self::NoMemory => {
                f.write_str("no run of free memory below 4 GiB is large enough for dom0_mem")
            }
            Self::TooSmall => f.write_str("its image does not fit dom0_mem"),
            Self::Build(errno) => write!(f, "{errno:?}"),
        }
    }
}

impl From<Errno> for Problem {
    fn from(errno: Errno) -> Self {
        Self::Build(errno)
    }
}

/// Builds Domain-0 and makes its vCPU ready.
pub(super) fn build<A: Arch>(hypervisor: &Hypervisor<A>, machine: &Machine) -> Result<(), Problem> {
    let (_, archive) = machine.bundle;
    if archive.is_empty() {
        return Err(Problem::NoBundle);
    }
    let file = bundle::find(archive, "dom0").ok_or(Problem::NoMember)?;
    let image = Image::parse(file).map_err(Problem::Image)?;
    let ram = take_ram(hypervisor)?;
    let image_size = image.size().map_err(Problem::Image)?;
    let start_page = ram.base + image_size;
    if image_size + 2 * FRAME > ram.size {
        return Err(Problem::TooSmall);
    }
    let domain = make(hypervisor, ram)?;
    load(hypervisor, &image, ram.base)?;
    let image_range = Range {
        base: ram.base,
        size: image_size + FRAME,
    };
    let page = start_page_for(hypervisor, machine, ram, image_range);
    hypervisor
        .host
        .write(Mfn(start_page >> FRAME_SHIFT), 0, page.as_bytes());
    hypervisor.host.publish(
        Mfn(ram.base >> FRAME_SHIFT),
        image_range.size >> FRAME_SHIFT,
    );
    map_everything(hypervisor, machine, &domain, ram)?;
    begin(
        hypervisor,
        &domain,
        StartContext {
            entry: ram.base + image.entry(),
            argument: start_page,
        },
    )?;
    log::info!(
        "Domain-0: {} KiB at {:#x}, image {} KiB",
        ram.size >> 10,
        ram.base,
        image_size >> 10
    );
    Ok(())
}

/// Takes and clears Domain-0's RAM: blocks of the pool that follow each other.
fn take_ram<A: Arch>(hypervisor: &Hypervisor<A>) -> Result<Range, Problem> {
    let wanted = hypervisor.options.dom0_bytes >> FRAME_SHIFT;
    let below = (1_u64 << 32) >> FRAME_SHIFT;
    let run = hypervisor.frames.allocate_contiguous(
        wanted,
        below,
        Frame::new(FrameKind::Ram, DomId::ZERO),
    );
    let first = run.ok_or(Problem::NoMemory)?;
    (first.0..first.0 + wanted).for_each(|mfn| hypervisor.host.clear(Mfn(mfn)));
    Ok(Range {
        base: first.0 << FRAME_SHIFT,
        size: wanted << FRAME_SHIFT,
    })
}

fn make<A: Arch>(hypervisor: &Hypervisor<A>, ram: Range) -> Result<DomainRef<A>, Errno> {
    let frames = ram.size >> FRAME_SHIFT;
    let domain = build_domain(
        hypervisor,
        Blueprint {
            id: DomId::ZERO,
            guest_id: DomId::ZERO,
            uuid: [0; 16],
            kind: DomainKind::PVH,
            vcpus: 1,
            account: Account::unlimited(frames),
            platform: PlatformConfig {
                vcpus: 1,
                hardware: true,
                hypervisor_visible: true,
                guest_id: DomId::ZERO,
            },
        },
    )?;
    domain.account.adopt_frames(frames);
    Ok(domain)
}

fn load<A: Arch>(hypervisor: &Hypervisor<A>, image: &Image<'_>, base: u64) -> Result<(), Problem> {
    for segment in image.segments() {
        let segment = segment.map_err(Problem::Image)?;
        let mut at = base + segment.offset;
        let mut rest = segment.bytes;
        while !rest.is_empty() {
            let offset = (at % FRAME) as usize;
            let (piece, after) = rest.split_at(rest.len().min(FRAME_SIZE - offset));
            hypervisor.host.write(Mfn(at >> FRAME_SHIFT), offset, piece);
            at += piece.len() as u64;
            rest = after;
        }
    }
    Ok(())
}

fn start_page_for<A: Arch>(
    hypervisor: &Hypervisor<A>,
    machine: &Machine,
    ram: Range,
    image: Range,
) -> Dom0Start {
    let mut page = Dom0Start::empty();
    page.ram = ram;
    page.image = image;
    for (slot, bank) in page
        .ram_banks
        .iter_mut()
        .zip(machine.ram.iter().take(RAM_BANKS))
    {
        *slot = *bank;
    }
    page.bundle = machine.bundle.0;
    page.host_tables = machine.host_tables;
    page.interrupt_controller = machine.interrupt_controller;
    page.interrupt_controller_version = hypervisor.facts.interrupt_controller_version;
    page.event_interrupt = machine.event_interrupt;
    page.timer_interrupt = machine.timer_interrupt;
    page.counter_hz = hypervisor.host.counter_hz();
    page.wall_clock_base_s = machine.wall_clock_base_s;
    page.command_line_length = copy_text(&mut page.command_line, machine.command_line);
    copy_text(&mut page.board, machine.board);
    for (slot, device) in page.devices.iter_mut().zip(&machine.devices) {
        *slot = *device;
        page.device_count += 1;
    }
    page
}

/// Copies as much text as fits; returns its length.
fn copy_text(to: &mut [u8], text: &str) -> u64 {
    let length = text.len().min(to.len());
    for (slot, byte) in to.iter_mut().zip(text.bytes().take(length)) {
        *slot = byte;
    }
    length as u64
}

fn map_everything<A: Arch>(
    hypervisor: &Hypervisor<A>,
    machine: &Machine,
    domain: &DomainRef<A>,
    ram: Range,
) -> Result<(), Errno> {
    map(hypervisor, domain, ram, Attributes::RAM)?;
    for constant in [machine.bundle.0, machine.host_tables] {
        map(hypervisor, domain, constant, Attributes::READ_ONLY)?;
    }
    for device in &machine.devices {
        if device.interrupt != 0 {
            // It is held back in Domain-0's own controller until Domain-0 wants it, and comes once at most until then.
            hypervisor
                .host
                .enable_device_interrupt(device.interrupt, true);
        }
        if device.kind.is_in_port_space() {
            // Domain-0's ports are open for it.
            continue;
        }
        map(hypervisor, domain, device.registers, Attributes::DEVICE)?;
    }
    Ok(())
}

/// Maps the pages of a range one to one. Devices can share a page: what is mapped already stays.
fn map<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &DomainRef<A>,
    range: Range,
    attributes: Attributes,
) -> Result<(), Errno> {
    let memory = hypervisor.memory(domain);
    let mut state = domain.lock();
    let end = range
        .base
        .checked_add(range.size)
        .ok_or(Errno::EINVAL)?
        .div_ceil(FRAME);
    let first = range.base / FRAME;
    if range.size == 0 || memory.lookup(&state, Gfn(first)).is_some() && end == first + 1 {
        return Ok(());
    }
    memory.map(&mut state, Gfn(first), Mfn(first), end - first, attributes)
}

fn begin<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &DomainRef<A>,
    context: StartContext,
) -> Result<(), Errno> {
    let slot = domain.vcpu(0).ok_or(Errno::EINVAL)?;
    let mut registers = slot.registers().ok_or(Errno::EBUSY)?;
    registers.start(&domain.platform, context);
    drop(registers);
    slot.has_context
        .store(true, core::sync::atomic::Ordering::Release);
    slot.set_activity(Activity::Ready);
    domain.lock().started = true;
    remove_hold(hypervisor, domain, hold::PAUSED);
    Ok(())
}
