//! `memory_op`: special pages in a domain's memory, and ballooning.
//!
//! The upper bits of the command say at which element of a batch to start, which is how a batch that gives way goes on.
//!
//! Domain-0 is identity-mapped. It maps special pages over frames of its own RAM only, and those frames stay its own:
//! nobody else is ever given a machine frame at whose address Domain-0 sees something else. It cannot ask for frames.

use hv_abi::xen::memory::{
    self as abi, AddToPhysmap, AddToPhysmapBatch, COMMAND_BITS, RemoveFromPhysmap, Reservation,
    space,
};
use hv_abi::{DomId, Errno};

use super::{CallContext, Outcome};
use crate::arch::{Arch, Attributes, Gfn, Host, Mfn};
use crate::domain::{Domain, DomainRef, DomainState};
use crate::hypervisor::Hypervisor;
use crate::memory::stage2::{Leaf, Stage2};
use crate::{event, grant};

/// Serves the call.
#[inline(never)]
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, argument, ..] = *args;
    let result = match command & ((1 << COMMAND_BITS) - 1) {
        abi::ADD_TO_PHYSMAP => add_to_physmap(context, argument),
        abi::ADD_TO_PHYSMAP_BATCH => return add_batch(context, args),
        abi::REMOVE_FROM_PHYSMAP => remove_from_physmap(context, argument),
        abi::DECREASE_RESERVATION => return reservation(context, args, give_up),
        abi::POPULATE_PHYSMAP => return reservation(context, args, populate),
        abi::CURRENT_RESERVATION => {
            subject_by_pointer(context, argument).map(|subject| subject.account.frames())
        }
        abi::MAXIMUM_RESERVATION => {
            subject_by_pointer(context, argument).map(|subject| subject.account.frames_max())
        }
        abi::MAXIMUM_GPFN => subject_by_pointer(context, argument)
            .map(|subject| highest_gfn(context.hypervisor, &subject)),
        abi::GET_VNUMA_INFO => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::ENOSYS),
    };
    Outcome::Done(result)
}

fn subject_by_pointer<A: Arch>(
    context: &CallContext<'_, A>,
    argument: u64,
) -> Result<DomainRef<A>, Errno> {
    let id: DomId = context.copy_in(argument)?;
    context.subject(id)
}

/// The highest guest frame that is mapped. "Something is mapped from here on" holds up to it and not beyond, so it is
/// found by halving.
fn highest_gfn<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) -> u64 {
    let memory = hypervisor.memory(domain);
    let state = domain.lock();
    let (mut below, mut above) = (0, Stage2::<A::Pte>::limit());
    while below + 1 < above {
        let middle = below + (above - below) / 2;
        match state.stage2.next(&memory, Gfn(middle)) {
            Some(mapped) => below = mapped.gfn.0.clamp(middle, above - 1),
            None => above = middle,
        }
    }
    below
}

// -------------------------------------------------------------------------------------------------- special pages

/// Forgets where a special page was mapped, if `leaf` was one.
fn forget<A: Arch>(state: &mut DomainState<A>, leaf: Leaf) {
    if state.shared_info == Some(leaf.mfn) {
        state.shared_info_gfn = None;
    }
    state.grants.forget_mapping(leaf.mfn);
}

/// Takes away what is mapped at a guest frame to make room for a special page.
fn make_room<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    state: &mut DomainState<A>,
    gfn: Gfn,
) -> Result<(), Errno> {
    let memory = hypervisor.memory(domain);
    let leaf = memory.lookup(state, gfn);
    if domain.is_dom0() {
        let leaf = leaf.ok_or(Errno::EINVAL)?;
        let is_special = leaf.mfn.0 != gfn.0;
        if !is_special && !memory.is_own_ram(leaf.mfn) {
            return Err(Errno::EINVAL);
        }
        state.stage2.unmap(&memory, gfn)?;
        forget(state, leaf);
    } else if let Some(leaf) = memory.unmap(state, gfn)? {
        forget(state, leaf);
    }
    Ok(())
}

/// Maps a special page, taking it away from where it was.
pub(crate) fn place_special<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    state: &mut DomainState<A>,
    page: Mfn,
    old: Option<Gfn>,
    new: Gfn,
    attributes: Attributes,
) -> Result<(), Errno> {
    if new.0 >= Stage2::<A::Pte>::limit() {
        return Err(Errno::EINVAL);
    }
    let memory = hypervisor.memory(domain);
    let is_at = |state: &DomainState<A>, gfn| {
        memory
            .lookup(state, gfn)
            .is_some_and(|leaf| leaf.mfn == page)
    };
    if is_at(state, new) {
        return Ok(());
    }
    if let Some(old) = old.filter(|old| is_at(state, *old)) {
        state.stage2.unmap(&memory, old)?;
    }
    make_room(hypervisor, domain, state, new)?;
    memory.map(state, new, page, 1, attributes)
}

/// Maps `shared_info`.
pub(crate) fn place_shared_info<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    state: &mut DomainState<A>,
    gfn: Gfn,
) -> Result<(), Errno> {
    let page = event::ensure_shared_info(hypervisor, domain, state)?;
    let old = state.shared_info_gfn;
    place_special(
        hypervisor,
        domain,
        state,
        page,
        old,
        gfn,
        Attributes::SHARED,
    )?;
    state.shared_info_gfn = Some(gfn);
    Ok(())
}

