//! Making, listing and ending domains.

use core::sync::atomic::Ordering;

use hv_abi::control::domain::{self as abi, BLOB_MAX, CreateDomain, DomainInfo, ShutdownReason};
use hv_abi::control::vcpu::Usage;
use hv_abi::{DomId, Errno, FRAME_SIZE};

use crate::arch::{Arch, Host};
use crate::domain::destroy::{self, Progress};
use crate::domain::{Domain, DomainRef, add_hold, announce, create, hold, remove_hold};
use crate::event;
use crate::hypercall::{CallContext, Outcome};
use crate::hypervisor::Hypervisor;
use crate::sched;
use crate::vcpu::Activity;

/// Entries one `LIST` returns.
const LIST_MAX: u64 = 64;
const _: () = assert!(BLOB_MAX <= FRAME_SIZE);

/// Serves the call.
pub(super) fn call<A: Arch>(context: &CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [operation, first, second, third, _] = *args;
    let done = match operation {
        abi::CREATE => make(context, first),
        abi::DESTROY => end(context.hypervisor, first),
        abi::PAUSE => return pause(context.hypervisor, args),
        abi::UNPAUSE => unpause(context.hypervisor, first),
        abi::LIST => list(context, first, second, third),
        abi::SET_BLOB => set_blob(context, first, second, third),
        abi::GET_BLOB => get_blob(context, first, second, third),
        abi::SET_SCHEDULING => set_scheduling(context.hypervisor, first, second, third),
        abi::GET_SCHEDULING => scheduling(context.hypervisor, first),
        _ => Err(Errno::ENOSYS),
    };
    Outcome::Done(done)
}

/// The domain with that number, if it is not being destroyed.
///
/// # Errors
/// `ESRCH`.
pub(super) fn find<A: Arch>(
    hypervisor: &Hypervisor<A>,
    number: u64,
) -> Result<DomainRef<A>, Errno> {
    let number = u16::try_from(number).map_err(|_| Errno::ESRCH)?;
    let domain = hypervisor.domain(DomId(number)).ok_or(Errno::ESRCH)?;
    if domain.is_dying() {
        Err(Errno::ESRCH)
    } else {
        Ok(domain)
    }
}

/// The same, but not Domain-0.
///
/// # Errors
/// `ESRCH`, `EINVAL`.
pub(super) fn find_guest<A: Arch>(
    hypervisor: &Hypervisor<A>,
    number: u64,
) -> Result<DomainRef<A>, Errno> {
    let domain = find(hypervisor, number)?;
    if domain.is_dom0() {
        Err(Errno::EINVAL)
    } else {
        Ok(domain)
    }
}

fn make<A: Arch>(context: &CallContext<'_, A>, address: u64) -> Result<u64, Errno> {
    let request: CreateDomain = context.copy_in(address)?;
    create::create(context.hypervisor, &request).map(|id| u64::from(id.0))
}

fn end<A: Arch>(hypervisor: &Hypervisor<A>, number: u64) -> Result<u64, Errno> {
    let number = u16::try_from(number).map_err(|_| Errno::ESRCH)?;
    let domain = hypervisor.domain(DomId(number)).ok_or(Errno::ESRCH)?;
    if domain.is_dom0() {
        return Err(Errno::EINVAL);
    }
    destroy::begin(hypervisor, &domain);
    let id = domain.id;
    drop(domain);
    destroy::step(hypervisor, id).map(|progress| u64::from(progress != Progress::Done))
}

/// Holds a domain and answers when no vCPU of it is on a CPU any more; until then the caller makes the call again.
fn pause<A: Arch>(hypervisor: &Hypervisor<A>, args: &[u64; 5]) -> Outcome {
    let domain = match find_guest(hypervisor, args[1]) {
        Ok(domain) => domain,
        Err(errno) => return Outcome::Done(Err(errno)),
    };
    add_hold(hypervisor, &domain, hold::PAUSED);
    // A timer that expires just now does so under the lock: before this or, as the domain is on hold, not at all.
    drop(domain.lock());
    if domain.is_on_cpu() {
        Outcome::Again(*args)
    } else {
        Outcome::Done(Ok(0))
    }
}

fn unpause<A: Arch>(hypervisor: &Hypervisor<A>, number: u64) -> Result<u64, Errno> {
    let domain = find_guest(hypervisor, number)?;
    if domain.account.uncleared() > 0 {
        return Err(Errno::EBUSY);
    }
    let has_context = domain
        .vcpu(0)
        .is_some_and(|slot| slot.has_context.load(Ordering::Acquire));
    if !has_context {
        return Err(Errno::EINVAL);
    }
    let was_started = core::mem::replace(&mut domain.lock().started, true);
    if !was_started {
        event::renew_upcalls(hypervisor, &domain);
    }
    remove_hold(hypervisor, &domain, hold::PAUSED);
    announce(hypervisor);
    Ok(0)
}

