//! Memory of domains: populated by extents, filled and read by copies. There is no foreign mapping.

use hv_abi::control::COPY_MAX;
use hv_abi::control::memory::{self as abi, Copy, Extent};
use hv_abi::{Errno, FRAME_SIZE};

use super::domain::find_guest;
use crate::arch::{Access, Arch, Attributes, Gfn, Gpa, Host, Mfn};
use crate::domain::{Domain, DomainRef, DomainState};
use crate::hypercall::CallContext;
use crate::memory::account::DomainMemory;
use crate::memory::frames::FrameKind;
use crate::memory::guest::left_in_page;

/// Order of a 2 MiB block.
const BLOCK_ORDER: u32 = 9;
/// Blocks of memory one call adds.
const BLOCKS_AT_ONCE: u32 = 16;
/// Frames one call clears.
const CLEARED_AT_ONCE: u64 = 192;
/// Frames one call looks at.
const LOOKED_AT_ONCE: u64 = 1024;
/// Leaves one call looks at.
const LEAVES_AT_ONCE: usize = 256;

/// Serves the call.
///
/// # Errors
/// As the operation says in `hv_abi`.
pub(super) fn call<A: Arch>(context: &CallContext<'_, A>, args: &[u64; 5]) -> Result<u64, Errno> {
    let [operation, address, ..] = *args;
    match operation {
        abi::POPULATE => populate(context, address),
        abi::COPY_TO => copy(context, address, Access::Write),
        abi::COPY_FROM => copy(context, address, Access::Read),
        abi::NEXT_EXTENT => next_extent(context, address),
        abi::CLEAR => clear(context, address),
        _ => Err(Errno::ENOSYS),
    }
}

fn extent<A: Arch>(
    context: &CallContext<'_, A>,
    address: u64,
) -> Result<(Extent, DomainRef<A>), Errno> {
    let extent: Extent = context.copy_in(address)?;
    let domain = find_guest(context.hypervisor, u64::from(extent.domid.0))?;
    extent.gfn.checked_add(extent.count).ok_or(Errno::EINVAL)?;
    Ok((extent, domain))
}

