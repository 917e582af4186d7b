//! Caps: how much of a CPU's time a domain may use at most, even when nobody else wants it.
//!
//! The cap is a percentage of one CPU for the whole domain, shared evenly by its vCPUs that are on. A vCPU of such a
//! domain runs for a slice at most; then it waits until the time it ran is no more than its share of the time since.

use core::sync::atomic::Ordering;

use super::{SLICE_NS, TimerKind, enqueue, set_timer};
use crate::arch::Arch;
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::vcpu::{Activity, VcpuSlot};

/// What a vCPU did not use it may use later, up to this much time.
const SAVED_NS: u64 = 3 * SLICE_NS;

/// Percent of a CPU that each vCPU may use; `None`: all of it.
fn share<A: Arch>(domain: &Domain<A>) -> Option<u64> {
    let cap = u64::from(domain.cap.load(Ordering::Relaxed));
    if cap == 0 {
        return None;
    }
    let online = domain.vcpus.iter().filter(|slot| slot.is_online()).count();
    Some((cap / (online as u64).max(1)).max(1)).filter(|share| *share < 100)
}

/// Takes note of time a vCPU ran until now.
pub(super) fn charge<A: Arch>(domain: &Domain<A>, slot: &VcpuSlot<A>, now_ns: u64, ran_ns: u64) {
    let Some(share) = share(domain) else {
        return;
    };
    let began = now_ns.saturating_sub(ran_ns).saturating_sub(SAVED_NS);
    let from = slot.capped_until_ns.load(Ordering::Relaxed).max(began);
    let until = from.saturating_add(ran_ns.saturating_mul(100) / share);
    slot.capped_until_ns.store(until, Ordering::Relaxed);
}

/// Whether a vCPU that would be ready has to wait for its share; it is released then. Called for one that is marked as
/// queued.
pub(super) fn parks<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
) -> bool {
    if domain.cap.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let until = slot.capped_until_ns.load(Ordering::Relaxed);
    if until <= hypervisor.now_ns() || share(domain).is_none() {
        return false;
    }
    set_timer(hypervisor, domain, slot, TimerKind::Release, Some(until));
    slot.run_state.leave_queue();
    true
}

/// Lets a vCPU go on that had to wait.
pub(super) fn release<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, slot: &VcpuSlot<A>) {
    if slot.activity() == Activity::Ready && slot.running_on().is_none() {
        enqueue(hypervisor, domain, slot);
    }
}