fn list<A: Arch>(
    context: &CallContext<'_, A>,
    first: u64,
    to: u64,
    capacity: u64,
) -> Result<u64, Errno> {
    let mut next = u16::try_from(first).unwrap_or(u16::MAX);
    let mut written = 0;
    while written < capacity.min(LIST_MAX) {
        let Some(domain) = context.hypervisor.domains.next_from(DomId(next)) else {
            break;
        };
        let offset = written * size_of::<DomainInfo>() as u64;
        let at = to.checked_add(offset).ok_or(Errno::EFAULT)?;
        let now_ns = context.hypervisor.now_ns();
        context.copy_out(at, &describe(&domain, now_ns))?;
        written += 1;
        next = domain.id.0.saturating_add(1);
    }
    Ok(written)
}

/// A domain as it is at that moment.
pub(super) fn describe<A: Arch>(domain: &Domain<A>, now_ns: u64) -> DomainInfo {
    let account = &domain.account;
    let slots = || domain.vcpus.iter();
    let mut usage = Usage::default();
    slots().for_each(|slot| usage += slot.usage(now_ns));
    DomainInfo {
        domid: domain.id,
        guest_domid: domain.guest_id,
        state: state_bits(domain),
        kind: domain.kind,
        shutdown_reason: domain.shutdown_reason().unwrap_or(ShutdownReason::POWEROFF),
        vcpus: u32::try_from(domain.vcpus.len()).unwrap_or(0),
        vcpus_online: u32::try_from(slots().filter(|slot| slot.is_online()).count()).unwrap_or(0),
        uuid: domain.uuid,
        frames: account.frames(),
        frames_max: account.frames_max(),
        frames_uncleared: account.uncleared(),
        overhead_frames: account.overhead(),
        usage,
        refusals: domain.refusals.read(),
        created_ns: domain.created_ns,
    }
}

fn state_bits<A: Arch>(domain: &Domain<A>) -> u32 {
    let held = domain.held();
    let pairs = [
        (hold::PAUSED, abi::state::PAUSED),
        (hold::SHUTDOWN, abi::state::SHUTDOWN),
        (hold::DYING, abi::state::DYING),
    ];
    let holds = pairs
        .into_iter()
        .filter(|(hold, _)| held & hold != 0)
        .fold(0, |bits, (_, bit)| bits | bit);
    let ready = domain
        .vcpus
        .iter()
        .any(|slot| slot.activity() == Activity::Ready);
    holds
        | if ready {
            abi::state::RUNNABLE
        } else {
            abi::state::BLOCKED
        }
}

fn set_scheduling<A: Arch>(
    hypervisor: &Hypervisor<A>,
    number: u64,
    weight: u64,
    cap: u64,
) -> Result<u64, Errno> {
    let domain = find(hypervisor, number)?;
    let small = |value: u64, most: u32| {
        let value = u32::try_from(value).map_err(|_| Errno::EINVAL)?;
        (value <= most).then_some(value).ok_or(Errno::EINVAL)
    };
    let weight = small(weight, abi::WEIGHT_MAX)?;
    let cap = small(cap, abi::CAP_MAX)?;
    if weight == 0 {
        return Err(Errno::EINVAL);
    }
    domain.weight.store(weight, Ordering::Relaxed);
    domain.cap.store(cap, Ordering::Relaxed);
    // Slices are made anew: one without a limit has no deadline.
    sched::interrupt_domain(hypervisor, &domain);
    Ok(0)
}

fn scheduling<A: Arch>(hypervisor: &Hypervisor<A>, number: u64) -> Result<u64, Errno> {
    let domain = find(hypervisor, number)?;
    let weight = u64::from(domain.weight.load(Ordering::Relaxed));
    Ok(u64::from(domain.cap.load(Ordering::Relaxed)) << abi::CAP_SHIFT | weight)
}

fn set_blob<A: Arch>(
    context: &CallContext<'_, A>,
    number: u64,
    from: u64,
    length: u64,
) -> Result<u64, Errno> {
    let domain = find_guest(context.hypervisor, number)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= BLOB_MAX)
        .ok_or(Errno::E2BIG)?;
    let mut bytes = [0; BLOB_MAX];
    let bytes = bytes.get_mut(..length).ok_or(Errno::E2BIG)?;
    context.read_bytes(from, bytes)?;
    let memory = context.hypervisor.memory(&domain);
    let mut state = domain.lock();
    let frame = match state.blob {
        Some((frame, _)) => frame,
        None => memory.take_table()?,
    };
    context.hypervisor.host.write(frame, 0, bytes);
    state.blob = Some((frame, u16::try_from(length).map_err(|_| Errno::E2BIG)?));
    Ok(0)
}

fn get_blob<A: Arch>(
    context: &CallContext<'_, A>,
    number: u64,
    to: u64,
    capacity: u64,
) -> Result<u64, Errno> {
    let domain = find_guest(context.hypervisor, number)?;
    let mut bytes = [0; BLOB_MAX];
    let length = match domain.lock().blob {
        Some((frame, length)) => {
            let length = usize::from(length);
            context
                .hypervisor
                .host
                .read(frame, 0, bytes.get_mut(..length).unwrap_or_default());
            length
        }
        None => 0,
    };
    let wanted = usize::try_from(capacity).unwrap_or(BLOB_MAX).min(length);
    context.write_bytes(to, bytes.get(..wanted).unwrap_or_default())?;
    Ok(length as u64)
}
