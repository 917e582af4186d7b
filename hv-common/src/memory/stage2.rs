//! The stage-2 tables of a domain: one walker for every architecture's entry format.
//!
//! A walk starts at the root, `ROOT_FRAMES` concatenated tables, and goes down to level 0, whose entries map 4 KiB.
//! Leaves are as large as alignment allows, up to [`LEAF_LEVEL_MAX`]; one is split only when a part of it changes. An
//! entry that maps something is emptied, and the emptying made complete everywhere, before anything else is put
//! there (the strictest of the manuals calls it "break-before-make"). The tables belong to one domain and are changed
//! under its lock.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::{Attributes, Gfn, Mfn, Pte, PteKind, Words};

/// Largest leaf: level 1, 2 MiB.
pub const LEAF_LEVEL_MAX: u32 = 1;
const ENTRIES: u64 = 512;

/// What the walker needs of the machine and of the domain it works for.
pub trait Tables {
    /// A table's words.
    fn words(&self, table: Mfn) -> &Words;
    /// A new table, all zero.
    fn allocate(&self) -> Option<Mfn>;
    /// Gives a table back.
    fn release(&self, table: Mfn);
    /// Makes the removal of rights in this range complete.
    fn invalidate(&self, gfn: Gfn, count: u64);
    /// Makes new entries visible to the walker.
    fn publish(&self);
}

/// Why a mapping could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// Beyond the guest-physical address space.
    OutOfRange,
    /// No frame for a table.
    NoTable,
    /// Something is mapped there.
    Occupied,
}

/// A leaf, as a lookup finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The frame that the gfn maps to.
    pub mfn: Mfn,
    /// Rights.
    pub attributes: Attributes,
    /// Frames from this one to the end of the leaf, this one included.
    pub count: u64,
}

/// A populated range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// First guest frame.
    pub gfn: Gfn,
    /// The leaf from there on.
    pub leaf: Leaf,
}

/// The tables of one domain.
#[derive(Debug)]
pub struct Stage2<P> {
    root: Mfn,
    entries: PhantomData<fn() -> P>,
}

const fn span(level: u32) -> u64 {
    1 << (9 * level)
}

fn slot(words: &Words, gfn: u64, level: u32) -> Option<&AtomicU64> {
    words.get(usize::try_from((gfn >> (9 * level)) % ENTRIES).ok()?)
}

impl<P: Pte> Stage2<P> {
    /// Tables with this root: `ROOT_FRAMES` frames, all zero.
    #[must_use]
    pub const fn new(root: Mfn) -> Self {
        Self {
            root,
            entries: PhantomData,
        }
    }

    /// First frame of the root.
    #[must_use]
    pub const fn root(&self) -> Mfn {
        self.root
    }

    /// Guest frames that can be mapped.
    #[must_use]
    pub const fn limit() -> u64 {
        P::ROOT_FRAMES * span(P::LEVELS)
    }

    const fn root_table(&self, gfn: u64) -> Mfn {
        Mfn(self.root.0 + gfn / span(P::LEVELS))
    }

    /// Where a guest frame is.
    #[must_use]
    pub fn lookup(&self, tables: &impl Tables, gfn: Gfn) -> Option<Leaf> {
        if gfn.0 >= Self::limit() {
            return None;
        }
        let mut table = self.root_table(gfn.0);
        for level in (0..P::LEVELS).rev() {
            let word = slot(tables.words(table), gfn.0, level)?.load(Ordering::Acquire);
            match P::from_word(word).decode(level) {
                PteKind::Empty => return None,
                PteKind::Table(next) => table = next,
                PteKind::Leaf(first, attributes) => {
                    let offset = gfn.0 % span(level);
                    return Some(Leaf {
                        mfn: Mfn(first.0 + offset),
                        attributes,
                        count: span(level) - offset,
                    });
                }
            }
        }
        None
    }

