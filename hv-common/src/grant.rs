//! Grants, version 1: a domain lets another map its frames.
//!
//! The granter writes an entry into its table; whoever it names maps the frame by reference and gets a handle. True
//! here:
//! - A mapped frame has a reference for every mapping, so it outlives its removal from the granter and the granter
//!   itself; the last unmapping frees it then.
//! - The flags that tell the granter "mapped" are set by compare-and-swap on the entry's one word and cleared when our
//!   own count (`Counts`) says that no mapping is left. The entry is guest memory: what it says is checked at every
//!   mapping, and nothing but those two flags is ever concluded from it later.
//! - All tables are frames of the domain that causes them, bounded and given back: [`FRAMES_MAX`] frames of entries and
//!   as many of counts for the granter, [`HANDLE_PAGES`] of handles for the mapper.
//!
//! Domain-0 is identity-mapped, so a frame appears to it at its machine address, whatever address it asked for;
//! the address is returned in `dev_bus_addr`. A domain never maps its own frames.

use hv_abi::xen::grant::{FRAMES_MAX, MapGrantRef, UnmapGrantRef, map, status};
use hv_abi::{Errno, FRAME_SHIFT, FRAME_SIZE};

use crate::arch::{Arch, Attributes, Gfn, Mfn};
use crate::domain::{Domain, DomainState};
use crate::event::lock_both;
use crate::hypervisor::Hypervisor;

mod handles;
mod table;

pub use table::{map_frame, restore_frame, saved_frame, seed};

use handles::{Handle, Handles};
use table::Entries;

/// Pages of handles at most.
const HANDLE_PAGES: usize = 16;
/// Mappings that a step drops at most.
const STEP: u32 = 64;

/// A status of the ABI, as an error.
type Status = i16;

/// What a domain grants, and what it has mapped of others.
#[derive(Debug, Default)]
pub struct GrantTable {
    entries: Entries,
    handles: Handles,
}

impl GrantTable {
    /// Nothing granted, nothing mapped.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Entries::new(),
            handles: Handles::new(),
        }
    }

    /// Frames of its table.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.entries.len()
    }

    /// Frames of others that it has mapped.
    #[must_use]
    pub fn mappings(&self) -> u32 {
        self.handles.in_use()
    }

    /// Guest frame that a frame of its table is mapped at.
    #[must_use]
    pub fn frame_gfn(&self, index: u32) -> Option<Gfn> {
        self.entries.gfn(index)
    }

    /// Forgets that a frame of its table is mapped, if `mfn` is one.
    pub fn forget_mapping(&mut self, mfn: Mfn) {
        self.entries.forget_mapping(mfn);
    }
}

/// Makes the table at least `count` frames large, and one in any case. Returns how large it is.
///
/// # Errors
/// `EINVAL`: too large; `ENOMEM`.
pub fn ensure_frames<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    state: &mut DomainState<A>,
    count: u32,
) -> Result<u32, Errno> {
    if count > FRAMES_MAX {
        return Err(Errno::EINVAL);
    }
    if domain.is_dying() {
        return Err(Errno::ESRCH);
    }
    let memory = hypervisor.memory(domain);
    while state.grants.entries.len() < count.max(1) {
        let frame = memory.take_special()?;
        state.grants.entries.push(frame);
    }
    Ok(state.grants.entries.len())
}

/// Maps a frame for `mapper`. Fills in the outgoing fields.
pub fn map<A: Arch>(
    hypervisor: &Hypervisor<A>,
    mapper: &Domain<A>,
    granter: Option<&Domain<A>>,
    request: &mut MapGrantRef,
) {
    let mapped = match granter {
        Some(granter) if granter.id != mapper.id && !granter.is_dying() => {
            map_checked(hypervisor, mapper, granter, request)
        }
        _ => Err(status::BAD_DOMAIN),
    };
    match mapped {
        Ok((handle, frame)) => {
            request.status = status::OKAY;
            request.handle = handle;
            request.dev_bus_addr = frame.0 << FRAME_SHIFT;
        }
        Err(status) => request.status = status,
    }
}

fn map_checked<A: Arch>(
    hypervisor: &Hypervisor<A>,
    mapper: &Domain<A>,
    granter: &Domain<A>,
    request: &MapGrantRef,
) -> Result<(u32, Mfn), Status> {
    let offers = map::HOST_MAP | map::DEVICE_MAP | map::READONLY;
    if request.flags & map::HOST_MAP == 0 || request.flags & !offers != 0 {
        return Err(status::GENERAL_ERROR);
    }
    if !mapper.is_dom0() && !request.host_addr.is_multiple_of(FRAME_SIZE as u64) {
        return Err(status::BAD_VIRT_ADDR);
    }
    let readonly = request.flags & map::READONLY != 0;
    let (mut ours, theirs) = lock_both(mapper, granter);
    let mut theirs = theirs.ok_or(status::BAD_DOMAIN)?;
    let reference = request.reference;
    let frame = table::pin(
        hypervisor,
        granter,
        &mut theirs,
        reference,
        mapper.id,
        readonly,
    )?;
    let gfn = if mapper.is_dom0() {
        Gfn(frame.0)
    } else {
        Gfn(request.host_addr >> FRAME_SHIFT)
    };
    let handle = Handle {
        granter: granter.id,
        reference,
        readonly,
        frame,
        gfn,
    };
    place(hypervisor, mapper, &mut ours, handle)
        .map(|number| (number, frame))
        .inspect_err(|_| {
            table::unpin(hypervisor, &mut theirs, reference, readonly);
            hypervisor.frames.drop_reference(frame);
        })
}

