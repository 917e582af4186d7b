//! The guest's own page tables (Intel SDM, volume 3, "Paging"; AMD APM, volume 2, chapter 5), walked in software.
//!
//! Only for what hardware does not tell: where the pointer of a hypercall is, and what instruction exited on a CPU that
//! does not say its length. Rights of user mode, protection keys and SMAP are not looked at: who asks is the guest's
//! kernel, about its own memory. Accessed and dirty bits stay as they are.

use hv_common::arch::{Access, Gpa};

use crate::control_registers::{cr0, cr4};
use crate::msr::efer;

/// Where guest-physical memory is read.
pub(crate) trait PhysicalMemory {
    /// Eight bytes at an address that is a multiple of eight, if it is RAM.
    fn read(&self, gpa: u64) -> Option<u64>;
}

/// The registers that say how addresses are translated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paging {
    pub(crate) cr0: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
}

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0x000F_FFFF_FFFF_F000;

impl Paging {
    /// Where a linear address is.
    pub(crate) fn translate(
        &self,
        memory: &impl PhysicalMemory,
        va: u64,
        access: Access,
    ) -> Option<Gpa> {
        let gpa = if self.cr0 & cr0::PG == 0 {
            va & 0xFFFF_FFFF
        } else if self.efer & efer::LMA != 0 {
            self.walk_long(memory, va, access)?
        } else if self.cr4 & cr4::PAE != 0 {
            self.walk_pae(memory, va & 0xFFFF_FFFF, access)?
        } else {
            self.walk_32(memory, va & 0xFFFF_FFFF, access)?
        };
        Some(Gpa(gpa))
    }

    /// The four page-directory pointers, where PAE paging is on: the CPU keeps them when CR3 is written.
    pub(crate) fn page_pointers(&self, memory: &impl PhysicalMemory) -> Option<[u64; 4]> {
        let is_pae =
            self.cr0 & cr0::PG != 0 && self.efer & efer::LMA == 0 && self.cr4 & cr4::PAE != 0;
        let table = self.cr3 & 0xFFFF_FFE0;
        let pointer = |number: u64| memory.read(table + 8 * number);
        is_pae.then_some([pointer(0)?, pointer(1)?, pointer(2)?, pointer(3)?])
    }

    fn allows(&self, entry: u64, access: Access) -> bool {
        let needs_write = access == Access::Write && self.cr0 & cr0::WP != 0;
        entry & PRESENT != 0 && (!needs_write || entry & WRITABLE != 0)
    }

    fn walk_long(&self, memory: &impl PhysicalMemory, va: u64, access: Access) -> Option<u64> {
        let levels = if self.cr4 & cr4::LA57 != 0 { 5 } else { 4 };
        let unused = 64 - (12 + 9 * levels);
        let is_canonical = (va as i64) << unused >> unused == va as i64;
        if !is_canonical {
            return None;
        }
        self.descend(memory, self.cr3 & FRAME, levels, va, access)
    }

    fn walk_pae(&self, memory: &impl PhysicalMemory, va: u64, access: Access) -> Option<u64> {
        let pointers = self.cr3 & 0xFFFF_FFE0;
        let pointer = memory.read(pointers + (va >> 30) * 8)?;
        if pointer & PRESENT == 0 {
            return None;
        }
        self.descend(memory, pointer & FRAME, 2, va, access)
    }

    /// From a table of 512 entries at that level down to the page.
    fn descend(
        &self,
        memory: &impl PhysicalMemory,
        table: u64,
        levels: u32,
        va: u64,
        access: Access,
    ) -> Option<u64> {
        let mut table = table;
        for level in (0..levels).rev() {
            let shift = 12 + 9 * level;
            let entry = memory.read(table + (va >> shift & 0x1FF) * 8)?;
            if !self.allows(entry, access) {
                return None;
            }
            let is_page = level == 0 || level <= 2 && entry & LARGE != 0;
            if is_page {
                let offset = (1 << shift) - 1;
                return Some(entry & FRAME & !offset | va & offset);
            }
            table = entry & FRAME;
        }
        None
    }

    fn walk_32(&self, memory: &impl PhysicalMemory, va: u64, access: Access) -> Option<u64> {
        let directory = entry_32(memory, self.cr3 & 0xFFFF_F000, va >> 22)?;
        if !self.allows(directory, access) {
            return None;
        }
        if directory & LARGE != 0 && self.cr4 & cr4::PSE != 0 {
            // Bits 13 to 20 are bits 32 to 39 of the address.
            let high = (directory >> 13 & 0xFF) << 32;
            return Some(high | directory & 0xFFC0_0000 | va & 0x3F_FFFF);
        }
        let page = entry_32(memory, directory & 0xFFFF_F000, va >> 12 & 0x3FF)?;
        let allowed = self.allows(page, access);
        allowed.then_some(page & 0xFFFF_F000 | va & 0xFFF)
    }
}

