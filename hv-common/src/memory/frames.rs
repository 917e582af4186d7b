//! Machine frames and who owns them.
//!
//! Every frame of RAM has one word of metadata: a link of a free list, or its owner and typed use. True here:
//! - A frame is in exactly one free block, or has exactly one kind and owner. Only [`Frames`] changes that.
//! - A frame that is a page table ([`FrameKind::Table`]) is never mapped into a guest: [`crate::memory`] maps only RAM,
//!   special pages, store and boot frames.
//! - Frames that hold a [`crate::arch::Host::Shared`] value ([`FrameKind::Hypervisor`]) are reached through it only.
//! - What other CPUs may change at the same time is one atomic word; the free lists have a lock, last but two in the
//!   order of locks.
//! - A promise ([`Frames::reserve`]) is kept: frames that are promised are not given to anybody else.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::DomId;

use crate::arch::Mfn;
use crate::lock::Lock;

mod buddy;
mod word;

use word::{FRAMES_MAX, UNCLEARED, Word};
pub use word::{Frame, FrameKind};

/// Largest block: `1 << MAX_ORDER` frames (4 MiB).
pub const MAX_ORDER: u32 = 10;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// A 2 MiB block.
const BLOCK_ORDER: u32 = 9;

/// A run of `1 << order` frames that belong to whoever holds this value. Only the pool makes one.
#[derive(Debug)]
pub struct FrameRun {
    first: Mfn,
    order: u32,
}

impl FrameRun {
    /// First frame.
    #[must_use]
    pub fn first(&self) -> Mfn {
        self.first
    }

    /// `log2` of its frames.
    #[must_use]
    pub fn order(&self) -> u32 {
        self.order
    }
}

/// The order of a run that holds a value of this many bytes and what an architecture puts in front of it: a counter and
/// the [`FrameRun`] itself, 32 bytes.
#[must_use]
pub const fn run_order_for(size: usize, align: usize) -> u32 {
    let header = if align > 32 { align } else { 32 };
    let frames = (size + header).div_ceil(hv_abi::FRAME_SIZE);
    frames.next_power_of_two().trailing_zeros()
}

/// Who pays for a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Funding {
    /// It was promised before ([`Frames::reserve`]).
    Promised,
    /// What is free and not promised.
    Free,
}

/// There are not enough frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// Frames asked for.
    pub wanted: u64,
    /// Frames that are free and not promised.
    pub available: u64,
}

/// Where all RAM is, in frames.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// All.
    pub total: u64,
    /// Free, promised or not.
    pub free: u64,
    /// Free, but promised to a domain.
    pub promised: u64,
    /// [`FrameKind::Hypervisor`] and [`FrameKind::Table`].
    pub hypervisor: u64,
    /// RAM and special pages of Domain-0.
    pub dom0: u64,
    /// [`FrameKind::Boot`].
    pub boot: u64,
    /// [`FrameKind::Store`].
    pub store: u64,
    /// RAM and special pages of all other domains.
    pub domains: u64,
}

impl Usage {
    fn of(&mut self, kind: FrameKind, owner: DomId) -> &mut u64 {
        match (kind, owner) {
            (FrameKind::Hypervisor | FrameKind::Table, _) => &mut self.hypervisor,
            (FrameKind::Boot, _) => &mut self.boot,
            (FrameKind::Store, _) => &mut self.store,
            (FrameKind::Ram | FrameKind::Special, DomId::ZERO) => &mut self.dom0,
            (FrameKind::Ram | FrameKind::Special, _) => &mut self.domains,
        }
    }
}

struct Pool {
    heads: [Option<u32>; ORDERS],
    usage: Usage,
}

/// All frames of the machine.
pub struct Frames {
    first: u64,
    words: &'static [AtomicU64],
    pool: Lock<Pool>,
}

impl Frames {
    /// Metadata for frames from `first` on. The words are zero: nothing is RAM until it is added.
    #[must_use]
    pub fn new(first: Mfn, words: &'static [AtomicU64]) -> Self {
        Self {
            first: first.0,
            words: words.get(..FRAMES_MAX).unwrap_or(words),
            pool: Lock::new(Pool {
                heads: [None; ORDERS],
                usage: Usage::default(),
            }),
        }
    }

    /// Adds free RAM (boot). Frames without metadata are left out; returns how many came in.
    pub fn add_free(&self, first: Mfn, count: u64) -> u64 {
        let (mut index, end) = self.clip(first, count);
        let added = u64::from(end - index);
        let mut pool = self.pool.lock();
        pool.usage.total += added;
        pool.usage.free += added;
        while index < end {
            let aligned = (index + self.skew()).trailing_zeros();
            let order = aligned.min((end - index).ilog2()).min(MAX_ORDER);
            self.insert(&mut pool, index, order);
            index += 1 << order;
        }
        added
    }

    /// Adds RAM that is in use already (boot). Returns how many frames came in.
    pub fn add_used(&self, first: Mfn, count: u64, frame: Frame) -> u64 {
        let (index, end) = self.clip(first, count);
        for word in index..end {
            self.store(word, Word::Used(frame));
        }
        let added = u64::from(end - index);
        let mut pool = self.pool.lock();
        pool.usage.total += added;
        *pool.usage.of(frame.kind, frame.owner) += added;
        added
    }

