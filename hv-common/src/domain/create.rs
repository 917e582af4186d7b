//! Making a domain: everything it may ever need is promised before anything is built.

use core::sync::atomic::AtomicU32;

use crate::lock::Lock;
use hv_abi::control::domain::{CreateDomain, DomainKind, VCPUS_MAX};
use hv_abi::{DomId, Errno};

use super::table::vmid;
use super::{Domain, DomainRef, DomainState, NOT_SHUT_DOWN, Refusals, Vcpus, WEIGHT_DEFAULT, hold};
use crate::arch::{Arch, Attributes, Host, Mfn, Platform, PlatformConfig, Pte, Shared, Vcpu};
use crate::device::Devices;
use crate::hypervisor::Hypervisor;
use crate::memory::account::Account;
use crate::memory::frames::{Frame, FrameKind, Frames, Funding, Shortage, run_order_for};
use crate::sched;
use crate::vcpu::VcpuSlot;

/// Most frames a domain may ask for: 1 TiB.
const FRAMES_MAX: u64 = 1 << 28;

/// What is built.
pub(crate) struct Blueprint {
    pub(crate) id: DomId,
    pub(crate) guest_id: DomId,
    pub(crate) uuid: [u8; 16],
    pub(crate) kind: DomainKind,
    pub(crate) vcpus: u32,
    pub(crate) account: Account,
    pub(crate) platform: PlatformConfig,
}

/// Makes a domain, paused and empty.
///
/// # Errors
/// `EINVAL`, `EOPNOTSUPP` (a kind that this architecture has not), `ENOSPC` (no free slot, too many vCPUs), `ENOMEM`; the
/// log says what is missing.
pub fn create<A: Arch>(hypervisor: &Hypervisor<A>, request: &CreateDomain) -> Result<DomId, Errno> {
    check(request)?;
    if request.kind == DomainKind::HVM && A::DEVICES.is_none() {
        return Err(Errno::EOPNOTSUPP);
    }
    let all: usize = hypervisor.domains.iter().map(|d| d.vcpus.len()).sum();
    if all + request.vcpus as usize > sched::VCPUS_MAX {
        log::warn!("create: {all} vCPUs exist, {} at most", sched::VCPUS_MAX);
        return Err(Errno::ENOSPC);
    }
    let id = hypervisor.domains.next_id().ok_or(Errno::ENOSPC)?;
    let guest_id = match request.guest_domid {
        DomId::ZERO => id,
        wanted => wanted,
    };
    let blueprint = Blueprint {
        id,
        guest_id,
        uuid: request.uuid,
        kind: request.kind,
        vcpus: request.vcpus,
        account: Account::new(request.frames_max),
        platform: PlatformConfig {
            vcpus: request.vcpus,
            hardware: false,
            hypervisor_visible: request.kind == DomainKind::PVH,
            guest_id,
        },
    };
    build(hypervisor, blueprint)?;
    log::info!(
        "d{}: made: {} KiB, {} vCPUs",
        id.0,
        request.frames_max << 2,
        request.vcpus
    );
    super::announce(hypervisor);
    Ok(id)
}