    /// Maps `count` frames, all or none; nothing may be mapped there.
    ///
    /// # Errors
    /// Why not.
    pub fn map(
        &mut self,
        tables: &impl Tables,
        gfn: Gfn,
        mfn: Mfn,
        count: u64,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let end = gfn.0.checked_add(count);
        if end.is_none_or(|end| end > Self::limit()) {
            return Err(MapError::OutOfRange);
        }
        let mut done = 0;
        while done < count {
            let (at, frame) = (gfn.0 + done, mfn.0 + done);
            let level = leaf_level(at | frame, count - done).min(P::LEVELS - 1);
            if let Err(error) = self.map_leaf(tables, at, Mfn(frame), level, attributes) {
                // Whole leaves only, so taking them out again needs no table.
                let _undone = self.unmap_range(tables, gfn, done);
                self.prune(tables, at);
                return Err(error);
            }
            done += span(level);
        }
        tables.publish();
        Ok(())
    }

    fn map_leaf(
        &mut self,
        tables: &impl Tables,
        gfn: u64,
        mfn: Mfn,
        level: u32,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let entry = self.descend(tables, gfn, level)?;
        let leaf = P::leaf(mfn, level, attributes).to_word();
        match P::from_word(entry.load(Ordering::Relaxed)).decode(level) {
            PteKind::Empty => entry.store(leaf, Ordering::Release),
            // A table maps something: empty ones are given back at once.
            PteKind::Leaf(..) | PteKind::Table(_) => return Err(MapError::Occupied),
        }
        Ok(())
    }

