//! Extended page table entries (Intel SDM, volume 3C, "EPT Translation Mechanism", formats of EPT entries).
//!
//! An entry is present if any of its three permission bits is set. The memory type is in the leaf and combines with the
//! guest's own, so RAM is write-back and devices are uncached whatever the guest says less strictly.

use bitfield_struct::bitfield;
use hv_common::arch::{Attributes, Mfn, Pte, PteKind};

/// Memory type uncacheable.
const UNCACHEABLE: u8 = 0;
/// Memory type write-back.
const WRITE_BACK: u8 = 6;

/// An entry of any level.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct EptEntry {
    read: bool,
    write: bool,
    execute: bool,
    /// Leaves only; in an entry that points to a table these bits are reserved.
    #[bits(3)]
    memory_type: u8,
    ignore_pat: bool,
    /// Leaves above level 0 only.
    large: bool,
    #[bits(4)]
    __: u8,
    #[bits(40)]
    frame: u64,
    #[bits(12)]
    __: u16,
}

impl Pte for EptEntry {
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
            .with_read(true)
            .with_write(true)
            .with_execute(true)
            .with_frame(table.0)
    }

    fn leaf(frame: Mfn, level: u32, attributes: Attributes) -> Self {
        let memory_type = if attributes.device {
            UNCACHEABLE
        } else {
            WRITE_BACK
        };
        Self::new()
            .with_read(true)
            .with_write(attributes.write)
            .with_execute(attributes.execute)
            .with_memory_type(memory_type)
            .with_large(level > 0)
            .with_frame(frame.0)
    }

    fn decode(self, level: u32) -> PteKind {
        let present = self.read() || self.write() || self.execute();
        let frame = Mfn(self.frame());
        if !present {
            PteKind::Empty
        } else if level > 0 && !self.large() {
            PteKind::Table(frame)
        } else {
            let attributes = Attributes {
                write: self.write(),
                execute: self.execute(),
                device: self.memory_type() == UNCACHEABLE,
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
        let ram = EptEntry::leaf(Mfn(0x12345), 0, Attributes::RAM);
        assert_eq!(ram.to_word(), 0x1234_5037);
        let block = EptEntry::leaf(Mfn(0x200), 1, Attributes::READ_ONLY);
        assert_eq!(block.to_word(), 0x20_00B1);
        let device = EptEntry::leaf(Mfn(0xFE_C00), 0, Attributes::DEVICE);
        assert_eq!(device.to_word(), 0xFEC0_0003);
        assert_eq!(EptEntry::table(Mfn(0x777)).to_word(), 0x77_7007);
        assert_eq!(EptEntry::EMPTY.to_word(), 0);
    }
}
