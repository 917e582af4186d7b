//! Event channels: the 2-level ABI, 4095 ports a domain.
//!
//! A port is one word ([`Entry`]) in a table frame of the domain; frames come with the ports that need them and are
//! charged to the domain. Ports change under the domain's lock; a pair of ports under both, the lower domain first.
//! Sending takes one lock at a time: the sender's, to find the peer, then the peer's, to make its port pending.
//!
//! What a guest sees are bits in pages that it writes too, so they are touched by atomic words only and trusted for
//! nothing: a port's pending and mask bit in `shared_info`, the selector and the upcall flag in `vcpu_info`. The frame
//! of `shared_info` exists from the first port on, mapped or not, so nothing is lost before the guest maps it.
//!
//! A vCPU that polls publishes the port before it looks at pending bits; a sender sets the bit before it looks at who
//! polls, and marks the poll as over ([`POLL_OVER`]). So one of them sees the other.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::control::domain::{DomainKind, VCPUS_MAX};
use hv_abi::xen::event::{PORTS, virq};
use hv_abi::{DomId, Errno};

use crate::arch::{Arch, Host, Mfn};
use crate::device;
use crate::domain::{Domain, DomainState, notify_upcall, wake};
use crate::hypervisor::Hypervisor;
use crate::vcpu::{NO_ADDRESS, NOT_POLLING, POLLING_ANY, VcpuSlot, count};

mod bind;
mod entry;
mod page;

pub(crate) use bind::lock_both;
pub use bind::{
    alloc_unbound, bind_interdomain, bind_ipi, bind_vcpu, bind_virq, close, close_some, restore,
};
pub use entry::{Entry, Use};
pub(crate) use page::place_vcpu_info;
pub(crate) use page::publish_clocks;
pub use page::{enable_upcalls, ensure_shared_info, register_vcpu_info};

/// A poll that has an answer: the vCPU polls for nothing any more, but has not been told yet.
pub const POLL_OVER: u32 = u32::MAX - 1;

const ENTRIES_PER_PAGE: u32 = 512;
const PAGES: usize = (PORTS / ENTRIES_PER_PAGE) as usize;
/// Ports that a step closes at most.
const STEP: u32 = 64;

/// The ports of a domain.
#[derive(Debug, Default)]
pub struct EventTable {
    pages: [Option<Mfn>; PAGES],
    /// Ports of `virq::TIMER` and `virq::DEBUG` of each vCPU; 0: not bound.
    per_vcpu: [[u16; VCPUS_MAX as usize]; 2],
    /// Ports of the other virtual interrupts.
    global: [u16; virq::COUNT as usize],
    in_use: u32,
}

impl EventTable {
    /// No port in use.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pages: [None; PAGES],
            per_vcpu: [[0; VCPUS_MAX as usize]; 2],
            global: [0; virq::COUNT as usize],
            in_use: 0,
        }
    }

    /// Ports in use.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    fn word<'h, H: Host>(&self, host: &'h H, port: u32) -> Option<&'h AtomicU64> {
        if port == 0 {
            return None;
        }
        let page = (*self.pages.get((port / ENTRIES_PER_PAGE) as usize)?)?;
        host.words(page).get((port % ENTRIES_PER_PAGE) as usize)
    }

    /// What a port is used for.
    #[must_use]
    pub fn get<H: Host>(&self, host: &H, port: u32) -> Option<Entry> {
        Entry::decode(self.word(host, port)?.load(Ordering::Relaxed))
    }

    fn set<H: Host>(&mut self, host: &H, port: u32, entry: Option<Entry>) {
        let Some(word) = self.word(host, port) else {
            return;
        };
        let before = word.swap(entry.map_or(0, Entry::encode), Ordering::Relaxed);
        match (before == 0, entry.is_none()) {
            (true, false) => self.in_use += 1,
            (false, true) => self.in_use = self.in_use.saturating_sub(1),
            _ => {}
        }
    }

    /// The first port in use from `port` on.
    #[must_use]
    pub fn next<H: Host>(&self, host: &H, port: u32) -> Option<(u32, Entry)> {
        let mut port = port.max(1);
        while port < PORTS {
            let page = port / ENTRIES_PER_PAGE;
            if self.pages.get(page as usize).copied().flatten().is_none() {
                port = (page + 1) * ENTRIES_PER_PAGE;
                continue;
            }
            if let Some(entry) = self.get(host, port) {
                return Some((port, entry));
            }
            port += 1;
        }
        None
    }

    /// Where the port of a virtual interrupt is kept. `None`: there is no such interrupt, or not on that vCPU.
    fn virq_slot(&mut self, virq: u32, vcpu: u32) -> Option<&mut u16> {
        match virq {
            virq::TIMER | virq::DEBUG => {
                self.per_vcpu.get_mut(virq as usize)?.get_mut(vcpu as usize)
            }
            _ if vcpu == 0 => self.global.get_mut(virq as usize),
            _ => None,
        }
    }
}

