//! Making and ending ports.

use crate::lock::Guard;
use hv_abi::xen::event::{PORTS, virq};
use hv_abi::{DomId, Errno};

use super::{
    ENTRIES_PER_PAGE, Entry, EventTable, Use, clear_pending, deliver, ensure_shared_info,
    set_pending,
};
use crate::arch::Arch;
use crate::domain::{Domain, DomainState};
use crate::hypervisor::Hypervisor;

/// How often a port that changes while its two domains are being locked is looked at.
const CLOSE_TRIES: u32 = 8;

/// Finds a free port, and a frame for it if needed. The domain has a `shared_info` then.
fn free_port<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    state: &mut DomainState<A>,
) -> Result<u32, Errno> {
    if domain.is_dying() {
        return Err(Errno::ESRCH);
    }
    ensure_shared_info(hypervisor, domain, state)?;
    for port in 1..PORTS {
        if port == 1 || port % ENTRIES_PER_PAGE == 0 {
            ensure_page(hypervisor, domain, &mut state.events, port)?;
        }
        if state.events.get(hypervisor.host, port).is_none() {
            return Ok(port);
        }
    }
    Err(Errno::ENOSPC)
}

fn ensure_page<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    events: &mut EventTable,
    port: u32,
) -> Result<(), Errno> {
    let index = (port / ENTRIES_PER_PAGE) as usize;
    let page = events.pages.get_mut(index).ok_or(Errno::EINVAL)?;
    if page.is_none() {
        *page = Some(hypervisor.memory(domain).take_table()?);
    }
    Ok(())
}

fn check_vcpu<A: Arch>(domain: &Domain<A>, vcpu: u32) -> Result<(), Errno> {
    domain.vcpu(vcpu).map(|_| ()).ok_or(Errno::ENOENT)
}

/// Leaves a port for `remote` to bind to.
///
/// # Errors
/// `ENOSPC`, `ENOMEM`.
pub fn alloc_unbound<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    remote: DomId,
) -> Result<u32, Errno> {
    let what = Use::Unbound { remote };
    bind(hypervisor, domain, Entry { what, vcpu: 0 })
}

fn bind<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    entry: Entry,
) -> Result<u32, Errno> {
    let mut state = domain.lock();
    let port = free_port(hypervisor, domain, &mut state)?;
    state.events.set(hypervisor.host, port, Some(entry));
    Ok(port)
}

/// Makes a port for interrupts between vCPUs.
///
/// # Errors
/// `ENOENT`: no such vCPU; `ENOSPC`, `ENOMEM`.
pub fn bind_ipi<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    vcpu: u32,
) -> Result<u32, Errno> {
    check_vcpu(domain, vcpu)?;
    let what = Use::Ipi;
    bind(hypervisor, domain, Entry { what, vcpu })
}

/// Makes a port for a virtual interrupt.
///
/// # Errors
/// `EINVAL`: no such interrupt on that vCPU; `ENOENT`: no such vCPU; `EEXIST`: bound; `ENOSPC`, `ENOMEM`.
pub fn bind_virq<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    virq: u32,
    vcpu: u32,
) -> Result<u32, Errno> {
    check_vcpu(domain, vcpu)?;
    let mut state = domain.lock();
    if *state.events.virq_slot(virq, vcpu).ok_or(Errno::EINVAL)? != 0 {
        return Err(Errno::EEXIST);
    }
    let port = free_port(hypervisor, domain, &mut state)?;
    let what = Use::Virq { virq };
    let entry = Entry { what, vcpu };
    state.events.set(hypervisor.host, port, Some(entry));
    set_virq(&mut state.events, virq, vcpu, port);
    Ok(port)
}

fn set_virq(events: &mut EventTable, virq: u32, vcpu: u32, port: u32) {
    if let Some(slot) = events.virq_slot(virq, vcpu) {
        *slot = u16::try_from(port).unwrap_or(0);
    }
}

/// The states of two domains, locked; the second is `None` for one domain with itself.
pub(crate) type Pair<'a, A> = (Guard<'a, DomainState<A>>, Option<Guard<'a, DomainState<A>>>);

/// Takes the locks of two domains, the lower number's first.
pub(crate) fn lock_both<'a, A: Arch>(first: &'a Domain<A>, second: &'a Domain<A>) -> Pair<'a, A> {
    if first.id == second.id {
        return (first.lock(), None);
    }
    if first.id < second.id {
        let ours = first.lock();
        return (ours, Some(second.lock()));
    }
    let theirs = second.lock();
    (first.lock(), Some(theirs))
}

/// Connects a new port to one that `peer` left for this domain. The new port is pending at once: what was sent before
/// is not lost.
///
/// # Errors
/// `EINVAL`: not a port left for us; `ENOSPC`, `ENOMEM`.
pub fn bind_interdomain<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    peer: &Domain<A>,
    remote_port: u32,
) -> Result<u32, Errno> {
    let host = hypervisor.host;
    let (mut ours, mut theirs) = lock_both(domain, peer);
    let far = theirs
        .as_deref()
        .unwrap_or(&ours)
        .events
        .get(host, remote_port);
    let left_for_us = Use::Unbound { remote: domain.id };
    let far = far.filter(|far| far.what == left_for_us);
    let far = far.ok_or(Errno::EINVAL)?;
    let port = free_port(hypervisor, domain, &mut ours)?;
    let near = |remote, port| Use::Interdomain { remote, port };
    let entry = Entry {
        what: near(peer.id, remote_port),
        vcpu: 0,
    };
    ours.events.set(host, port, Some(entry));
    let back = Entry {
        what: near(domain.id, port),
        vcpu: far.vcpu,
    };
    let table = theirs.as_deref_mut().unwrap_or(&mut ours);
    table.events.set(host, remote_port, Some(back));
    let delivery = set_pending(host, domain, &ours, port, 0);
    drop((ours, theirs));
    deliver(hypervisor, domain, delivery);
    Ok(port)
}

