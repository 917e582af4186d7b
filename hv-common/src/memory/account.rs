//! What a domain owes: its frames against what it was promised.
//!
//! `CREATE` promises a domain its RAM, its rings and its tables at once ([`Account::promise`]); everything it is given
//! later comes out of that promise, so it cannot fail for lack of memory and cannot exceed its limits. Domain-0's
//! tables come from what is free: it is trusted, and what it maps is not bounded by its RAM.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hv_abi::Errno;
use hv_abi::control::domain::EXTRA_FRAMES;

use super::frames::{Frame, FrameKind, FrameRun, Funding, run_order_for};
use super::stage2::{Leaf, MapError, Tables};
use crate::arch::{Arch, Attributes, Gfn, Host, Mfn, Words};
use crate::domain::{Domain, DomainState};
use crate::hypervisor::Hypervisor;

/// Tables and records of a domain beyond those its RAM needs at most: ports, grant mappings, scattered pages.
const OVERHEAD_BASE: u64 = 96;

/// Frames of one domain. Changed by whoever holds the domain's lock; read by anybody.
#[derive(Debug)]
pub struct Account {
    frames: AtomicU64,
    frames_max: u64,
    uncleared: AtomicU64,
    overhead: AtomicU64,
    overhead_max: u64,
    promised: AtomicU64,
    on_credit: AtomicBool,
}

impl Account {
    /// An account for a domain that may have this many frames of RAM.
    #[must_use]
    pub const fn new(frames_max: u64) -> Self {
        let overhead_max = frames_max / 512 + OVERHEAD_BASE;
        Self {
            frames: AtomicU64::new(0),
            frames_max,
            uncleared: AtomicU64::new(0),
            overhead: AtomicU64::new(0),
            overhead_max,
            promised: AtomicU64::new(frames_max + EXTRA_FRAMES + overhead_max),
            on_credit: AtomicBool::new(false),
        }
    }

    /// An account without limits and promises: Domain-0's.
    #[must_use]
    pub const fn unlimited(frames_max: u64) -> Self {
        Self {
            overhead_max: u64::MAX,
            promised: AtomicU64::new(0),
            on_credit: AtomicBool::new(true),
            ..Self::new(frames_max)
        }
    }

    /// Frames to reserve before the domain is made.
    #[must_use]
    pub fn promise(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// Frames of RAM and rings it has.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Frames of RAM it may have.
    #[must_use]
    pub const fn frames_max(&self) -> u64 {
        self.frames_max
    }

    /// Frames of it that are not cleared yet.
    #[must_use]
    pub fn uncleared(&self) -> u64 {
        self.uncleared.load(Ordering::Acquire)
    }

    /// Frames of tables and records.
    #[must_use]
    pub fn overhead(&self) -> u64 {
        self.overhead.load(Ordering::Relaxed)
    }

    /// Takes frames that the domain has from the start.
    pub(crate) fn adopt_frames(&self, count: u64) {
        self.frames.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes frames of tables and records that came from elsewhere.
    pub(crate) fn adopt_overhead(&self, count: u64) {
        self.overhead.fetch_add(count, Ordering::Relaxed);
    }

    fn funding(&self) -> Funding {
        if self.on_credit.load(Ordering::Relaxed) {
            Funding::Free
        } else {
            Funding::Promised
        }
    }

    fn pay(&self, count: u64) {
        let pay = |promised: u64| Some(promised.saturating_sub(count));
        let _previous = self
            .promised
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }

    fn pay_back(&self, count: u64, funding: Funding) {
        if funding == Funding::Promised {
            self.promised.fetch_add(count, Ordering::Relaxed);
        }
    }
}

fn add_within(counter: &AtomicU64, count: u64, limit: u64) -> Result<(), Errno> {
    let add = |value: u64| value.checked_add(count).filter(|sum| *sum <= limit);
    match counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
        Ok(_) => Ok(()),
        Err(_) => Err(Errno::ENOMEM),
    }
}

fn subtract(counter: &AtomicU64, count: u64) {
    let subtract = |value: u64| Some(value.saturating_sub(count));
    let _previous = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
}

impl From<MapError> for Errno {
    fn from(error: MapError) -> Self {
        match error {
            MapError::OutOfRange => Self::EINVAL,
            MapError::NoTable => Self::ENOMEM,
            MapError::Occupied => Self::EEXIST,
        }
    }
}

/// A domain's memory: its tables, its account, the machine's frames. Cheap to make.
pub struct DomainMemory<'a, A: Arch> {
    pub(crate) hypervisor: &'a Hypervisor<A>,
    pub(crate) domain: &'a Domain<A>,
}