/// Whom to tell, once the lock is released, that a port became pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
struct Delivery {
    port: u32,
    upcall: Option<u32>,
    fresh: bool,
}

fn bit_word<H: Host>(host: &H, page: Mfn, array: usize, port: u32) -> Option<(&AtomicU64, u64)> {
    let word = host.words(page).get(array / 8 + (port / 64) as usize)?;
    Some((word, 1 << (port % 64)))
}

/// Makes a port pending, under its domain's lock.
fn set_pending<A: Arch>(
    host: &A::Host,
    domain: &Domain<A>,
    state: &DomainState<A>,
    port: u32,
    vcpu: u32,
) -> Delivery {
    let nothing = Delivery::default();
    let Some(page) = state.shared_info else {
        return nothing;
    };
    let Some((pending, bit)) = bit_word(host, page, A::SHARED_INFO.pending, port) else {
        return nothing;
    };
    if pending.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return nothing;
    }
    if let Some(slot) = domain.vcpu(vcpu) {
        count(&slot.counters.events);
    }
    Delivery {
        port,
        upcall: select::<A>(host, domain, page, port, vcpu),
        fresh: true,
    }
}

/// Sets the selector and the upcall flag for a pending port, unless it is masked. Returns the vCPU to interrupt.
fn select<A: Arch>(
    host: &A::Host,
    domain: &Domain<A>,
    page: Mfn,
    port: u32,
    vcpu: u32,
) -> Option<u32> {
    let (mask, bit) = bit_word(host, page, A::SHARED_INFO.mask, port)?;
    if mask.load(Ordering::SeqCst) & bit != 0 {
        return None;
    }
    let info = domain.vcpu(vcpu)?.info_address.load(Ordering::Acquire);
    let info = page::InfoWords::<A>::at(host, info)?;
    let selector = 1 << (port / 64);
    if info.selector.fetch_or(selector, Ordering::SeqCst) & selector != 0 {
        return None;
    }
    (info.flags.fetch_or(info.upcall_bit, Ordering::SeqCst) & info.upcall_bit == 0).then_some(vcpu)
}

/// Tells whom a delivery concerns. No lock is held.
#[inline]
fn deliver<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, delivery: Delivery) {
    if !delivery.fresh {
        return;
    }
    if let Some(vcpu) = delivery.upcall {
        notify_upcall(hypervisor, domain, vcpu);
    }
    for slot in &domain.vcpus {
        if slot.polling.load(Ordering::SeqCst) != NOT_POLLING {
            end_poll(hypervisor, domain, slot, delivery.port);
        }
    }
}

/// Ends a vCPU's poll if it is for this port.
#[inline(never)]
fn end_poll<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    port: u32,
) {
    let polls = slot.polling.load(Ordering::SeqCst);
    if polls != port && polls != POLLING_ANY {
        return;
    }
    let over = slot
        .polling
        .compare_exchange(polls, POLL_OVER, Ordering::SeqCst, Ordering::SeqCst);
    if over.is_ok() {
        wake(hypervisor, domain, slot.index);
    }
}

/// Sends an event through a port of `domain`.
///
/// # Errors
/// `EINVAL`: not a port that can be sent through.
pub fn send<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    port: u32,
) -> Result<(), Errno> {
    let host = hypervisor.host;
    let state = domain.lock();
    let entry = state.events.get(host, port).ok_or(Errno::EINVAL)?;
    let (port, vcpu) = match entry.what {
        Use::Ipi => (port, entry.vcpu),
        Use::Interdomain { remote, port: far } if remote == domain.id => {
            let Some(entry) = state.events.get(host, far) else {
                return Ok(());
            };
            (far, entry.vcpu)
        }
        Use::Interdomain { remote, port: far } => {
            drop(state);
            send_remote(hypervisor, domain.id, port, remote, far);
            return Ok(());
        }
        // Whoever was there is gone: what is sent now is lost.
        Use::Unbound { .. } => return Ok(()),
        Use::Virq { .. } => return Err(Errno::EINVAL),
    };
    let delivery = set_pending(host, domain, &state, port, vcpu);
    drop(state);
    deliver(hypervisor, domain, delivery);
    Ok(())
}

#[inline(never)]
fn send_remote<A: Arch>(
    hypervisor: &Hypervisor<A>,
    from: DomId,
    from_port: u32,
    to: DomId,
    port: u32,
) {
    let Some(peer) = hypervisor.domain(to) else {
        return;
    };
    let state = peer.lock();
    let back = Use::Interdomain {
        remote: from,
        port: from_port,
    };
    // It may have been closed or bound elsewhere since we looked at our side.
    let entry = state.events.get(hypervisor.host, port);
    let Some(entry) = entry.filter(|entry| entry.what == back) else {
        return;
    };
    if peer.kind == DomainKind::HVM {
        // It knows nothing of events: the ring's other end is a device of ours.
        drop(state);
        return device::look(hypervisor, &peer);
    }
    let delivery = set_pending(hypervisor.host, &peer, &state, port, entry.vcpu);
    drop(state);
    deliver(hypervisor, &peer, delivery);
}

