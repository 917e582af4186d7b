//! Stage-2 translation table entries (Arm ARM, VMSAv8-64, 4 KiB granule), and how the tables are configured.
//!
//! Guest-physical addresses have at most 40 bits; walks begin at level 1 of the manual, which is level 2 of
//! `hv_common`, with two concatenated tables.

use hv_common::arch::{Attributes, Mfn, Pte, PteKind};

/// Guest-physical address bits at most.
pub const IPA_BITS_MAX: u32 = 40;

const VALID: u64 = 1;
/// A table at upper levels, a page at level 0.
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEMORY_DEVICE_NGNRE: u64 = 0b0001 << 2;
const MEMORY_NORMAL_WB: u64 = 0b1111 << 2;
const MEMORY_MASK: u64 = 0b1111 << 2;
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const EXECUTE_NEVER: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_FFFF_FFFF_F000;

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage2Pte(u64);

impl Pte for Stage2Pte {
    const LEVELS: u32 = 3;
    const ROOT_FRAMES: u64 = 2;
    const EMPTY: Self = Self(0);

    #[inline]
    fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    fn to_word(self) -> u64 {
        self.0
    }

    fn table(table: Mfn) -> Self {
        Self(address(table) | TABLE_OR_PAGE | VALID)
    }

    fn leaf(frame: Mfn, level: u32, attributes: Attributes) -> Self {
        let kind = if level == 0 { TABLE_OR_PAGE } else { 0 };
        let memory = if attributes.device {
            MEMORY_DEVICE_NGNRE
        } else {
            MEMORY_NORMAL_WB | INNER_SHAREABLE
        };
        let write = if attributes.write { WRITE } else { 0 };
        let execute = if attributes.execute { 0 } else { EXECUTE_NEVER };
        Self(address(frame) | kind | memory | write | execute | READ | ACCESSED | VALID)
    }

    fn decode(self, level: u32) -> PteKind {
        let frame = Mfn((self.0 & ADDRESS) >> hv_abi::FRAME_SHIFT);
        let is_table = level > 0 && self.0 & TABLE_OR_PAGE != 0;
        if self.0 & VALID == 0 {
            PteKind::Empty
        } else if is_table {
            PteKind::Table(frame)
        } else {
            let attributes = Attributes {
                write: self.0 & WRITE != 0,
                execute: self.0 & EXECUTE_NEVER == 0,
                device: self.0 & MEMORY_MASK != MEMORY_NORMAL_WB,
            };
            PteKind::Leaf(frame, attributes)
        }
    }
}

const fn address(frame: Mfn) -> u64 {
    (frame.0 << hv_abi::FRAME_SHIFT) & ADDRESS
}

/// Physical address bits of an `ID_AA64MMFR0_EL1.PARange`.
#[must_use]
pub const fn physical_bits(mmfr0: u64) -> u32 {
    match mmfr0 & 0xF {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// Guest-physical address bits on a CPU.
#[must_use]
pub const fn ipa_bits(mmfr0: u64) -> u32 {
    let physical = physical_bits(mmfr0);
    if physical < IPA_BITS_MAX {
        physical
    } else {
        IPA_BITS_MAX
    }
}

/// Whether VMIDs have 16 bits (`ID_AA64MMFR1_EL1.VMIDBits`).
#[must_use]
pub const fn has_wide_vmids(mmfr1: u64) -> bool {
    (mmfr1 >> 4) & 0xF == 2
}

/// The value of `VTCR_EL2` on a CPU.
#[must_use]
pub const fn vtcr(mmfr0: u64, mmfr1: u64) -> u64 {
    const RES1: u64 = 1 << 31;
    const START_AT_LEVEL_1: u64 = 1 << 6;
    const WALK_WRITE_BACK: u64 = 0b01 << 8 | 0b01 << 10;
    const WALK_INNER_SHAREABLE: u64 = 0b11 << 12;
    let range = mmfr0 & 0xF;
    let physical = if range > 5 { 5 } else { range };
    let wide = has_wide_vmids(mmfr1) as u64;
    RES1 | START_AT_LEVEL_1
        | WALK_WRITE_BACK
        | WALK_INNER_SHAREABLE
        | physical << 16
        | wide << 19
        | (64 - ipa_bits(mmfr0) as u64)
}

/// The value of `VTTBR_EL2` for a domain.
#[must_use]
pub const fn vttbr(root: Mfn, vmid: u16) -> u64 {
    (vmid as u64) << 48 | address(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_come_back_as_they_went_in() {
        let kinds = [
            Attributes::RAM,
            Attributes::SHARED,
            Attributes::READ_ONLY,
            Attributes::DEVICE,
        ];
        for attributes in kinds {
            for level in 0..3 {
                let entry = Stage2Pte::leaf(Mfn(0x4_0200), level, attributes);
                let kind = PteKind::Leaf(Mfn(0x4_0200), attributes);
                assert_eq!(entry.decode(level), kind);
                assert_eq!(Stage2Pte::from_word(entry.to_word()), entry);
            }
        }
        let table = Stage2Pte::table(Mfn(7));
        assert_eq!(table.decode(1), PteKind::Table(Mfn(7)));
        assert_eq!(Stage2Pte::EMPTY.decode(0), PteKind::Empty);
    }

    #[test]
    fn entries_are_those_of_the_manual() {
        let page = Stage2Pte::leaf(Mfn(0x40200), 0, Attributes::RAM).to_word();
        assert_eq!(page, 0x4020_07FF);
        let block = Stage2Pte::leaf(Mfn(0x40200), 1, Attributes::DEVICE).to_word();
        assert_eq!(block, 0x0040_0000_4020_04C5);
    }

    #[test]
    fn a_cortex_a53_gets_forty_bits_in_two_root_tables() {
        // QEMU's Cortex-A53: PARange 2 (40 bits), 8-bit VMIDs.
        assert_eq!(vtcr(0x1122, 0), 0x8002_3558);
        assert_eq!(ipa_bits(0x1122), 40);
        // A CPU with 48 bits and 16-bit VMIDs.
        assert_eq!(vtcr(5, 0x20), 0x800D_3558);
        assert_eq!(vttbr(Mfn(0x12345), 3), 0x0003_0000_1234_5000);
    }
}