    /// Where everything is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.pool.lock().usage
    }

    /// Promises frames.
    ///
    /// # Errors
    /// What is missing.
    pub fn reserve(&self, count: u64) -> Result<(), Shortage> {
        let mut pool = self.pool.lock();
        pool.check_available(count)?;
        pool.usage.promised += count;
        Ok(())
    }

    /// Takes a promise back.
    pub fn unreserve(&self, count: u64) {
        let mut pool = self.pool.lock();
        pool.usage.promised = pool.usage.promised.saturating_sub(count);
    }

    /// Takes `1 << order` frames, aligned to their size. Their content is whatever it was.
    ///
    /// # Errors
    /// What is missing; with [`Funding::Promised`] only when blocks of that order ran out.
    pub fn allocate(&self, order: u32, frame: Frame, funding: Funding) -> Result<Mfn, Shortage> {
        let count = 1_u64.checked_shl(order).unwrap_or(u64::MAX);
        let mut pool = self.pool.lock();
        if funding == Funding::Free {
            pool.check_available(count)?;
        }
        let index = self.take(&mut pool, order).ok_or(Shortage {
            wanted: count,
            available: 0,
        })?;
        pool.usage.free -= count;
        *pool.usage.of(frame.kind, frame.owner) += count;
        if funding == Funding::Promised {
            pool.usage.promised = pool.usage.promised.saturating_sub(count);
        }
        for word in index..index + (1 << order) {
            self.store(word, Word::Used(frame));
        }
        Ok(self.mfn(index))
    }

    /// Takes `count` frames in a row that end below the frame `below`, aligned to 2 MiB (boot).
    pub fn allocate_contiguous(&self, count: u64, below: u64, frame: Frame) -> Option<Mfn> {
        const ALIGN: u64 = 512;
        let mut pool = self.pool.lock();
        pool.check_available(count).ok()?;
        let end = below.min(self.first + self.words.len() as u64);
        let mut first = self.first.next_multiple_of(ALIGN);
        let start = loop {
            if first.checked_add(count)? > end {
                return None;
            }
            match (first..first + count)
                .step_by(ALIGN as usize)
                .find(|mfn| !self.is_free_block(*mfn))
            {
                None => break first,
                Some(taken) => first = taken + ALIGN,
            }
        };
        for mfn in (start..start + count).step_by(ALIGN as usize) {
            self.carve(&mut pool, mfn);
        }
        pool.usage.free -= count;
        *pool.usage.of(frame.kind, frame.owner) += count;
        let index = self.index(Mfn(start))?;
        (index..index + u32::try_from(count).ok()?)
            .for_each(|word| self.store(word, Word::Used(frame)));
        Some(Mfn(start))
    }

    /// Takes a run for a shared value.
    ///
    /// # Errors
    /// What is missing.
    pub fn allocate_run(&self, order: u32, owner: DomId) -> Result<FrameRun, Shortage> {
        let frame = Frame::new(FrameKind::Hypervisor, owner);
        let first = self.allocate(order, frame, Funding::Free)?;
        Ok(FrameRun { first, order })
    }

    /// Gives a run back.
    pub fn release_run(&self, run: FrameRun) {
        for offset in 0..1 << run.order {
            self.release(Mfn(run.first.0 + offset), Funding::Free);
        }
    }

    /// Gives a frame back; with [`Funding::Promised`] it stays promised to its owner if it is free now, which the
    /// return value says. A frame with references stays until the last one is dropped, and is not promised then.
    pub fn release(&self, frame: Mfn, funding: Funding) -> bool {
        let Some(index) = self.index(frame) else {
            return false;
        };
        let orphaned = self.update(index, |frame| {
            (frame.references > 0).then_some(Frame {
                orphan: true,
                ..frame
            })
        });
        if orphaned.is_some() {
            return false;
        }
        let mut pool = self.pool.lock();
        self.free_one(&mut pool, index, funding)
    }

    /// Gives `1 << order` frames back, as [`Self::release`] does each.
    pub fn release_block(&self, first: Mfn, order: u32, funding: Funding) {
        let count = 1_u64 << order.min(MAX_ORDER);
        let Some(index) = self.index(first) else {
            return;
        };
        if let Some(frame) = self.uniform(index, order) {
            let mut pool = self.pool.lock();
            for word in index..index + (1 << order) {
                self.store(word, Word::Interior);
            }
            *pool.usage.of(frame.kind, frame.owner) -= count;
            pool.usage.free += count;
            if funding == Funding::Promised {
                pool.usage.promised += count;
            }
            self.merge(&mut pool, index, order);
            return;
        }
        for offset in 0..count {
            self.release(Mfn(first.0 + offset), funding);
        }
    }

    /// What a frame is; `None`: free, or not RAM.
    #[must_use]
    pub fn describe(&self, frame: Mfn) -> Option<Frame> {
        match self.load(self.index(frame)?) {
            Word::Used(frame) => Some(frame),
            Word::Interior | Word::FreeHead { .. } => None,
        }
    }

    /// Adds a reference to a frame of RAM or a special page of `owner`. Returns whether it could.
    pub fn add_reference(&self, frame: Mfn, owner: DomId) -> bool {
        let Some(index) = self.index(frame) else {
            return false;
        };
        self.update(index, |frame| {
            let may = matches!(frame.kind, FrameKind::Ram | FrameKind::Special)
                && frame.owner == owner
                && !frame.orphan;
            let references = frame.references.checked_add(1)?;
            may.then_some(Frame {
                references,
                ..frame
            })
        })
        .is_some()
    }

    /// Drops a reference. A frame that its owner has given up becomes free with the last one.
    pub fn drop_reference(&self, frame: Mfn) {
        let Some(index) = self.index(frame) else {
            return;
        };
        let left = self.update(index, |frame| {
            let references = frame.references.checked_sub(1)?;
            Some(Frame {
                references,
                ..frame
            })
        });
        if left.is_some_and(|frame| frame.orphan && frame.references == 0) {
            let mut pool = self.pool.lock();
            self.free_one(&mut pool, index, Funding::Free);
        }
    }

    /// Takes the "not cleared" mark off. Returns whether it was there.
    pub fn mark_cleared(&self, frame: Mfn) -> bool {
        let Some(index) = self.index(frame) else {
            return false;
        };
        self.update(index, |frame| {
            frame.uncleared.then_some(Frame {
                uncleared: false,
                ..frame
            })
        })
        .is_some()
    }

    /// Frames from here to the next 4 MiB boundary start at a multiple of their size when this is added to the index.
    #[allow(clippy::cast_possible_truncation, reason = "MAX_ORDER bits")]
    const fn skew(&self) -> u32 {
        (self.first & ((1 << MAX_ORDER) - 1)) as u32
    }

    const fn mfn(&self, index: u32) -> Mfn {
        Mfn(self.first + index as u64)
    }

    fn index(&self, frame: Mfn) -> Option<u32> {
        let index = frame.0.checked_sub(self.first)?;
        let index = u32::try_from(index).ok()?;
        ((index as usize) < self.words.len()).then_some(index)
    }

    /// The part of a range that has metadata, as indices.
    fn clip(&self, first: Mfn, count: u64) -> (u32, u32) {
        let length = self.words.len() as u64;
        let clip = |frame: u64| frame.saturating_sub(self.first).min(length);
        let start = clip(first.0);
        let end = clip(first.0.saturating_add(count)).max(start);
        (
            u32::try_from(start).unwrap_or(0),
            u32::try_from(end).unwrap_or(0),
        )
    }

    fn load(&self, index: u32) -> Word {
        self.words
            .get(index as usize)
            .map_or(Word::Interior, |word| {
                Word::decode(word.load(Ordering::Relaxed))
            })
    }

    fn store(&self, index: u32, value: Word) {
        if let Some(word) = self.words.get(index as usize) {
            word.store(value.encode(), Ordering::Relaxed);
        }
    }

    /// Changes a used frame's word atomically. `None` if it is not in use or `change` declined.
    fn update(&self, index: u32, change: impl Fn(Frame) -> Option<Frame>) -> Option<Frame> {
        let word = self.words.get(index as usize)?;
        let mut bits = word.load(Ordering::Acquire);
        loop {
            let Word::Used(frame) = Word::decode(bits) else {
                return None;
            };
            let changed = change(frame)?;
            let new = Word::Used(changed).encode();
            match word.compare_exchange_weak(bits, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(changed),
                Err(current) => bits = current,
            }
        }
    }

    /// The common use of a whole block without references, if it has one.
    fn uniform(&self, index: u32, order: u32) -> Option<Frame> {
        if order > MAX_ORDER || (index + self.skew()).trailing_zeros() < order {
            return None;
        }
        let words = self
            .words
            .get(index as usize..index as usize + (1 << order))?;
        let first = words.first()?.load(Ordering::Acquire);
        let same = |bits: u64| (bits ^ first) & !UNCLEARED == 0;
        match Word::decode(first) {
            Word::Used(frame)
                if frame.references == 0
                    && words.iter().all(|word| same(word.load(Ordering::Acquire))) =>
            {
                Some(frame)
            }
            _ => None,
        }
    }

    fn free_one(&self, pool: &mut Pool, index: u32, funding: Funding) -> bool {
        let Word::Used(frame) = self.load(index) else {
            return false;
        };
        self.store(index, Word::Interior);
        *pool.usage.of(frame.kind, frame.owner) -= 1;
        pool.usage.free += 1;
        if funding == Funding::Promised {
            pool.usage.promised += 1;
        }
        self.merge(pool, index, 0);
        true
    }
}

impl Pool {
    fn check_available(&self, count: u64) -> Result<(), Shortage> {
        let available = self.usage.free.saturating_sub(self.usage.promised);
        if count <= available {
            return Ok(());
        }
        Err(Shortage {
            wanted: count,
            available,
        })
    }
}

#[cfg(test)]
mod tests;