/// Sends a virtual interrupt to a vCPU (the first, for one that is not per vCPU), if it is bound. Takes the domain's
/// lock.
pub fn send_virq<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, virq: u32, vcpu: u32) {
    send_virq_if(hypervisor, domain, virq, vcpu, || true);
}

/// The same if `condition` holds, which is looked at under the domain's lock.
pub fn send_virq_if<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    virq: u32,
    vcpu: u32,
    condition: impl FnOnce() -> bool,
) {
    let mut state = domain.lock();
    if !condition() {
        return;
    }
    let port = match state.events.virq_slot(virq, vcpu) {
        None | Some(0) => return,
        Some(port) => u32::from(*port),
    };
    let Some(entry) = state.events.get(hypervisor.host, port) else {
        return;
    };
    let delivery = set_pending(hypervisor.host, domain, &state, port, entry.vcpu);
    drop(state);
    deliver(hypervisor, domain, delivery);
}

/// Takes the mask off a port; if it is pending, the upcall that the mask held back is made.
///
/// # Errors
/// `EINVAL`: not in use.
pub fn unmask<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    port: u32,
) -> Result<(), Errno> {
    let host = hypervisor.host;
    let state = domain.lock();
    let entry = state.events.get(host, port).ok_or(Errno::EINVAL)?;
    let page = state.shared_info.ok_or(Errno::EINVAL)?;
    let (mask, bit) = bit_word(host, page, A::SHARED_INFO.mask, port).ok_or(Errno::EINVAL)?;
    let was_masked = mask.fetch_and(!bit, Ordering::SeqCst) & bit != 0;
    let upcall = if was_masked && is_port_pending(host, &state, port) {
        select::<A>(host, domain, page, port, entry.vcpu)
    } else {
        None
    };
    drop(state);
    if let Some(vcpu) = upcall {
        notify_upcall(hypervisor, domain, vcpu);
    }
    Ok(())
}

/// Whether a port is pending. Needs the domain's state only for where `shared_info` is.
pub fn is_port_pending<A: Arch>(host: &A::Host, state: &DomainState<A>, port: u32) -> bool {
    let word = state
        .shared_info
        .and_then(|page| bit_word(host, page, A::SHARED_INFO.pending, port));
    word.is_some_and(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0)
}

/// Takes a port's pending bit away: it is closed, and its next user must not see it.
fn clear_pending<A: Arch>(host: &A::Host, state: &DomainState<A>, port: u32) {
    let word = state
        .shared_info
        .and_then(|page| bit_word(host, page, A::SHARED_INFO.pending, port));
    if let Some((word, bit)) = word {
        word.fetch_and(!bit, Ordering::SeqCst);
    }
}

/// Whether an upcall is due for a vCPU: pending and not masked. Where the interrupt controller masks it, the
/// controller knows better, and this says no. No lock.
pub fn is_pending<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, vcpu: u32) -> bool {
    if A::SHARED_INFO.upcall_mask.is_none() {
        return false;
    }
    let address = domain
        .vcpu(vcpu)
        .map_or(NO_ADDRESS, |slot| slot.info_address.load(Ordering::Acquire));
    page::InfoWords::<A>::at(hypervisor.host, address).is_some_and(|info| info.is_upcall_due())
}

/// Makes the upcalls that are due once more: they may have been made when they could not come, or while the guest was
/// being saved, after its vCPUs were and before its memory.
pub fn renew_upcalls<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    for slot in &domain.vcpus {
        if is_pending(hypervisor, domain, slot.index) {
            notify_upcall(hypervisor, domain, slot.index);
        }
    }
}

/// Whether the port (or any of the ports) that a vCPU polls for is pending. Takes no lock.
pub fn is_poll_over<A: Arch>(_hypervisor: &Hypervisor<A>, domain: &Domain<A>, vcpu: u32) -> bool {
    domain
        .vcpu(vcpu)
        .is_none_or(|slot| slot.polling.load(Ordering::SeqCst) == POLL_OVER)
}

/// Closes some of the ports of a dying domain. `true`: none is left, and what the table took is given back.
pub fn dismantle<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) -> bool {
    if !close_some(hypervisor, domain, STEP) {
        return false;
    }
    let memory = hypervisor.memory(domain);
    let mut state = domain.lock();
    let pages = core::mem::take(&mut state.events.pages);
    for page in pages.into_iter().flatten() {
        memory.give_back_table(page);
    }
    true
}

#[cfg(test)]
mod tests;