fn populate<A: Arch>(context: &CallContext<'_, A>, address: u64) -> Result<u64, Errno> {
    let (extent, domain) = extent(context, address)?;
    let memory = context.hypervisor.memory(&domain);
    let mut state = domain.lock();
    if state.started {
        return Err(Errno::EBUSY);
    }
    let mut done = 0;
    for _ in 0..BLOCKS_AT_ONCE {
        if done == extent.count {
            break;
        }
        match add_block(&memory, &mut state, extent.gfn + done, extent.count - done) {
            Ok(added) => done += added,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Adds one block, as large as alignment and what is free allow. Returns its frames.
fn add_block<A: Arch>(
    memory: &DomainMemory<'_, A>,
    state: &mut DomainState<A>,
    gfn: u64,
    count: u64,
) -> Result<u64, Errno> {
    let largest = gfn.trailing_zeros().min(count.ilog2()).min(BLOCK_ORDER);
    let mut outcome = Err(Errno::ENOMEM);
    for order in (0..=largest).rev() {
        outcome = memory.take_ram_uncleared(order).map(|mfn| (mfn, order));
        if outcome.is_ok() {
            break;
        }
    }
    let (mfn, order) = outcome?;
    memory
        .map(state, Gfn(gfn), mfn, 1 << order, Attributes::RAM)
        .inspect_err(|_| memory.give_back(mfn, order))?;
    Ok(1 << order)
}

fn copy<A: Arch>(context: &CallContext<'_, A>, address: u64, access: Access) -> Result<u64, Errno> {
    let request: Copy = context.copy_in(address)?;
    let domain = find_guest(context.hypervisor, u64::from(request.domid.0))?;
    let length = usize::try_from(request.length)
        .ok()
        .filter(|length| *length <= COPY_MAX)
        .ok_or(Errno::E2BIG)?;
    let mut done = 0;
    while done < length {
        let here = request
            .buffer
            .checked_add(done as u64)
            .ok_or(Errno::EFAULT)?;
        let there = request.gpa.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        let piece = left_in_page(here)
            .min(left_in_page(there))
            .min(length - done);
        copy_piece(context, &domain, here, Gpa(there), piece, access)?;
        done += piece;
    }
    Ok(length as u64)
}

/// Copies within one page of each side, under both domains' locks (Domain-0 has the lower number).
fn copy_piece<A: Arch>(
    context: &CallContext<'_, A>,
    domain: &Domain<A>,
    here: u64,
    there: Gpa,
    length: usize,
    access: Access,
) -> Result<(), Errno> {
    let host = context.hypervisor.host;
    let (from_caller, from_guest) = match access {
        Access::Write => (Access::Read, Access::Write),
        Access::Read => (Access::Write, Access::Read),
    };
    let ours = context.translate(here, from_caller)?;
    let caller = context.hypervisor.memory(context.domain);
    let guest = context.hypervisor.memory(domain);
    let caller_state = context.domain.lock();
    let guest_state = domain.lock();
    let ours_frame = caller
        .frame_at(&caller_state, ours, from_caller)
        .ok_or(Errno::EFAULT)?;
    let guest_frame = guest
        .frame_at(&guest_state, there, from_guest)
        .ok_or(Errno::EFAULT)?;
    let (ours, theirs) = ((ours_frame, ours.offset()), (guest_frame, there.offset()));
    let whole = access == Access::Write && length == FRAME_SIZE;
    if guest.clear_mark(guest_frame) && !whole {
        host.clear(guest_frame);
    }
    match access {
        Access::Write => {
            host.copy(ours, theirs, length);
            if !guest_state.started {
                host.publish(guest_frame, 1);
            }
        }
        Access::Read => host.copy(theirs, ours, length),
    }
    Ok(())
}

fn next_extent<A: Arch>(context: &CallContext<'_, A>, address: u64) -> Result<u64, Errno> {
    let (mut extent, domain) = extent(context, address)?;
    let limit = if extent.count == 0 {
        u64::MAX
    } else {
        extent.count
    };
    let memory = context.hypervisor.memory(&domain);
    let state = domain.lock();
    let mut found: Option<(u64, u64)> = None;
    let mut at = extent.gfn;
    for _ in 0..LEAVES_AT_ONCE {
        let Some(mapped) = state.stage2.next(&memory, Gfn(at)) else {
            break;
        };
        at = mapped.gfn.0 + mapped.leaf.count;
        let ram = memory.is_own_ram(mapped.leaf.mfn);
        match found {
            None if ram => found = Some((mapped.gfn.0, mapped.leaf.count)),
            None => {}
            Some((start, count)) if ram && mapped.gfn.0 == start + count => {
                found = Some((start, count + mapped.leaf.count));
            }
            Some(_) => break,
        }
        if found.is_some_and(|(_, count)| count >= limit) {
            break;
        }
    }
    drop(state);
    let Some((start, count)) = found else {
        return Ok(0);
    };
    (extent.gfn, extent.count) = (start, count.min(limit));
    context.copy_out(address, &extent)?;
    Ok(1)
}

fn clear<A: Arch>(context: &CallContext<'_, A>, address: u64) -> Result<u64, Errno> {
    let (extent, domain) = extent(context, address)?;
    let memory = context.hypervisor.memory(&domain);
    let wanted = extent.count.min(LOOKED_AT_ONCE);
    let (mut looked, mut cleared) = (0, 0);
    while looked < wanted && cleared < CLEARED_AT_ONCE {
        let leaf = memory.lookup(&domain.lock(), Gfn(extent.gfn + looked));
        let Some(leaf) = leaf else {
            looked += 1;
            continue;
        };
        let frames =
            (leaf.mfn.0..).take(usize::try_from(leaf.count.min(wanted - looked)).unwrap_or(1));
        for mfn in frames.map(Mfn) {
            if cleared == CLEARED_AT_ONCE {
                break;
            }
            cleared += u64::from(clear_frame(&memory, mfn));
            looked += 1;
        }
    }
    Ok(looked)
}

/// Clears a frame if it is the domain's and not cleared yet. Returns whether it was. The lock, taken for one frame only,
/// keeps the frame from leaving the domain meanwhile.
fn clear_frame<A: Arch>(memory: &DomainMemory<'_, A>, mfn: Mfn) -> bool {
    let _state = memory.domain.lock();
    let frames = &memory.hypervisor.frames;
    let due = frames.describe(mfn).is_some_and(|frame| {
        frame.uncleared && frame.kind == FrameKind::Ram && frame.owner == memory.domain.id
    });
    if due {
        memory.hypervisor.host.clear_and_publish(mfn);
        memory.clear_mark(mfn);
    }
    due
}
