//! RAM and what of it is in use, while an architecture describes its machine.

use hv_abi::start::Range;

use super::{FRAME, RANGES, Reserved};
use crate::arch::Mfn;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// RAM, ascending, not overlapping.
    pub ram: heapless::Vec<Range, RANGES>,
    /// What of it is in use. May overlap; the first entry of a frame counts.
    pub reserved: heapless::Vec<(Range, Reserved), RANGES>,
}

/// The frames that have metadata, from the first of RAM to the last, and a place for a word for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// First frame.
    pub first: Mfn,
    /// Frames.
    pub count: u64,
    /// Machine address of the words.
    pub base: u64,
}

impl Layout {
    /// RAM of which nothing is in use.
    #[must_use]
    pub fn new(ram: heapless::Vec<Range, RANGES>) -> Self {
        Self {
            ram,
            reserved: heapless::Vec::new(),
        }
    }

    /// Says that a range is in use.
    ///
    /// # Panics
    /// If there are too many: the machine cannot run then.
    pub fn reserve(&mut self, range: Range, what: Reserved) {
        if range.size > 0 && self.reserved.push((range, what)).is_err() {
            panic!("the machine has more than {RANGES} reserved ranges");
        }
    }

    /// Whether all of a range is in one bank of RAM.
    #[must_use]
    pub fn is_ram(&self, range: &Range) -> bool {
        let end = range.base.checked_add(range.size);
        end.is_some_and(|end| {
            self.ram
                .iter()
                .any(|bank| range.base >= bank.base && end <= bank.base + bank.size)
        })
    }

    /// Reserves the first place in RAM where the metadata fits beside what is reserved.
    ///
    /// # Panics
    /// If there is none: the machine cannot run then.
    pub fn reserve_metadata(&mut self) -> Metadata {
        let first = self.ram.first().map_or(0, |bank| bank.base / FRAME);
        let last = self
            .ram
            .last()
            .map_or(0, |bank| (bank.base + bank.size) / FRAME);
        let count = last - first;
        let size = (count * 8).next_multiple_of(FRAME);
        let ends = self
            .reserved
            .iter()
            .map(|(range, _)| (range.base + range.size).next_multiple_of(FRAME));
        let starts = self.ram.iter().map(|bank| bank.base);
        let place = ends
            .chain(starts)
            .map(|base| Range { base, size })
            .find(|place| self.is_free(place));
        let Some(place) = place else {
            panic!("no room for the metadata of {count} frames");
        };
        self.reserve(place, Reserved::Hypervisor);
        Metadata {
            first: Mfn(first),
            count,
            base: place.base,
        }
    }

    fn is_free(&self, place: &Range) -> bool {
        let overlaps = |(other, _): &(Range, Reserved)| {
            place.base < other.base + other.size && other.base < place.base + place.size
        };
        self.is_ram(place) && !self.reserved.iter().any(overlaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let bank = Range {
            base: 0x4000_0000,
            size: 0x1000_0000,
        };
        Layout::new(heapless::Vec::from_slice(&[bank]).expect("one bank"))
    }

    #[test]
    fn metadata_goes_where_nothing_else_is() {
        let mut layout = layout();
        let image = Range {
            base: 0x4020_0000,
            size: 0x8_0800,
        };
        let bundle = Range {
            base: 0x4028_1000,
            size: 0x1000,
        };
        layout.reserve(image, Reserved::Hypervisor);
        layout.reserve(bundle, Reserved::Boot);
        let metadata = Metadata {
            first: Mfn(0x4_0000),
            count: 0x1_0000,
            base: 0x4028_2000,
        };
        assert_eq!(layout.reserve_metadata(), metadata);
        let (range, what) = layout.reserved[2];
        assert_eq!((range.base, range.size), (0x4028_2000, 0x8_0000));
        assert_eq!(what, Reserved::Hypervisor);
    }

    #[test]
    fn with_nothing_reserved_it_goes_to_the_start_of_ram() {
        assert_eq!(layout().reserve_metadata().base, 0x4000_0000);
    }

    #[test]
    fn a_range_that_is_not_all_ram_is_none() {
        let layout = layout();
        let range = |base, size| Range { base, size };
        assert!(layout.is_ram(&range(0x4000_0000, 0x1000_0000)));
        assert!(!layout.is_ram(&range(0x3FFF_F000, 0x2000)));
        assert!(!layout.is_ram(&range(0x4FFF_F000, 0x2000)));
        assert!(!layout.is_ram(&range(u64::MAX, 2)));
    }

    #[test]
    fn an_empty_range_is_not_kept() {
        let mut layout = layout();
        layout.reserve(Range::default(), Reserved::Boot);
        assert!(layout.reserved.is_empty());
    }
}