    /// The entry for `gfn` at `level`, with tables made on the way.
    fn descend<'t>(
        &self,
        tables: &'t impl Tables,
        gfn: u64,
        level: u32,
    ) -> Result<&'t AtomicU64, MapError> {
        let mut table = self.root_table(gfn);
        for above in (level + 1..P::LEVELS).rev() {
            let entry = slot(tables.words(table), gfn, above).ok_or(MapError::OutOfRange)?;
            table = match P::from_word(entry.load(Ordering::Relaxed)).decode(above) {
                PteKind::Table(next) => next,
                PteKind::Leaf(..) => return Err(MapError::Occupied),
                PteKind::Empty => {
                    let next = tables.allocate().ok_or(MapError::NoTable)?;
                    entry.store(P::table(next).to_word(), Ordering::Release);
                    next
                }
            };
        }
        slot(tables.words(table), gfn, level).ok_or(MapError::OutOfRange)
    }

    /// Unmaps one frame, splitting a larger leaf around it. Returns what was mapped; it is unreachable for the guest now.
    ///
    /// # Errors
    /// [`MapError::NoTable`] if a split needs a table and there is none.
    pub fn unmap(&mut self, tables: &impl Tables, gfn: Gfn) -> Result<Option<Leaf>, MapError> {
        let Some(leaf) = self.lookup(tables, gfn) else {
            return Ok(None);
        };
        self.replace(tables, gfn, P::EMPTY)?;
        self.prune(tables, gfn.0);
        Ok(Some(Leaf { count: 1, ..leaf }))
    }

    /// Gives the tables on the way to `gfn` back that map nothing any more, so that what was mapped for a while leaves
    /// nothing behind.
    fn prune(&self, tables: &impl Tables, gfn: u64) {
        for level in 1..P::LEVELS {
            let Some((entry, table)) = self.table_below(tables, gfn, level) else {
                continue;
            };
            if !is_empty::<P>(tables, table, level - 1) {
                return;
            }
            entry.store(P::EMPTY.to_word(), Ordering::Release);
            tables.invalidate(Gfn(gfn / span(level) * span(level)), span(level));
            tables.release(table);
        }
    }

    /// The entry for `gfn` at `level`, and the table that it points to, if it does.
    fn table_below<'t>(
        &self,
        tables: &'t impl Tables,
        gfn: u64,
        level: u32,
    ) -> Option<(&'t AtomicU64, Mfn)> {
        let mut table = self.root_table(gfn);
        for above in (level..P::LEVELS).rev() {
            let entry = slot(tables.words(table), gfn, above)?;
            let word = P::from_word(entry.load(Ordering::Relaxed));
            let PteKind::Table(next) = word.decode(above) else {
                return None;
            };
            if above == level {
                return Some((entry, next));
            }
            table = next;
        }
        None
    }

    /// Unmaps all that is mapped in a range, whole leaves at once where they lie within it.
    ///
    /// # Errors
    /// As [`Self::unmap`]; what came before stays unmapped.
    pub fn unmap_range(
        &mut self,
        tables: &impl Tables,
        gfn: Gfn,
        count: u64,
    ) -> Result<(), MapError> {
        let end = gfn.0.saturating_add(count);
        let mut at = gfn.0;
        while at < end {
            let Some(mapped) = self.next(tables, Gfn(at)) else {
                break;
            };
            at = mapped.gfn.0;
            if at >= end {
                break;
            }
            let count = self.unmap_leaf(tables, at, end)?;
            self.prune(tables, at);
            at += count;
        }
        Ok(())
    }

    /// Unmaps the leaf that starts at a mapped frame if all of it lies before `end`, else that frame. Returns how many
    /// frames that were.
    fn unmap_leaf(&mut self, tables: &impl Tables, gfn: u64, end: u64) -> Result<u64, MapError> {
        let mut table = self.root_table(gfn);
        for level in (0..P::LEVELS).rev() {
            let entry = slot(tables.words(table), gfn, level).ok_or(MapError::OutOfRange)?;
            match P::from_word(entry.load(Ordering::Relaxed)).decode(level) {
                PteKind::Empty => return Ok(1),
                PteKind::Table(next) => table = next,
                PteKind::Leaf(..)
                    if gfn.is_multiple_of(span(level)) && gfn + span(level) <= end =>
                {
                    entry.store(P::EMPTY.to_word(), Ordering::Release);
                    tables.invalidate(Gfn(gfn), span(level));
                    return Ok(span(level));
                }
                PteKind::Leaf(..) => break,
            }
        }
        self.replace(tables, Gfn(gfn), P::EMPTY)?;
        Ok(1)
    }

    /// Changes the rights of one mapped frame.
    ///
    /// # Errors
    /// [`MapError::NoTable`] as [`Self::unmap`]; [`MapError::OutOfRange`] if nothing is mapped there.
    pub fn protect(
        &mut self,
        tables: &impl Tables,
        gfn: Gfn,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let leaf = self.lookup(tables, gfn).ok_or(MapError::OutOfRange)?;
        if leaf.attributes == attributes {
            return Ok(());
        }
        self.replace(tables, gfn, P::leaf(leaf.mfn, 0, attributes))
    }

    /// Puts a new level-0 entry in the place of a mapped one.
    fn replace(&mut self, tables: &impl Tables, gfn: Gfn, new: P) -> Result<(), MapError> {
        let mut table = self.root_table(gfn.0);
        for level in (0..P::LEVELS).rev() {
            let entry = slot(tables.words(table), gfn.0, level).ok_or(MapError::OutOfRange)?;
            let old = P::from_word(entry.load(Ordering::Relaxed));
            match old.decode(level) {
                PteKind::Empty => return Ok(()),
                PteKind::Table(next) => table = next,
                PteKind::Leaf(..) if level == 0 => {
                    entry.store(P::EMPTY.to_word(), Ordering::Release);
                    tables.invalidate(gfn, 1);
                    entry.store(new.to_word(), Ordering::Release);
                }
                PteKind::Leaf(first, attributes) => {
                    table = split::<P>(tables, entry, gfn.0, level, first, attributes)?;
                }
            }
        }
        tables.publish();
        Ok(())
    }

    /// The first mapped frame at or after `gfn`, and the leaf from there on.
    #[must_use]
    pub fn next(&self, tables: &impl Tables, gfn: Gfn) -> Option<Mapped> {
        let mut at = gfn.0;
        while at < Self::limit() {
            match self.find(tables, self.root_table(at), at, P::LEVELS - 1) {
                Ok(mapped) => return Some(mapped),
                Err(next) => at = next,
            }
        }
        None
    }

    /// Looks in one table, from `at` to the table's end. `Err`: the first frame after that end.
    fn find(
        &self,
        tables: &impl Tables,
        table: Mfn,
        mut at: u64,
        level: u32,
    ) -> Result<Mapped, u64> {
        let end = (at / span(level + 1) + 1) * span(level + 1);
        while at < end {
            let word =
                slot(tables.words(table), at, level).map_or(0, |word| word.load(Ordering::Acquire));
            at = match P::from_word(word).decode(level) {
                PteKind::Empty => (at / span(level) + 1) * span(level),
                PteKind::Table(next) => match self.find(tables, next, at, level - 1) {
                    Ok(mapped) => return Ok(mapped),
                    Err(next) => next,
                },
                PteKind::Leaf(first, attributes) => {
                    let offset = at % span(level);
                    return Ok(Mapped {
                        gfn: Gfn(at),
                        leaf: Leaf {
                            mfn: Mfn(first.0 + offset),
                            attributes,
                            count: span(level) - offset,
                        },
                    });
                }
            };
        }
        Err(end)
    }

    /// Takes the tables apart: hands leaves to `each`, which returns what that cost, until `budget` is spent; returns
    /// emptied tables (not the root). Nothing may run on these tables any more. `true`: all is gone.
    pub fn dismantle(
        &mut self,
        tables: &impl Tables,
        budget: u32,
        mut each: impl FnMut(Mapped) -> u32,
    ) -> bool {
        let mut left = budget;
        (0..P::ROOT_FRAMES).all(|frame| {
            let first = frame * span(P::LEVELS);
            let table = Mfn(self.root.0 + frame);
            dismantle_table::<P>(tables, table, first, P::LEVELS - 1, &mut left, &mut each)
        })
    }
}