impl<A: Arch> Hypervisor<A> {
    /// The memory of a domain.
    #[must_use]
    pub fn memory<'a>(&'a self, domain: &'a Domain<A>) -> DomainMemory<'a, A> {
        DomainMemory {
            hypervisor: self,
            domain,
        }
    }
}

impl<A: Arch> DomainMemory<'_, A> {
    fn take(&self, order: u32, frame: Frame) -> Result<Mfn, Errno> {
        let account = &self.domain.account;
        let count = 1_u64 << order;
        let mfn = self
            .hypervisor
            .frames
            .allocate(order, frame, account.funding())
            .map_err(|_| Errno::ENOMEM)?;
        account.pay(count);
        Ok(mfn)
    }

    fn owned(&self, kind: FrameKind) -> Frame {
        Frame::new(kind, self.domain.id)
    }

    fn take_frames(&self, order: u32, frame: Frame) -> Result<Mfn, Errno> {
        let account = &self.domain.account;
        let limit = account.frames_max.saturating_add(EXTRA_FRAMES);
        add_within(&account.frames, 1 << order, limit)?;
        self.take(order, frame)
            .inspect_err(|_| subtract(&account.frames, 1 << order))
    }

    /// Takes `1 << order` frames of RAM, marked as not cleared: not to be reachable by the running domain before they
    /// are.
    ///
    /// # Errors
    /// `ENOMEM`: beyond its limit, or no block of that order is free.
    pub fn take_ram_uncleared(&self, order: u32) -> Result<Mfn, Errno> {
        let mfn = self.take_frames(order, self.owned(FrameKind::Ram).uncleared())?;
        self.domain
            .account
            .uncleared
            .fetch_add(1 << order, Ordering::Release);
        Ok(mfn)
    }

    /// Takes one cleared frame of RAM.
    ///
    /// # Errors
    /// As [`Self::take_ram_uncleared`].
    pub fn take_ram(&self) -> Result<Mfn, Errno> {
        let mfn = self.take_frames(0, self.owned(FrameKind::Ram))?;
        self.hypervisor.host.clear(mfn);
        Ok(mfn)
    }

    /// Takes one cleared frame for a page shared with the hypervisor.
    ///
    /// # Errors
    /// As [`Self::take_ram_uncleared`].
    pub fn take_special(&self) -> Result<Mfn, Errno> {
        let mfn = self.take_frames(0, self.owned(FrameKind::Special))?;
        self.hypervisor.host.clear(mfn);
        Ok(mfn)
    }

    /// Gives frames of RAM or a special page back; they stay promised to the domain. Frames with references stay
    /// until the last is dropped.
    pub fn give_back(&self, first: Mfn, order: u32) {
        let account = &self.domain.account;
        for mfn in (first.0..).take(1 << order).map(Mfn) {
            self.clear_mark(mfn);
            let funding = account.funding();
            if self.hypervisor.frames.release(mfn, funding) {
                account.pay_back(1, funding);
            }
        }
        subtract(&account.frames, 1 << order);
    }

    /// Gives frames of RAM of a dying domain back for good.
    pub(crate) fn give_back_for_good(&self, first: Mfn, order: u32) {
        self.hypervisor
            .frames
            .release_block(first, order, Funding::Free);
        subtract(&self.domain.account.frames, 1 << order);
    }

    /// Takes the "not cleared" mark off a frame. Returns whether it was there.
    pub fn clear_mark(&self, mfn: Mfn) -> bool {
        let marked = self.hypervisor.frames.mark_cleared(mfn);
        if marked {
            subtract(&self.domain.account.uncleared, 1);
        }
        marked
    }

    /// Takes a cleared frame for a table of words that the hypervisor keeps for the domain.
    ///
    /// # Errors
    /// `ENOMEM`: beyond its limit.
    pub fn take_table(&self) -> Result<Mfn, Errno> {
        let account = &self.domain.account;
        add_within(&account.overhead, 1, account.overhead_max)?;
        let mfn = self
            .take(0, self.owned(FrameKind::Table))
            .inspect_err(|_| subtract(&account.overhead, 1))?;
        self.hypervisor.host.clear(mfn);
        Ok(mfn)
    }

    /// Gives such a frame back.
    pub fn give_back_table(&self, table: Mfn) {
        let account = &self.domain.account;
        let funding = account.funding();
        if self.hypervisor.frames.release(table, funding) {
            account.pay_back(1, funding);
        }
        subtract(&account.overhead, 1);
    }

    /// Takes a run for a shared value of type `T`, from what is free.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn take_run<T>(&self) -> Result<FrameRun, Errno> {
        let order = run_order_for(size_of::<T>(), align_of::<T>());
        let run = self
            .hypervisor
            .frames
            .allocate_run(order, self.domain.id)
            .map_err(|_| Errno::ENOMEM)?;
        self.domain.account.adopt_overhead(1 << order);
        Ok(run)
    }

    /// Gives a run back.
    pub fn give_back_run(&self, run: FrameRun) {
        subtract(&self.domain.account.overhead, 1 << run.order());
        self.hypervisor.frames.release_run(run);
    }

    /// Ends the promise: nothing more is taken from it. For a dying domain.
    pub(crate) fn end_promise(&self) {
        let account = &self.domain.account;
        account.on_credit.store(true, Ordering::Relaxed);
        let left = account.promised.swap(0, Ordering::Relaxed);
        self.hypervisor.frames.unreserve(left);
    }

    /// Maps frames, all or none. Nothing may be mapped there.
    ///
    /// # Errors
    /// `EEXIST`, `EINVAL` (beyond the address space), `ENOMEM` (tables).
    pub fn map(
        &self,
        state: &mut DomainState<A>,
        gfn: Gfn,
        mfn: Mfn,
        count: u64,
        attributes: Attributes,
    ) -> Result<(), Errno> {
        state
            .stage2
            .map(self, gfn, mfn, count, attributes)
            .map_err(Errno::from)
    }

    /// Maps one frame in the place of whatever is there ([`Self::unmap`]).
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn map_over(
        &self,
        state: &mut DomainState<A>,
        gfn: Gfn,
        mfn: Mfn,
        attributes: Attributes,
    ) -> Result<(), Errno> {
        self.unmap(state, gfn)?;
        self.map(state, gfn, mfn, 1, attributes)
    }

    /// Unmaps one frame; if it is RAM of the domain, it is given back. Returns what was there.
    ///
    /// # Errors
    /// `ENOMEM` when a larger mapping cannot be split.
    pub fn unmap(&self, state: &mut DomainState<A>, gfn: Gfn) -> Result<Option<Leaf>, Errno> {
        let leaf = state.stage2.unmap(self, gfn)?;
        if let Some(leaf) = leaf
            && self.is_own_ram(leaf.mfn)
        {
            self.give_back(leaf.mfn, 0);
        }
        Ok(leaf)
    }

    /// Where a guest frame is.
    #[must_use]
    pub fn lookup(&self, state: &DomainState<A>, gfn: Gfn) -> Option<Leaf> {
        state.stage2.lookup(self, gfn)
    }

    /// Whether a frame is RAM of this domain.
    #[must_use]
    pub fn is_own_ram(&self, mfn: Mfn) -> bool {
        self.hypervisor
            .frames
            .describe(mfn)
            .is_some_and(|frame| frame.kind == FrameKind::Ram && frame.owner == self.domain.id)
    }
}

impl<A: Arch> Tables for DomainMemory<'_, A> {
    fn words(&self, table: Mfn) -> &Words {
        self.hypervisor.host.words(table)
    }

    fn allocate(&self) -> Option<Mfn> {
        self.take_table().ok()
    }

    fn release(&self, table: Mfn) {
        self.give_back_table(table);
    }

    fn invalidate(&self, gfn: Gfn, count: u64) {
        let domain = self.domain;
        self.hypervisor
            .host
            .invalidate_stage2(domain.root, domain.vmid, Some((gfn, count)));
    }

    fn publish(&self) {
        self.hypervisor.host.publish_stage2();
    }
}
