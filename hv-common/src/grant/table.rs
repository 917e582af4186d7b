//! The granter's side: entries, and how often each is mapped.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::record::{Grants, NO_FRAME};
use hv_abi::xen::grant::{ENTRIES_PER_FRAME, FRAMES_MAX, flags, status};
use hv_abi::{DomId, Errno, FRAME_SIZE};

use super::{Status, ensure_frames};
use crate::arch::{Arch, Attributes, Gfn, Host, Mfn};
use crate::domain::{Domain, DomainState};
use crate::hypervisor::Hypervisor;
use crate::memory::account::DomainMemory;

/// How often an entry that changes under us is looked at again.
const TRIES: u32 = 8;

const DOMID_SHIFT: u32 = 16;
const FRAME_SHIFT: u32 = 32;
const MAPPED: u64 = (flags::READING | flags::WRITING) as u64;

/// A frame of the table.
#[derive(Clone, Copy, Debug)]
struct TableFrame {
    mfn: Mfn,
    /// Where the guest mapped it.
    gfn: Option<Gfn>,
    /// [`Counts`] of its entries, once one was mapped.
    counts: Option<Mfn>,
}

/// The table of a granter.
#[derive(Debug, Default)]
pub(super) struct Entries {
    frames: heapless::Vec<TableFrame, { FRAMES_MAX as usize }>,
}

/// How often an entry is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counts {
    readers: u32,
    writers: u32,
}

impl Counts {
    #[allow(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn from_word(word: u64) -> Self {
        Self {
            readers: word as u32,
            writers: (word >> 32) as u32,
        }
    }

    fn to_word(self) -> u64 {
        u64::from(self.readers) | u64::from(self.writers) << 32
    }

    fn of(&mut self, readonly: bool) -> &mut u32 {
        if readonly {
            &mut self.readers
        } else {
            &mut self.writers
        }
    }

    /// The flags that the granter sees.
    const fn flags(self) -> u64 {
        match (self.readers, self.writers) {
            (0, 0) => 0,
            (_, 0) => flags::READING as u64,
            _ => MAPPED,
        }
    }
}

impl Entries {
    pub(super) const fn new() -> Self {
        Self {
            frames: heapless::Vec::new(),
        }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.frames.len()).unwrap_or(FRAMES_MAX)
    }

    pub(super) fn push(&mut self, mfn: Mfn) {
        let _room = self.frames.push(TableFrame {
            mfn,
            gfn: None,
            counts: None,
        });
    }

    pub(super) fn gfn(&self, index: u32) -> Option<Gfn> {
        self.frames.get(index as usize)?.gfn
    }

    pub(super) fn forget_mapping(&mut self, mfn: Mfn) {
        for frame in &mut self.frames {
            if frame.mfn == mfn {
                frame.gfn = None;
            }
        }
    }

    fn frame(&self, reference: u32) -> Option<&TableFrame> {
        self.frames.get((reference / ENTRIES_PER_FRAME) as usize)
    }

    fn entry<'h, H: Host>(&self, host: &'h H, reference: u32) -> Option<&'h AtomicU64> {
        word(host, self.frame(reference)?.mfn, reference)
    }

    fn counts<'h, H: Host>(&self, host: &'h H, reference: u32) -> Option<&'h AtomicU64> {
        word(host, self.frame(reference)?.counts?, reference)
    }

    pub(super) fn give_back<A: Arch>(self, memory: &DomainMemory<'_, A>) {
        for frame in self.frames {
            memory.give_back(frame.mfn, 0);
            if let Some(counts) = frame.counts {
                memory.give_back_table(counts);
            }
        }
    }
}

fn word<H: Host>(host: &H, table: Mfn, reference: u32) -> Option<&AtomicU64> {
    host.words(table)
        .get((reference % ENTRIES_PER_FRAME) as usize)
}

