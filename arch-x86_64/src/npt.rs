//! Nested page table entries (AMD APM, volume 2, "Nested Paging"): those of long mode.
//!
//! Nested walks count as user accesses, so every entry has the user bit. Accessed and dirty are set from the start: the
//! walker need not write to our tables. The memory type combines with the guest's by the host's PAT, of which only the
//! two types that every reset value has are used: write-back, and uncached by PCD and PWT together.

use bitfield_struct::bitfield;
use hv_common::arch::{Attributes, Mfn, Pte, PteKind};

/// An entry of any level.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct NptEntry {
    present: bool,
    write: bool,
    user: bool,
    write_through: bool,
    cache_disable: bool,
    accessed: bool,
    dirty: bool,
    /// Leaves above level 0 only; the PAT bit at level 0, which stays 0.
    large: bool,
    #[bits(4)]
    __: u8,
    #[bits(40)]
    frame: u64,
    #[bits(11)]
    __: u16,
    no_execute: bool,
}

impl Pte for NptEntry {
    const LEVELS: u32 = 4;
    const ROOT_FRAMES: u64 = 1;
    const EMPTY: Self = Self::new();

    fn from_word(word: u64) -> Self {
        Self::from_bits(word)
    }

    fn to_word(self) -> u64 {
        self.into_bits()
    }

    fn table(table: Mfn) -> Self {
        Self::new()
            .with_present(true)
            .with_write(true)
            .with_user(true)
            .with_accessed(true)
            .with_frame(table.0)
    }

    fn leaf(frame: Mfn, level: u32, attributes: Attributes) -> Self {
        Self::new()
            .with_present(true)
            .with_write(attributes.write)
            .with_user(true)
            .with_write_through(attributes.device)
            .with_cache_disable(attributes.device)
            .with_accessed(true)
            .with_dirty(true)
            .with_large(level > 0)
            .with_frame(frame.0)
            .with_no_execute(!attributes.execute)
    }

    fn decode(self, level: u32) -> PteKind {
        let frame = Mfn(self.frame());
        if !self.present() {
            PteKind::Empty
        } else if level > 0 && !self.large() {
            PteKind::Table(frame)
        } else {
            let attributes = Attributes {
                write: self.write(),
                execute: !self.no_execute(),
                device: self.cache_disable(),
            };
            PteKind::Leaf(frame, attributes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_manual() {
        let ram = NptEntry::leaf(Mfn(0x12345), 0, Attributes::RAM);
        assert_eq!(ram.to_word(), 0x1234_5067);
        let block = NptEntry::leaf(Mfn(0x200), 1, Attributes::READ_ONLY);
        assert_eq!(block.to_word(), 0x8000_0000_0020_00E5);
        let device = NptEntry::leaf(Mfn(0xFE_C00), 0, Attributes::DEVICE);
        assert_eq!(device.to_word(), 0x8000_0000_FEC0_007F);
        assert_eq!(NptEntry::table(Mfn(0x777)).to_word(), 0x77_7027);
        assert_eq!(NptEntry::EMPTY.to_word(), 0);
    }
}