/// Closes a port. Its peer's port waits for this domain again.
///
/// # Errors
/// `EINVAL`: not in use; `EAGAIN`: its peer changed sides all the time.
pub fn close<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    port: u32,
) -> Result<(), Errno> {
    for _ in 0..CLOSE_TRIES {
        let mut state = domain.lock();
        let entry = state.events.get(hypervisor.host, port);
        let entry = entry.ok_or(Errno::EINVAL)?;
        let Use::Interdomain { remote, port: far } = entry.what else {
            free(hypervisor, &mut state, port, entry);
            return Ok(());
        };
        drop(state);
        if close_pair(hypervisor, domain, port, remote, far) {
            return Ok(());
        }
    }
    Err(Errno::EAGAIN)
}

fn free<A: Arch>(hypervisor: &Hypervisor<A>, state: &mut DomainState<A>, port: u32, entry: Entry) {
    if let Use::Virq { virq } = entry.what {
        // Bound to one vCPU and moved to another, a global interrupt is still found by its number.
        unbind_virq(&mut state.events, virq, port);
    }
    state.events.set(hypervisor.host, port, None);
    clear_pending(hypervisor.host, state, port);
}

fn unbind_virq(events: &mut EventTable, virq: u32, port: u32) {
    let slots = match virq {
        virq::TIMER | virq::DEBUG => events
            .per_vcpu
            .get_mut(virq as usize)
            .map(|all| &mut all[..]),
        _ => events
            .global
            .get_mut(virq as usize)
            .map(core::slice::from_mut),
    };
    for slot in slots.into_iter().flatten() {
        if u32::from(*slot) == port {
            *slot = 0;
        }
    }
}

/// Closes a connected port. `false`: it has changed since it was looked at.
fn close_pair<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    port: u32,
    remote: DomId,
    far: u32,
) -> bool {
    let host = hypervisor.host;
    let peer = hypervisor.domain(remote);
    let (mut ours, mut theirs) = match &peer {
        Some(peer) => lock_both(domain, peer),
        None => (domain.lock(), None),
    };
    let what = Use::Interdomain { remote, port: far };
    let entry = ours.events.get(host, port);
    let Some(entry) = entry.filter(|entry| entry.what == what) else {
        return false;
    };
    free(hypervisor, &mut ours, port, entry);
    if peer.is_none() {
        return true;
    }
    let table = theirs.as_deref_mut().unwrap_or(&mut ours);
    let back = Use::Interdomain {
        remote: domain.id,
        port,
    };
    if let Some(entry) = table.events.get(host, far).filter(|far| far.what == back) {
        let what = Use::Unbound { remote: domain.id };
        table.events.set(host, far, Some(Entry { what, ..entry }));
    }
    true
}

/// Closes at most `count` ports. Returns whether none is left.
pub fn close_some<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, count: u32) -> bool {
    let mut from = 1;
    for _ in 0..count {
        let next = domain.lock().events.next(hypervisor.host, from);
        let Some((port, _)) = next else {
            return true;
        };
        let _was_in_use = close(hypervisor, domain, port);
        from = port;
    }
    domain.lock().events.in_use() == 0
}

/// Lets another vCPU be notified.
///
/// # Errors
/// `ENOENT`: no such vCPU; `EINVAL`: not in use, or tied to its vCPU.
pub fn bind_vcpu<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    port: u32,
    vcpu: u32,
) -> Result<(), Errno> {
    check_vcpu(domain, vcpu)?;
    let mut state = domain.lock();
    let entry = state.events.get(hypervisor.host, port);
    let entry = entry.ok_or(Errno::EINVAL)?;
    let tied = matches!(
        entry.what,
        Use::Ipi
            | Use::Virq {
                virq: virq::TIMER | virq::DEBUG
            }
    );
    if tied {
        return Err(Errno::EINVAL);
    }
    let entry = Entry { vcpu, ..entry };
    state.events.set(hypervisor.host, port, Some(entry));
    Ok(())
}

/// Puts a port from a record back. The domain has never run.
///
/// # Errors
/// `EINVAL`: in use already, or its virtual interrupt is bound; `ENOMEM`.
pub fn restore<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    port: u32,
    entry: Entry,
) -> Result<(), Errno> {
    let mut state = domain.lock();
    ensure_shared_info(hypervisor, domain, &mut state)?;
    ensure_page(hypervisor, domain, &mut state.events, port)?;
    if state.events.get(hypervisor.host, port).is_some() {
        return Err(Errno::EINVAL);
    }
    if let Use::Virq { virq } = entry.what {
        let home = match virq {
            virq::TIMER | virq::DEBUG => entry.vcpu,
            _ => 0,
        };
        if *state.events.virq_slot(virq, home).ok_or(Errno::EINVAL)? != 0 {
            return Err(Errno::EINVAL);
        }
        set_virq(&mut state.events, virq, home, port);
    }
    state.events.set(hypervisor.host, port, Some(entry));
    Ok(())
}