/// Empties a table. `false`: `left` ran out before.
fn dismantle_table<P: Pte>(
    tables: &impl Tables,
    table: Mfn,
    first: u64,
    level: u32,
    left: &mut u32,
    each: &mut impl FnMut(Mapped) -> u32,
) -> bool {
    for (gfn, entry) in (0..ENTRIES)
        .map(|index| first + index * span(level))
        .zip(tables.words(table))
    {
        match P::from_word(entry.load(Ordering::Relaxed)).decode(level) {
            PteKind::Empty => continue,
            _ if *left == 0 => return false,
            PteKind::Table(next) => {
                if !dismantle_table::<P>(tables, next, gfn, level - 1, left, each) {
                    return false;
                }
                entry.store(P::EMPTY.to_word(), Ordering::Relaxed);
                tables.release(next);
            }
            PteKind::Leaf(mfn, attributes) => {
                entry.store(P::EMPTY.to_word(), Ordering::Relaxed);
                let cost = each(Mapped {
                    gfn: Gfn(gfn),
                    leaf: Leaf {
                        mfn,
                        attributes,
                        count: span(level),
                    },
                });
                *left = left.saturating_sub(cost);
            }
        }
    }
    true
}

/// Whether a table of entries of this level maps nothing.
fn is_empty<P: Pte>(tables: &impl Tables, table: Mfn, level: u32) -> bool {
    let mut words = tables.words(table).iter();
    words.all(|word| {
        let entry = P::from_word(word.load(Ordering::Relaxed));
        entry.decode(level) == PteKind::Empty
    })
}

/// The level of the largest leaf that alignment (of gfn and mfn, or-ed) and count allow.
fn leaf_level(alignment: u64, count: u64) -> u32 {
    (1..=LEAF_LEVEL_MAX)
        .rev()
        .find(|level| alignment.is_multiple_of(span(*level)) && count >= span(*level))
        .unwrap_or(0)
}

/// Puts a table of smaller leaves in the place of one; returns it.
fn split<P: Pte>(
    tables: &impl Tables,
    entry: &AtomicU64,
    gfn: u64,
    level: u32,
    first: Mfn,
    attributes: Attributes,
) -> Result<Mfn, MapError> {
    let table = tables.allocate().ok_or(MapError::NoTable)?;
    for (index, word) in (0..).zip(tables.words(table)) {
        let frame = Mfn(first.0 + index * span(level - 1));
        let leaf = P::leaf(frame, level - 1, attributes);
        word.store(leaf.to_word(), Ordering::Relaxed);
    }
    entry.store(P::EMPTY.to_word(), Ordering::Release);
    tables.invalidate(Gfn(gfn / span(level) * span(level)), span(level));
    entry.store(P::table(table).to_word(), Ordering::Release);
    Ok(table)
}

#[cfg(test)]
mod tests;