/// Marks an entry as mapped for `mapper`, and takes a reference to its frame.
pub(super) fn pin<A: Arch>(
    hypervisor: &Hypervisor<A>,
    granter: &Domain<A>,
    state: &mut DomainState<A>,
    reference: u32,
    mapper: DomId,
    readonly: bool,
) -> Result<Mfn, Status> {
    let host = hypervisor.host;
    let entry = state.grants.entries.entry(host, reference);
    let entry = entry.ok_or(status::BAD_GNTREF)?;
    let counts = ensure_counts(hypervisor, granter, state, reference)?;
    let gfn = mark(entry, mapper, readonly)?;
    let frame = take_reference(hypervisor, granter, state, gfn, readonly);
    let mut now = Counts::from_word(counts.load(Ordering::Relaxed));
    if frame.is_some() {
        let count = now.of(readonly);
        *count = count.saturating_add(1);
        counts.store(now.to_word(), Ordering::Relaxed);
    } else {
        entry.fetch_and(!MAPPED | now.flags(), Ordering::SeqCst);
    }
    frame.ok_or(status::BAD_PAGE)
}

fn ensure_counts<'h, A: Arch>(
    hypervisor: &'h Hypervisor<A>,
    granter: &Domain<A>,
    state: &mut DomainState<A>,
    reference: u32,
) -> Result<&'h AtomicU64, Status> {
    let index = (reference / ENTRIES_PER_FRAME) as usize;
    let frame = state.grants.entries.frames.get_mut(index);
    let frame = frame.ok_or(status::BAD_GNTREF)?;
    if frame.counts.is_none() {
        let table = hypervisor.memory(granter).take_table();
        frame.counts = Some(table.map_err(|_| status::NO_DEVICE_SPACE)?);
    }
    let counts = state.grants.entries.counts(hypervisor.host, reference);
    counts.ok_or(status::BAD_GNTREF)
}

/// Sets the "mapped" flags of an entry that allows it. Returns the guest frame it names.
fn mark(entry: &AtomicU64, mapper: DomId, readonly: bool) -> Result<Gfn, Status> {
    for _ in 0..TRIES {
        let word = entry.load(Ordering::SeqCst);
        if word & u64::from(flags::TYPE_MASK) != u64::from(flags::PERMIT_ACCESS) {
            return Err(status::BAD_GNTREF);
        }
        let named = DomId((word >> DOMID_SHIFT & 0xFFFF) as u16);
        let forbids_writing = word & u64::from(flags::READONLY) != 0;
        if named != mapper || (forbids_writing && !readonly) {
            return Err(status::PERMISSION_DENIED);
        }
        let set = if readonly {
            u64::from(flags::READING)
        } else {
            MAPPED
        };
        let swapped = entry.compare_exchange(word, word | set, Ordering::SeqCst, Ordering::SeqCst);
        if swapped.is_ok() {
            return Ok(Gfn(word >> FRAME_SHIFT));
        }
    }
    Err(status::EAGAIN)
}

fn take_reference<A: Arch>(
    hypervisor: &Hypervisor<A>,
    granter: &Domain<A>,
    state: &DomainState<A>,
    gfn: Gfn,
    readonly: bool,
) -> Option<Mfn> {
    let memory = hypervisor.memory(granter);
    let leaf = memory.lookup(state, gfn)?;
    let usable = memory.is_own_ram(leaf.mfn) && (readonly || leaf.attributes.write);
    let taken = usable && hypervisor.frames.add_reference(leaf.mfn, granter.id);
    taken.then_some(leaf.mfn)
}

/// Counts a mapping as ended, and shows it to the granter. The frame's reference is the caller's to drop.
pub(super) fn unpin<A: Arch>(
    hypervisor: &Hypervisor<A>,
    state: &mut DomainState<A>,
    reference: u32,
    readonly: bool,
) {
    let entries = &state.grants.entries;
    let host = hypervisor.host;
    let (Some(counts), Some(entry)) = (
        entries.counts(host, reference),
        entries.entry(host, reference),
    ) else {
        return;
    };
    let mut now = Counts::from_word(counts.load(Ordering::Relaxed));
    let count = now.of(readonly);
    *count = count.saturating_sub(1);
    counts.store(now.to_word(), Ordering::Relaxed);
    entry.fetch_and(!MAPPED | now.flags(), Ordering::SeqCst);
}

