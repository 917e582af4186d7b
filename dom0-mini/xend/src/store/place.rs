//! Where blobs are on the disk: slots of 64 KiB, each of which at most one blob has.
//!
//! Which slots are free is not written anywhere: it follows from the places of all blobs.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// A run of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Extent {
    /// The first one.
    #[n(0)]
    pub first: u32,
    /// How many.
    #[n(1)]
    pub count: u32,
}

impl Extent {
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

/// Where one blob is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Place {
    /// The blob's length in bytes.
    #[n(0)]
    pub length: u64,
    /// Its slots, in order.
    #[n(1)]
    pub extents: Vec<Extent>,
}

impl Place {
    /// Its slot of this number.
    pub(crate) fn slot(&self, number: u32) -> Option<u32> {
        let mut rest = number;
        for extent in &self.extents {
            if rest < extent.count {
                return extent.first.checked_add(rest);
            }
            rest -= extent.count;
        }
        None
    }

    /// How many slots it has.
    pub(crate) fn slots(&self) -> u32 {
        let counts = self.extents.iter().map(|extent| extent.count);
        counts.fold(0, u32::saturating_add)
    }
}

/// The most pieces a place is made of: it is kept in one commit.
const EXTENTS_MAX: usize = 1024;

/// The free slots.
#[derive(Debug, Default)]
pub(crate) struct FreeSlots {
    /// Runs of free slots by their first ones: how many. No two of them touch.
    runs: BTreeMap<u32, u32>,
}

impl FreeSlots {
    /// So many slots, all of them free.
    pub(crate) fn all(count: u32) -> Self {
        let runs = (count > 0).then_some((0, count));
        Self {
            runs: runs.into_iter().collect(),
        }
    }

    /// Takes slots that somebody has; `false`: one of them is not free.
    pub(crate) fn occupy(&mut self, place: &Place) -> bool {
        place.extents.iter().all(|extent| self.cut_out(*extent))
    }

    /// Takes so many slots: of one run, or else of several.
    pub(crate) fn take(&mut self, count: u32) -> Option<Vec<Extent>> {
        let run = self.runs.iter().find(|(_, there)| **there >= count);
        let extents = match run {
            Some((first, _)) => [Extent {
                first: *first,
                count,
            }]
            .into(),
            None => self.gather(count)?,
        };
        extents.iter().for_each(|extent| {
            self.cut_out(*extent);
        });
        Some(extents)
    }

    /// Runs that together have so many slots, the longest ones first.
    fn gather(&self, count: u32) -> Option<Vec<Extent>> {
        let mut runs: Vec<_> = self.runs.iter().collect();
        runs.sort_by_key(|(_, there)| core::cmp::Reverse(**there));
        let mut missing = count;
        let mut extents = Vec::new();
        for (first, there) in runs.into_iter().take(EXTENTS_MAX) {
            let count = missing.min(*there);
            extents.push(Extent {
                first: *first,
                count,
            });
            missing -= count;
            if missing == 0 {
                return Some(extents);
            }
        }
        None
    }

    /// Gives slots back.
    pub(crate) fn release(&mut self, place: &Place) {
        place
            .extents
            .iter()
            .for_each(|extent| self.put_back(*extent));
    }

    /// How many are free.
    pub(crate) fn count(&self) -> u64 {
        self.runs.values().map(|count| u64::from(*count)).sum()
    }

    fn cut_out(&mut self, extent: Extent) -> bool {
        let run = self.runs.range(..=extent.first).next_back();
        let Some(run) = run.map(|(first, count)| Extent {
            first: *first,
            count: *count,
        }) else {
            return false;
        };
        if extent.end() > run.end() {
            return false;
        }
        self.runs.remove(&run.first);
        self.add(run.first, u64::from(extent.first));
        self.add_from(extent.end(), run.end());
        true
    }

    fn put_back(&mut self, extent: Extent) {
        let (mut first, mut end) = (extent.first, extent.end());
        if let Some((before, count)) = self.runs.range(..first).next_back()
            && u64::from(*before) + u64::from(*count) == u64::from(first)
        {
            first = *before;
        }
        if let Ok(behind) = u32::try_from(end)
            && let Some(count) = self.runs.remove(&behind)
        {
            end += u64::from(count);
        }
        self.add(first, end);
    }

    fn add_from(&mut self, first: u64, end: u64) {
        if let Ok(first) = u32::try_from(first) {
            self.add(first, end);
        }
    }

    /// Notes a run, unless it is empty.
    fn add(&mut self, first: u32, end: u64) {
        let count = u32::try_from(end.saturating_sub(u64::from(first))).unwrap_or(u32::MAX);
        if count > 0 {
            self.runs.insert(first, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, FreeSlots, Place};
    use crate::store::simulated::Random;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn place(extents: Vec<Extent>) -> Place {
        Place { length: 1, extents }
    }

    fn slots(place: &Place) -> Vec<u32> {
        (0..place.slots())
            .map_while(|number| place.slot(number))
            .collect()
    }

    #[test]
    fn slots_are_numbered_through_all_extents() {
        let place = place(
            [(7, 2), (3, 1)]
                .map(|(first, count)| Extent { first, count })
                .into(),
        );
        assert_eq!(slots(&place), [7, 8, 3]);
        assert_eq!(place.slot(3), None);
    }

    #[test]
    fn what_somebody_has_is_not_taken_and_comes_back() {
        let mut free = FreeSlots::all(10);
        let first = place(free.take(4).unwrap());
        let second = place(free.take(3).unwrap());
        free.release(&first);
        assert_eq!(free.count(), 7);
        assert_eq!(free.take(8), None);
        let third = place(free.take(6).unwrap());
        assert_eq!(third.extents.len(), 2, "of both ends");
        assert!(
            slots(&third)
                .iter()
                .all(|slot| !slots(&second).contains(slot))
        );
        free.release(&second);
        free.release(&third);
        assert_eq!(free.take(10).unwrap().len(), 1, "one run again");
    }

    #[test]
    fn a_slot_that_two_blobs_claim_is_noticed() {
        let mut free = FreeSlots::all(10);
        let run = |first, count| place([Extent { first, count }].into());
        assert!(free.occupy(&run(2, 3)));
        for (first, count) in [(4, 1), (0, 3), (8, 3), (u32::MAX, u32::MAX)] {
            assert!(!free.occupy(&run(first, count)), "{first} {count}");
        }
        assert!(free.occupy(&run(5, 5)));
    }

    /// Against a plain set of numbers.
    #[test]
    fn free_slots_are_those_that_nobody_has() {
        let mut random = Random::new(5);
        let mut free = FreeSlots::all(200);
        let mut model: BTreeSet<u32> = (0..200).collect();
        let mut places: Vec<Place> = Vec::new();
        for _ in 0..5000 {
            if random.below(2) == 0 && !places.is_empty() {
                let place = places.swap_remove(random.below(places.len() as u64) as usize);
                free.release(&place);
                model.extend(slots(&place));
            } else if let Some(extents) = free.take(1 + random.below(40) as u32) {
                let place = place(extents);
                assert!(slots(&place).iter().all(|slot| model.remove(slot)));
                places.push(place);
            }
            assert_eq!(free.count(), model.len() as u64);
        }
    }
}
