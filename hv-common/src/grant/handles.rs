//! Handles: what a domain has mapped of others.
//!
//! A handle is four words in a table frame: a head, the frame, the guest frame, and nothing. Free ones are a list; its
//! links are in the heads.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::DomId;
use hv_abi::xen::grant::status;

use super::{HANDLE_PAGES, Status};
use crate::arch::{Arch, Gfn, Host, Mfn};
use crate::domain::{Domain, DomainState};
use crate::hypervisor::Hypervisor;
use crate::memory::account::DomainMemory;

const WORDS: u32 = 4;
const PER_PAGE: u32 = 512 / WORDS;

const USED: u64 = 1;
const READONLY: u64 = 2;
const GRANTER_SHIFT: u32 = 16;
const REFERENCE_SHIFT: u32 = 32;
/// In a free head: the next free number plus one.
const NEXT_SHIFT: u32 = 32;

/// A mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Handle {
    pub(super) granter: DomId,
    pub(super) reference: u32,
    pub(super) readonly: bool,
    pub(super) frame: Mfn,
    pub(super) gfn: Gfn,
}

impl Handle {
    fn head(&self) -> u64 {
        USED | if self.readonly { READONLY } else { 0 }
            | u64::from(self.granter.0) << GRANTER_SHIFT
            | u64::from(self.reference) << REFERENCE_SHIFT
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "masked or shifted to their width"
    )]
    const fn from_words(head: u64, frame: u64, gfn: u64) -> Option<Self> {
        if head & USED == 0 {
            return None;
        }
        Some(Self {
            granter: DomId((head >> GRANTER_SHIFT & 0xFFFF) as u16),
            reference: (head >> REFERENCE_SHIFT) as u32,
            readonly: head & READONLY != 0,
            frame: Mfn(frame),
            gfn: Gfn(gfn),
        })
    }
}

/// The handles of a domain.
#[derive(Debug, Default)]
pub(super) struct Handles {
    pages: heapless::Vec<Mfn, HANDLE_PAGES>,
    in_use: u32,
    /// First free number plus one.
    free: u32,
}

impl Handles {
    pub(super) const fn new() -> Self {
        Self {
            pages: heapless::Vec::new(),
            in_use: 0,
            free: 0,
        }
    }

    pub(super) fn in_use(&self) -> u32 {
        self.in_use
    }

    fn count(&self) -> u32 {
        u32::try_from(self.pages.len()).unwrap_or(0) * PER_PAGE
    }

    fn words<'h, H: Host>(&self, host: &'h H, number: u32) -> Option<&'h [AtomicU64]> {
        let page = self.pages.get((number / PER_PAGE) as usize)?;
        let first = ((number % PER_PAGE) * WORDS) as usize;
        host.words(*page).get(first..first + WORDS as usize)
    }

    pub(super) fn get<H: Host>(&self, host: &H, number: u32) -> Option<Handle> {
        let [head, frame, gfn, _] = self.words(host, number)? else {
            return None;
        };
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Handle::from_words(load(head), load(frame), load(gfn))
    }

    /// Takes a handle out of use.
    pub(super) fn take<H: Host>(&mut self, host: &H, number: u32) -> Option<Handle> {
        let handle = self.get(host, number)?;
        self.push_free(host, number);
        self.in_use = self.in_use.saturating_sub(1);
        Some(handle)
    }

    fn push_free<H: Host>(&mut self, host: &H, number: u32) {
        if let Some(head) = self.words(host, number).and_then(<[_]>::first) {
            head.store(u64::from(self.free) << NEXT_SHIFT, Ordering::Relaxed);
            self.free = number + 1;
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the upper half of a word")]
    fn pop_free<H: Host>(&mut self, host: &H) -> Option<u32> {
        let number = self.free.checked_sub(1)?;
        let head = self.words(host, number)?.first()?;
        self.free = (head.load(Ordering::Relaxed) >> NEXT_SHIFT) as u32;
        Some(number)
    }

    fn put<H: Host>(&mut self, host: &H, handle: &Handle) -> Option<u32> {
        let number = self.pop_free(host)?;
        if let [head, frame, gfn, _] = self.words(host, number)? {
            head.store(handle.head(), Ordering::Relaxed);
            frame.store(handle.frame.0, Ordering::Relaxed);
            gfn.store(handle.gfn.0, Ordering::Relaxed);
        }
        self.in_use += 1;
        Some(number)
    }

    /// The first handle in use.
    pub(super) fn first<H: Host>(&self, host: &H) -> Option<u32> {
        if self.in_use == 0 {
            return None;
        }
        (0..self.count()).find(|number| self.get(host, *number).is_some())
    }

    /// Whether a handle maps that frame there.
    pub(super) fn has<H: Host>(&self, host: &H, frame: Mfn, gfn: Gfn) -> bool {
        (0..self.count())
            .filter_map(|number| self.get(host, number))
            .any(|handle| handle.frame == frame && handle.gfn == gfn)
    }

    /// Gives the pages back if no handle is in use.
    pub(super) fn give_back_unused<A: Arch>(&mut self, memory: &DomainMemory<'_, A>) {
        if self.in_use > 0 {
            return;
        }
        for page in core::mem::take(self).pages {
            memory.give_back_table(page);
        }
    }
}

/// Keeps a mapping under a new handle.
pub(super) fn add<A: Arch>(
    hypervisor: &Hypervisor<A>,
    mapper: &Domain<A>,
    state: &mut DomainState<A>,
    handle: Handle,
) -> Result<u32, Status> {
    let host = hypervisor.host;
    let handles = &mut state.grants.handles;
    if let Some(number) = handles.put(host, &handle) {
        return Ok(number);
    }
    if handles.pages.is_full() {
        return Err(status::NO_DEVICE_SPACE);
    }
    let page = hypervisor.memory(mapper).take_table();
    let page = page.map_err(|_| status::NO_DEVICE_SPACE)?;
    let first = handles.count();
    if handles.pages.push(page).is_ok() {
        for number in (first..first + PER_PAGE).rev() {
            handles.push_free(host, number);
        }
    }
    handles.put(host, &handle).ok_or(status::NO_DEVICE_SPACE)
}