fn check(request: &CreateDomain) -> Result<(), Errno> {
    let known = matches!(request.kind, DomainKind::PVH | DomainKind::HVM);
    let vcpus = (1..=VCPUS_MAX).contains(&request.vcpus);
    let frames = (1..=FRAMES_MAX).contains(&request.frames_max);
    let number = request.guest_domid < DomId::FIRST_RESERVED;
    let plain = request.reserved == [0; 3];
    if known && vcpus && frames && number && plain {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn missing(id: DomId, what: &str, shortage: Shortage) -> Errno {
    log::warn!(
        "d{}: not made: {} frames wanted for {what}, {} available",
        id.0,
        shortage.wanted,
        shortage.available
    );
    Errno::ENOMEM
}

/// Builds a domain and puts it into the table.
pub(crate) fn build<A: Arch>(
    hypervisor: &Hypervisor<A>,
    blueprint: Blueprint,
) -> Result<DomainRef<A>, Errno> {
    let id = blueprint.id;
    let promise = blueprint.account.promise();
    let frames = &hypervisor.frames;
    frames
        .reserve(promise)
        .map_err(|shortage| missing(id, "RAM, rings and tables", shortage))?;
    let built = build_root(hypervisor, id).and_then(|root| {
        build_on(hypervisor, blueprint, root)
            .inspect_err(|_| frames.release_block(root, root_order::<A>(), Funding::Free))
    });
    built.inspect_err(|_| frames.unreserve(promise))
}

/// `log2` of the frames that a root takes.
pub(crate) const fn root_order<A: Arch>() -> u32 {
    A::Pte::ROOT_FRAMES.next_power_of_two().trailing_zeros()
}

fn build_root<A: Arch>(hypervisor: &Hypervisor<A>, id: DomId) -> Result<Mfn, Errno> {
    let order = root_order::<A>();
    let frame = Frame::new(FrameKind::Table, id);
    let root = hypervisor
        .frames
        .allocate(order, frame, Funding::Free)
        .map_err(|shortage| missing(id, "its root table", shortage))?;
    for frame in 0..1 << order {
        hypervisor.host.clear(Mfn(root.0 + frame));
    }
    // The tag may have been another domain's.
    hypervisor.host.invalidate_stage2(root, vmid(id), None);
    Ok(root)
}

fn build_on<A: Arch>(
    hypervisor: &Hypervisor<A>,
    blueprint: Blueprint,
    root: Mfn,
) -> Result<DomainRef<A>, Errno> {
    let host = hypervisor.host;
    let platform = A::Platform::new(host, &blueprint.platform)?;
    platform.set_guest_counter(host, 0);
    let mut vcpus = Vcpus::<A>::new();
    let built = build_vcpus(hypervisor, &blueprint, &platform, &mut vcpus);
    if let Err(errno) = built {
        return_vcpus(hypervisor, vcpus);
        return Err(errno);
    }
    let id = blueprint.id;
    let run = take_run::<Domain<A>>(&hypervisor.frames, id);
    let run = match run {
        Ok(run) => run,
        Err(errno) => {
            return_vcpus(hypervisor, vcpus);
            return Err(errno);
        }
    };
    let overhead = (1 << run.order()) + (1 << root_order::<A>());
    let per_vcpu = 1_u64 << vcpu_order::<A>();
    let domain = Domain {
        id,
        guest_id: blueprint.guest_id,
        uuid: blueprint.uuid,
        kind: blueprint.kind,
        created_ns: hypervisor.now_ns(),
        root,
        vmid: vmid(id),
        platform,
        devices: Lock::new(Devices::new()),
        vcpus,
        account: blueprint.account,
        weight: AtomicU32::new(WEIGHT_DEFAULT),
        cap: AtomicU32::new(0),
        refusals: Refusals::default(),
        hold: AtomicU32::new(hold::PAUSED),
        shutdown: AtomicU32::new(NOT_SHUT_DOWN),
        state: Lock::new(DomainState::new(root)),
    };
    domain
        .account
        .adopt_overhead(overhead + per_vcpu * u64::from(blueprint.vcpus));
    let domain = host.share(run, domain);
    let inserted = map_direct_registers(hypervisor, &domain).and_then(|()| {
        let inserted = hypervisor.domains.insert(domain.clone());
        inserted.map_err(|_twin| Errno::EBUSY)
    });
    match inserted {
        Ok(()) => Ok(domain),
        Err(errno) => {
            unmap_direct_registers(hypervisor, &domain);
            return_domain(hypervisor, domain);
            Err(errno)
        }
    }
}

fn map_direct_registers<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
) -> Result<(), Errno> {
    let Some(registers) = domain.platform.direct_registers() else {
        return Ok(());
    };
    let (gfn, mfn) = (registers.gfn, registers.mfn);
    let memory = hypervisor.memory(domain);
    let mut state = domain.lock();
    memory.map(&mut state, gfn, mfn, registers.count, Attributes::DEVICE)
}

/// Their tables go back with them.
fn unmap_direct_registers<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    let Some(registers) = domain.platform.direct_registers() else {
        return;
    };
    let memory = hypervisor.memory(domain);
    let mut state = domain.lock();
    // Whole leaves, or nothing: no table is needed.
    let _unmapped = state
        .stage2
        .unmap_range(&memory, registers.gfn, registers.count);
}

const fn vcpu_order<A: Arch>() -> u32 {
    run_order_for(size_of::<VcpuSlot<A>>(), align_of::<VcpuSlot<A>>())
}

fn take_run<T>(frames: &Frames, id: DomId) -> Result<crate::memory::frames::FrameRun, Errno> {
    let order = run_order_for(size_of::<T>(), align_of::<T>());
    frames
        .allocate_run(order, id)
        .map_err(|shortage| missing(id, "its records", shortage))
}

fn build_vcpus<A: Arch>(
    hypervisor: &Hypervisor<A>,
    blueprint: &Blueprint,
    platform: &A::Platform,
    vcpus: &mut Vcpus<A>,
) -> Result<(), Errno> {
    let cpus = u32::try_from(hypervisor.cpus.len()).unwrap_or(1).max(1);
    for index in 0..blueprint.vcpus {
        let registers = A::Vcpu::new(index, platform)?;
        let run = take_run::<VcpuSlot<A>>(&hypervisor.frames, blueprint.id)?;
        let home = (u32::from(blueprint.id.0) + index) % cpus;
        let slot = VcpuSlot::new(index, registers, home, hypervisor.now_ns());
        let slot = hypervisor.host.share(run, slot);
        vcpus.push(slot).map_err(|_| Errno::EINVAL)?;
    }
    Ok(())
}

fn return_vcpus<A: Arch>(hypervisor: &Hypervisor<A>, vcpus: Vcpus<A>) {
    for slot in vcpus {
        return_shared(hypervisor, slot);
    }
}

/// Gives a shared value's frames back. Nobody else holds it.
fn return_shared<A: Arch, T: Send + Sync + 'static>(
    hypervisor: &Hypervisor<A>,
    shared: Shared<A, T>,
) {
    match hypervisor.host.unshare(shared) {
        Ok(run) => hypervisor.frames.release_run(run),
        Err(_) => log::error!("a record was still in use; its frames are lost"),
    }
}

/// Ends a domain's value and its vCPUs', which only it holds.
fn return_domain<A: Arch>(hypervisor: &Hypervisor<A>, domain: DomainRef<A>) {
    let _still_held = try_return_domain(hypervisor, domain);
}

/// The same, if nobody else holds the domain.
///
/// # Errors
/// The domain, unchanged, if somebody does.
pub(crate) fn try_return_domain<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: DomainRef<A>,
) -> Result<(), DomainRef<A>> {
    let vcpus = domain.vcpus.clone();
    let run = hypervisor.host.unshare(domain)?;
    hypervisor.frames.release_run(run);
    return_vcpus(hypervisor, vcpus);
    Ok(())
}
