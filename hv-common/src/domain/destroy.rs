//! Ending a domain: a state, worked off in bounded steps.
//!
//! Once a domain is dying it never runs again. When its last vCPU has left its CPU, its ports are closed, its grant
//! mappings dropped, its memory map taken apart (frames that others have mapped stay until they drop them), and last its
//! tables and records returned. Whoever asked calls [`step`] again and again; CPUs go on by themselves when idle and
//! every now and then when busy.

use core::sync::atomic::Ordering;

use hv_abi::{DomId, Errno};

use super::create::{root_order, try_return_domain};
use super::{Domain, add_hold, announce, hold};
use crate::arch::{Arch, Host, Mfn};
use crate::hypervisor::Hypervisor;
use crate::memory::frames::Funding;
use crate::memory::stage2::Mapped;
use crate::vcpu::NO_ADDRESS;
use crate::{device, event, grant, sched};

/// Cost of a step, in pages.
const STEP_BUDGET: u32 = 256;
/// Cost of a 2 MiB leaf.
const BLOCK_COST: u32 = 16;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Everything is returned.
    Done,
    /// A step was made, there are more.
    More,
    /// It waits for another CPU.
    Waiting,
}

/// Makes a domain dying. Harmless when it is already.
pub fn begin<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    if domain.is_dying() {
        return;
    }
    add_hold(hypervisor, domain, hold::DYING);
    hypervisor.domains.dying.fetch_add(1, Ordering::SeqCst);
    log::info!("d{}: being destroyed", domain.id.0);
    announce(hypervisor);
}

/// Makes one step.
///
/// # Errors
/// `ESRCH`: no such domain; `EBUSY`: it is not dying.
pub fn step<A: Arch>(hypervisor: &Hypervisor<A>, id: DomId) -> Result<Progress, Errno> {
    let domain = hypervisor.domain(id).ok_or(Errno::ESRCH)?;
    if !domain.is_dying() {
        return Err(Errno::EBUSY);
    }
    if domain.is_on_cpu() {
        return Ok(Progress::Waiting);
    }
    if !event::dismantle(hypervisor, &domain) || !grant::dismantle(hypervisor, &domain) {
        return Ok(Progress::More);
    }
    if !dismantle_memory(hypervisor, &domain) {
        return Ok(Progress::More);
    }
    drop(domain);
    Ok(finish(hypervisor, id))
}

fn dismantle_memory<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) -> bool {
    sched::forget_domain(hypervisor, domain.id);
    drop_pins(hypervisor, domain);
    let memory = hypervisor.memory(domain);
    memory.end_promise();
    let give_back = |mapped: Mapped| {
        let leaf = mapped.leaf;
        if !memory.is_own_ram(leaf.mfn) {
            return 1;
        }
        memory.give_back_for_good(leaf.mfn, leaf.count.trailing_zeros());
        if leaf.count > 1 { BLOCK_COST } else { 1 }
    };
    let mut state = domain.lock();
    if !state.stage2.dismantle(&memory, STEP_BUDGET, give_back) {
        return false;
    }
    if let Some(page) = state.shared_info.take() {
        memory.give_back(page, 0);
    }
    if let Some((table, _)) = state.blob.take() {
        memory.give_back_table(table);
    }
    true
}

/// Drops the references that `vcpu_info` registrations and devices hold.
fn drop_pins<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    device::detach(hypervisor, domain);
    for slot in &domain.vcpus {
        let address = slot.info_address.swap(NO_ADDRESS, Ordering::AcqRel);
        if address != NO_ADDRESS {
            let frame = Mfn(address >> hv_abi::FRAME_SHIFT);
            hypervisor.frames.drop_reference(frame);
        }
    }
}

/// Returns the root and the records. Nobody may hold the domain any more.
fn finish<A: Arch>(hypervisor: &Hypervisor<A>, id: DomId) -> Progress {
    let Some(domain) = hypervisor.domains.remove(id) else {
        return Progress::Done;
    };
    let (root, vmid) = (domain.root, domain.vmid);
    if let Err(domain) = try_return_domain(hypervisor, domain) {
        // Another CPU looks at it just now. The slot is still free: nobody else takes this number.
        if hypervisor.domains.insert(domain).is_err() {
            log::error!("d{}: its slot was taken", id.0);
        }
        return Progress::Waiting;
    }
    hypervisor.host.invalidate_stage2(root, vmid, None);
    hypervisor
        .frames
        .release_block(root, root_order::<A>(), Funding::Free);
    hypervisor.domains.dying.fetch_sub(1, Ordering::SeqCst);
    log::info!("d{}: gone", id.0);
    announce(hypervisor);
    Progress::Done
}

/// Whether a domain is waiting to be worked off.
#[must_use]
pub fn is_due<A: Arch>(hypervisor: &Hypervisor<A>) -> bool {
    hypervisor.domains.dying.load(Ordering::SeqCst) > 0
}

/// Makes one step for one dying domain. Returns whether there is more that this CPU can do at once.
pub fn work<A: Arch>(hypervisor: &Hypervisor<A>) -> bool {
    if !is_due(hypervisor) {
        return false;
    }
    let dying = hypervisor.domains.iter().find(|domain| domain.is_dying());
    let Some(id) = dying.map(|domain| domain.id) else {
        return false;
    };
    matches!(step(hypervisor, id), Ok(Progress::More | Progress::Done))
}
