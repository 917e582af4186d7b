//! Free blocks: a list for each order, linked through the words of their first frames, and halves that find each other again.

use super::word::Word;
use super::{BLOCK_ORDER, Frames, MAX_ORDER, Pool};
use crate::arch::Mfn;

impl Frames {
    /// Takes a block of this order out of the free lists, splitting a larger one if it must.
    pub(super) fn take(&self, pool: &mut Pool, order: u32) -> Option<u32> {
        let found = (order..=MAX_ORDER).find(|&order| pool.head(order).is_some())?;
        let index = pool.head(found)?;
        self.unlink(pool, index, found);
        for half in (order..found).rev() {
            self.insert(pool, index + (1 << half), half);
        }
        Some(index)
    }

    /// Inserts a block, joined with its buddies as far as they are free.
    pub(super) fn merge(&self, pool: &mut Pool, index: u32, order: u32) {
        let (mut index, mut order) = (index, order);
        while order < MAX_ORDER {
            let Some(buddy) = ((index + self.skew()) ^ (1 << order)).checked_sub(self.skew())
            else {
                break;
            };
            match self.load(buddy) {
                Word::FreeHead { order: same, .. } if same == order => {
                    self.unlink(pool, buddy, order);
                    index = index.min(buddy);
                    order += 1;
                }
                _ => break,
            }
        }
        self.insert(pool, index, order);
    }

    pub(super) fn insert(&self, pool: &mut Pool, index: u32, order: u32) {
        let next = pool.head(order);
        if let Some(next) = next {
            self.relink(next, |_, after| (Some(index), after));
        }
        self.store(
            index,
            Word::FreeHead {
                order,
                previous: None,
                next,
            },
        );
        pool.set_head(order, Some(index));
    }

    fn unlink(&self, pool: &mut Pool, index: u32, order: u32) {
        let Word::FreeHead { previous, next, .. } = self.load(index) else {
            return;
        };
        match previous {
            Some(previous) => self.relink(previous, |before, _| (before, next)),
            None => pool.set_head(order, next),
        }
        if let Some(next) = next {
            self.relink(next, |_, after| (previous, after));
        }
        self.store(index, Word::Interior);
    }

    fn relink(
        &self,
        index: u32,
        change: impl Fn(Option<u32>, Option<u32>) -> (Option<u32>, Option<u32>),
    ) {
        if let Word::FreeHead {
            order,
            previous,
            next,
        } = self.load(index)
        {
            let (previous, next) = change(previous, next);
            self.store(
                index,
                Word::FreeHead {
                    order,
                    previous,
                    next,
                },
            );
        }
    }

    /// The free block that holds the 2 MiB at `mfn`, as its head's index and its order.
    fn free_block_around(&self, mfn: u64) -> Option<(u32, u32)> {
        let index = self.index(Mfn(mfn))?;
        (BLOCK_ORDER..=MAX_ORDER).find_map(|order| {
            let aligned = (index + self.skew()) & !((1 << order) - 1);
            let head = aligned.checked_sub(self.skew())?;
            match self.load(head) {
                Word::FreeHead { order: found, .. } if found == order => Some((head, order)),
                _ => None,
            }
        })
    }

    pub(super) fn is_free_block(&self, mfn: u64) -> bool {
        self.free_block_around(mfn).is_some()
    }

    /// Takes the 2 MiB at `mfn` out of the free block that holds it.
    pub(super) fn carve(&self, pool: &mut Pool, mfn: u64) {
        let (Some((head, order)), Some(index)) =
            (self.free_block_around(mfn), self.index(Mfn(mfn)))
        else {
            return;
        };
        self.unlink(pool, head, order);
        for part in (head..head + (1 << order)).step_by(1 << BLOCK_ORDER) {
            if part != index {
                self.insert(pool, part, BLOCK_ORDER);
            }
        }
    }
}

impl Pool {
    fn head(&self, order: u32) -> Option<u32> {
        self.heads.get(order as usize).copied().flatten()
    }

    fn set_head(&mut self, order: u32, head: Option<u32>) {
        if let Some(slot) = self.heads.get_mut(order as usize) {
            *slot = head;
        }
    }
}