fn place<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    space: u32,
    index: u64,
    gfn: Gfn,
) -> Result<(), Errno> {
    let mut state = domain.lock();
    if domain.is_dying() {
        return Err(Errno::ESRCH);
    }
    match u16::try_from(space) {
        Ok(space::SHARED_INFO) if index == 0 => {
            place_shared_info(hypervisor, domain, &mut state, gfn)
        }
        Ok(space::GRANT_TABLE) => {
            // A status frame of version 2 has a bit set that makes it too large a number.
            let index = u32::try_from(index).map_err(|_| Errno::EINVAL)?;
            grant::map_frame(hypervisor, domain, &mut state, index, gfn)
        }
        Ok(space::GMFN) => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

fn add_to_physmap<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let request: AddToPhysmap = context.copy_in(argument)?;
    let subject = context.subject(request.domid)?;
    let gfn = Gfn(request.gpfn);
    place(
        context.hypervisor,
        &subject,
        request.space,
        request.index,
        gfn,
    )?;
    Ok(0)
}

fn remove_from_physmap<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let request: RemoveFromPhysmap = context.copy_in(argument)?;
    let subject = context.subject(request.domid)?;
    let memory = context.hypervisor.memory(&subject);
    let mut state = subject.lock();
    let leaf = memory.unmap(&mut state, Gfn(request.gpfn))?;
    forget(&mut state, leaf.ok_or(Errno::ENOENT)?);
    Ok(0)
}

// -------------------------------------------------------------------------------------------------------- batches

/// Works off the elements of a batch from the one that the command names. `serve` says whether to go on; the value of
/// the call is the number of elements done.
fn elements<A: Arch>(
    context: &CallContext<'_, A>,
    args: &[u64; 5],
    count: u64,
    mut serve: impl FnMut(u64) -> Result<bool, Errno>,
) -> Outcome {
    let [command, second, third, fourth, fifth] = *args;
    let start = command >> COMMAND_BITS;
    let mut index = start;
    while index < count {
        let done = usize::try_from(index - start).unwrap_or(usize::MAX);
        if context.should_stop(done) {
            let operation = command & ((1 << COMMAND_BITS) - 1);
            let command = index << COMMAND_BITS | operation;
            return Outcome::Again([command, second, third, fourth, fifth]);
        }
        match serve(index) {
            Ok(true) => index += 1,
            Ok(false) => break,
            Err(errno) => return Outcome::Done(Err(errno)),
        }
    }
    Outcome::Done(Ok(index))
}

fn element(array: u64, index: u64, size: u64) -> Result<u64, Errno> {
    let offset = index.checked_mul(size).ok_or(Errno::EFAULT)?;
    array.checked_add(offset).ok_or(Errno::EFAULT)
}

fn add_batch<A: Arch>(context: &CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let prepared = context
        .copy_in(args[1])
        .and_then(|batch: AddToPhysmapBatch| {
            let subject = context.subject(batch.domid)?;
            Ok((batch, subject))
        });
    let (batch, subject) = match prepared {
        Ok(prepared) => prepared,
        Err(errno) => return Outcome::Done(Err(errno)),
    };
    let outcome = elements(context, args, u64::from(batch.size), |at| {
        let index = context.copy_in(element(batch.indices, at, 8)?)?;
        let gfn = Gfn(context.copy_in(element(batch.gpfns, at, 8)?)?);
        let space = u32::from(batch.space);
        let error = match place(context.hypervisor, &subject, space, index, gfn) {
            Ok(()) => 0,
            Err(errno) => -(errno as i32),
        };
        context.copy_out(element(batch.errors, at, 4)?, &error)?;
        Ok(true)
    });
    // Unlike the others, this one says 0 when all are done.
    match outcome {
        Outcome::Done(Ok(_)) => Outcome::Done(Ok(0)),
        other => other,
    }
}

/// A change of one guest frame. Returns whether it could be made.
type Change<A> = fn(&Hypervisor<A>, &Domain<A>, Gfn) -> bool;

fn reservation<A: Arch>(
    context: &CallContext<'_, A>,
    args: &[u64; 5],
    change: Change<A>,
) -> Outcome {
    let prepared = context.copy_in(args[1]).and_then(|request: Reservation| {
        let subject = context.subject(request.domid)?;
        Ok((request, subject))
    });
    let (request, subject) = match prepared {
        Ok(prepared) => prepared,
        Err(errno) => return Outcome::Done(Err(errno)),
    };
    // Extents larger than a frame are not offered: none is done, as when there is no memory for them.
    let count = if request.order == 0 { request.count } else { 0 };
    elements(context, args, count, |at| {
        let gfn = Gfn(context.copy_in(element(request.extents, at, 8)?)?);
        Ok(change(context.hypervisor, &subject, gfn))
    })
}

fn give_up<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, gfn: Gfn) -> bool {
    let memory = hypervisor.memory(domain);
    let mut state = domain.lock();
    let leaf = memory.lookup(&state, gfn);
    leaf.is_some_and(|leaf| memory.is_own_ram(leaf.mfn))
        && !domain.is_dying()
        && memory.unmap(&mut state, gfn).is_ok()
}

fn populate<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, gfn: Gfn) -> bool {
    let memory = hypervisor.memory(domain);
    let mut state = domain.lock();
    let vacant = gfn.0 < Stage2::<A::Pte>::limit() && memory.lookup(&state, gfn).is_none();
    if !vacant || domain.is_dom0() || domain.is_dying() {
        return false;
    }
    let Ok(frame) = memory.take_ram() else {
        return false;
    };
    hypervisor.host.publish(frame, 1);
    let mapped = memory.map(&mut state, gfn, frame, 1, Attributes::RAM);
    if mapped.is_err() {
        memory.give_back(frame, 0);
    }
    mapped.is_ok()
}