fn entry_32(memory: &impl PhysicalMemory, table: u64, index: u64) -> Option<u64> {
    let pair = memory.read(table + ((index * 4) & !7))?;
    Some(pair >> (32 * (index & 1)) & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Memory(BTreeMap<u64, u64>);

    impl PhysicalMemory for Memory {
        fn read(&self, gpa: u64) -> Option<u64> {
            assert_eq!(gpa % 8, 0);
            self.0.get(&gpa).copied()
        }
    }

    fn memory(words: &[(u64, u64)]) -> Memory {
        Memory(words.iter().copied().collect())
    }

    const LONG: Paging = Paging {
        cr0: 0x8001_0001,
        cr3: 0x1000,
        cr4: cr4::PAE,
        efer: 0x500,
    };

    #[test]
    fn four_levels_and_large_pages() {
        let memory = memory(&[
            (0x1000 + 8 * 511, 0x2003),
            (0x2000 + 8 * 510, 0x3003),
            (0x3000, 0x20_0083),
            (0x3008, 0x4001),
            (0x4000 + 8 * 3, 0x9_9001),
        ]);
        let at = |va, access| LONG.translate(&memory, va, access).map(|gpa| gpa.0);
        assert_eq!(at(0xFFFF_FFFF_8012_3456, Access::Write), Some(0x32_3456));
        assert_eq!(at(0xFFFF_FFFF_8020_3ABC, Access::Read), Some(0x9_9ABC));
        assert_eq!(at(0xFFFF_FFFF_8020_3ABC, Access::Write), None, "read-only");
        assert_eq!(at(0xFFFF_FFFF_8020_4000, Access::Read), None, "not there");
        assert_eq!(
            at(0x7FFF_FFFF_8012_3456, Access::Read),
            None,
            "not canonical"
        );
        let without_wp = Paging {
            cr0: 0x8000_0001,
            ..LONG
        };
        let gpa = without_wp.translate(&memory, 0xFFFF_FFFF_8020_3ABC, Access::Write);
        assert_eq!(gpa, Some(Gpa(0x9_9ABC)));
    }

    #[test]
    fn a_gigabyte_and_five_levels() {
        let memory = memory(&[
            (0x1000, 0x2003),
            (0x2000 + 8, 0x3003),
            (0x3010, 0x4000_0083),
        ]);
        let five = Paging {
            cr4: cr4::PAE | cr4::LA57,
            ..LONG
        };
        let gpa = five.translate(&memory, 0x80_9234_5678, Access::Write);
        assert_eq!(gpa, Some(Gpa(0x5234_5678)));
    }

    #[test]
    fn no_paging_and_32_bit_paging() {
        let none = Paging { cr0: 1, ..LONG };
        let empty = memory(&[]);
        assert_eq!(
            none.translate(&empty, 0x12345, Access::Write),
            Some(Gpa(0x12345))
        );
        let legacy = Paging {
            cr0: 0x8001_0001,
            cr3: 0x1000,
            cr4: cr4::PSE,
            efer: 0,
        };
        let memory = memory(&[
            // Entries 2 (a table) and 3 (4 MiB at 8 MiB).
            (0x1008, 0x0080_0083_0000_2003),
            (0x2000, 0x5003_u64 << 32),
        ]);
        let at = |va| {
            legacy
                .translate(&memory, va, Access::Write)
                .map(|gpa| gpa.0)
        };
        assert_eq!(at(0x80_1234), Some(0x5234));
        assert_eq!(at(0xC1_2345), Some(0x81_2345));
        assert_eq!(at(0x80_0234), None);
    }

    #[test]
    fn physical_address_extension() {
        let pae = Paging {
            cr0: 0x8001_0001,
            cr3: 0x1020,
            cr4: cr4::PAE,
            efer: 0,
        };
        let memory = memory(&[(0x1038, 0x2021), (0x2008, 0x6000_00E3)]);
        // Bit 5 of the pointer, which an emulator sets there, means nothing.
        let gpa = pae.translate(&memory, 0xC020_0042, Access::Write);
        assert_eq!(gpa, Some(Gpa(0x6000_0042)));
    }
}