/// Maps a pinned frame into the mapper's memory, and keeps it under a handle.
fn place<A: Arch>(
    hypervisor: &Hypervisor<A>,
    mapper: &Domain<A>,
    state: &mut DomainState<A>,
    handle: Handle,
) -> Result<u32, Status> {
    let memory = hypervisor.memory(mapper);
    let wanted = attributes(handle.readonly);
    let number = handles::add(hypervisor, mapper, state, handle)?;
    let mapped = match memory.lookup(state, handle.gfn) {
        None => memory.map(state, handle.gfn, handle.frame, 1, wanted),
        // Another grant of the same frame to Domain-0: it has the rights of both.
        Some(leaf) if mapper.is_dom0() && leaf.mfn == handle.frame => {
            if leaf.attributes.write || handle.readonly {
                Ok(())
            } else {
                let tables = &memory;
                state
                    .stage2
                    .protect(tables, handle.gfn, wanted)
                    .map_err(Errno::from)
            }
        }
        Some(_) => Err(Errno::EEXIST),
    };
    mapped.map(|()| number).map_err(|errno| {
        let _handle = state.grants.handles.take(hypervisor.host, number);
        state.grants.handles.give_back_unused(&memory);
        match errno {
            Errno::ENOMEM => status::NO_DEVICE_SPACE,
            _ => status::BAD_VIRT_ADDR,
        }
    })
}

const fn attributes(readonly: bool) -> Attributes {
    if readonly {
        Attributes::READ_ONLY
    } else {
        Attributes::SHARED
    }
}

/// Ends a mapping by its handle.
pub fn unmap<A: Arch>(hypervisor: &Hypervisor<A>, mapper: &Domain<A>, request: &mut UnmapGrantRef) {
    let done = unmap_handle(hypervisor, mapper, request.handle);
    request.status = match done {
        Ok(()) => status::OKAY,
        Err(status) => status,
    };
}

fn unmap_handle<A: Arch>(
    hypervisor: &Hypervisor<A>,
    mapper: &Domain<A>,
    number: u32,
) -> Result<(), Status> {
    let host = hypervisor.host;
    let handle = mapper.lock().grants.handles.get(host, number);
    let granter = handle.ok_or(status::BAD_HANDLE)?.granter;
    let granter = hypervisor.domain(granter);
    let (mut ours, theirs) = match &granter {
        Some(granter) => lock_both(mapper, granter),
        None => (mapper.lock(), None),
    };
    // Another vCPU of the mapper may have been faster, and somebody else's mapping may have the number now.
    let same = ours.grants.handles.get(host, number) == handle;
    let handle = same
        .then(|| ours.grants.handles.take(host, number))
        .flatten()
        .ok_or(status::BAD_HANDLE)?;
    remove(hypervisor, mapper, &mut ours, &handle);
    ours.grants
        .handles
        .give_back_unused(&hypervisor.memory(mapper));
    if let Some(mut theirs) = theirs {
        table::unpin(hypervisor, &mut theirs, handle.reference, handle.readonly);
    }
    hypervisor.frames.drop_reference(handle.frame);
    Ok(())
}

/// Takes a frame out of the mapper's memory, if it is still there and no other handle needs it there.
fn remove<A: Arch>(
    hypervisor: &Hypervisor<A>,
    mapper: &Domain<A>,
    state: &mut DomainState<A>,
    handle: &Handle,
) {
    let memory = hypervisor.memory(mapper);
    let there = memory.lookup(state, handle.gfn);
    if there.is_none_or(|leaf| leaf.mfn != handle.frame) {
        return;
    }
    let shared = hypervisor
        .frames
        .describe(handle.frame)
        .is_some_and(|frame| frame.references > 1);
    if shared
        && state
            .grants
            .handles
            .has(hypervisor.host, handle.frame, handle.gfn)
    {
        return;
    }
    if memory.unmap(state, handle.gfn).is_err() {
        log::warn!("d{}: a grant mapping could not be taken out", mapper.id.0);
    }
}

/// Drops some of the mappings that a dying domain has of others, and then its own frames. `true`: all is given back.
pub fn dismantle<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) -> bool {
    for _ in 0..STEP {
        let next = domain.lock().grants.handles.first(hypervisor.host);
        let Some(number) = next else {
            break;
        };
        let _was_mapped = unmap_handle(hypervisor, domain, number);
    }
    let mut state = domain.lock();
    if state.grants.handles.in_use() > 0 {
        return false;
    }
    let memory = hypervisor.memory(domain);
    let table = core::mem::take(&mut state.grants);
    table.entries.give_back(&memory);
    true
}

#[cfg(test)]
mod tests;