/// Writes an entry for a domain that cannot do so itself yet: it grants `gfn` to `to`.
///
/// # Errors
/// `EINVAL`: no such reference or guest frame; `ENOMEM`.
pub fn seed<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    reference: u32,
    to: DomId,
    gfn: Gfn,
) -> Result<(), Errno> {
    let gfn = u32::try_from(gfn.0).map_err(|_| Errno::EINVAL)?;
    let mut state = domain.lock();
    ensure_frames(
        hypervisor,
        domain,
        &mut state,
        reference / ENTRIES_PER_FRAME + 1,
    )?;
    let host = hypervisor.host;
    let entries = &state.grants.entries;
    let counts = entries.counts(host, reference);
    let counts = counts.map_or(0, |counts| counts.load(Ordering::Relaxed));
    let entry = entries.entry(host, reference).ok_or(Errno::EINVAL)?;
    let word = u64::from(flags::PERMIT_ACCESS)
        | Counts::from_word(counts).flags()
        | u64::from(to.0) << DOMID_SHIFT
        | u64::from(gfn) << FRAME_SHIFT;
    entry.store(word, Ordering::SeqCst);
    Ok(())
}

/// Maps a frame of the table into its domain's memory, in the place of whatever is there.
///
/// # Errors
/// `EINVAL`: no such frame; `ENOMEM`.
pub fn map_frame<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    state: &mut DomainState<A>,
    index: u32,
    gfn: Gfn,
) -> Result<(), Errno> {
    if index >= FRAMES_MAX {
        return Err(Errno::EINVAL);
    }
    ensure_frames(hypervisor, domain, state, index + 1)?;
    let frame = state.grants.entries.frames.get(index as usize).copied();
    let frame = frame.ok_or(Errno::EINVAL)?;
    crate::hypercall::memory::place_special(
        hypervisor,
        domain,
        state,
        frame.mfn,
        frame.gfn,
        gfn,
        Attributes::SHARED,
    )?;
    if let Some(frame) = state.grants.entries.frames.get_mut(index as usize) {
        frame.gfn = Some(gfn);
    }
    Ok(())
}

/// A frame of the table, to be saved. Who has mapped what is not part of it.
#[must_use]
pub fn saved_frame<A: Arch>(
    hypervisor: &Hypervisor<A>,
    state: &DomainState<A>,
    index: u32,
) -> Option<Grants> {
    let frame = state.grants.entries.frames.get(index as usize)?;
    let mut saved = Grants {
        index,
        frames: state.grants.entries.len(),
        gfn: frame.gfn.map_or(NO_FRAME, |gfn| gfn.0),
        content: [0; FRAME_SIZE],
    };
    hypervisor.host.read(frame.mfn, 0, &mut saved.content);
    for entry in saved.content.chunks_exact_mut(8) {
        if let Some(flags) = entry.first_mut() {
            *flags &= !(MAPPED as u8);
        }
    }
    Some(saved)
}

/// Loads a saved frame into a domain that has never run.
///
/// # Errors
/// `EINVAL`: no such frame, or a place that cannot be; `EEXIST`: something is mapped there; `ENOMEM`.
pub fn restore_frame<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    saved: &Grants,
) -> Result<(), Errno> {
    if saved.index >= saved.frames {
        return Err(Errno::EINVAL);
    }
    let mut state = domain.lock();
    ensure_frames(hypervisor, domain, &mut state, saved.frames)?;
    let gfn = (saved.gfn != NO_FRAME).then_some(Gfn(saved.gfn));
    if let Some(gfn) = gfn {
        if hypervisor.memory(domain).lookup(&state, gfn).is_some() {
            return Err(Errno::EEXIST);
        }
        map_frame(hypervisor, domain, &mut state, saved.index, gfn)?;
    }
    let first = saved.index * ENTRIES_PER_FRAME;
    for (reference, bytes) in (first..).zip(saved.content.chunks_exact(8)) {
        let word = bytes.first_chunk().copied().map_or(0, u64::from_le_bytes);
        if let Some(entry) = state.grants.entries.entry(hypervisor.host, reference) {
            entry.store(word & !MAPPED, Ordering::Relaxed);
        }
    }
    Ok(())
}
