//! What an x86 domain finds when it starts: `hvm_start_info` (Xen's public `arch-x86/hvm/start_info.h`), its memory map and
//! module list, the command line, ACPI tables.

use super::elf::Kernel;
use crate::hypervisor::Run;
use alloc::vec::Vec;
use hv_abi::FRAME_SIZE;
use hv_abi::layout::x86::{
    ACPI_BASE, ACPI_SIZE, APIC_BASE, COMMAND_LINE_BASE, CONSOLE_GFN, HIGH_RAM_BASE, LOW_RAM_END,
    RAM0_SIZE, START_INFO_BASE,
};

const FRAME: u64 = FRAME_SIZE as u64;
/// Bytes of a command line at most, its end included.
pub(crate) const COMMAND_LINE_MAX: usize = FRAME_SIZE;
/// What start information begins with: its magic number ("xEn3" with bit 7 of the E set), and its version.
const MAGIC: u32 = 0x336E_C578;
const VERSION: u32 = 1;
/// Bytes of the start information itself, of a module and of an entry of the map.
const START_INFO: u64 = 56;
const MODULE: u64 = 32;
/// Types of memory.
const RAM: u32 = 1;
const RESERVED: u32 = 2;
const ACPI: u32 = 3;

/// The kernel does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misfit {
    /// The memory is too small; how many MiB are needed at least.
    TooSmall(u64),
    /// It wants to be where start information and tables are.
    TooLow,
}

/// Where the ramdisk goes: at the end of the first bank, if it does not meet the kernel there.
pub(crate) fn place_ramdisk(
    kernel: &Kernel,
    ramdisk_length: u64,
    memory_mib: u64,
) -> Result<u64, Misfit> {
    let (start, end) = kernel.extent();
    if start < HIGH_RAM_BASE {
        return Err(Misfit::TooLow);
    }
    let available = memory_mib.saturating_mul(1 << 20).min(RAM0_SIZE);
    let room = ramdisk_length.div_ceil(FRAME).saturating_mul(FRAME);
    let end = end.div_ceil(FRAME).saturating_mul(FRAME);
    let needed = end.saturating_add(room);
    if needed > available {
        return Err(Misfit::TooSmall(needed.div_ceil(1 << 20)));
    }
    Ok(available - room)
}

/// The page at [`START_INFO_BASE`].
pub(crate) fn start_info(banks: &[Run], ramdisk: Option<(u64, u64)>) -> Vec<u8> {
    let map = memory_map(banks);
    let modules = u64::from(ramdisk.is_some());
    let list = START_INFO_BASE + START_INFO;
    let map_at = list + modules * MODULE;
    let mut page = Vec::new();
    for word in [MAGIC, VERSION, 0, modules as u32] {
        page.extend(word.to_le_bytes());
    }
    for word in [list, COMMAND_LINE_BASE, ACPI_BASE, map_at] {
        page.extend(word.to_le_bytes());
    }
    page.extend((map.len() as u32).to_le_bytes());
    page.extend([0; 4]);
    if let Some((address, length)) = ramdisk {
        for word in [address, length, 0, 0] {
            page.extend(word.to_le_bytes());
        }
    }
    for (base, size, kind) in map {
        page.extend(base.to_le_bytes());
        page.extend(size.to_le_bytes());
        page.extend(kind.to_le_bytes());
        page.extend([0; 4]);
    }
    page
}

/// The memory map: address, size, type.
fn memory_map(banks: &[Run]) -> Vec<(u64, u64, u32)> {
    let mut map = Vec::new();
    map.push((0, LOW_RAM_END, RAM));
    map.push((ACPI_BASE, ACPI_SIZE, ACPI));
    for bank in banks {
        let end = bank.gfn.saturating_add(bank.count).saturating_mul(FRAME);
        let base = bank.gfn.saturating_mul(FRAME).max(HIGH_RAM_BASE);
        map.push((base, end.saturating_sub(base), RAM));
    }
    map.push((APIC_BASE, FRAME, RESERVED));
    map.push((CONSOLE_GFN * FRAME, 2 * FRAME, RESERVED));
    map.sort_unstable();
    map
}

#[cfg(test)]
mod tests {
    use super::{Misfit, memory_map, place_ramdisk, start_info};
    use crate::build::elf::{Kernel, Segment};
    use crate::hypervisor::Run;
    use std::vec;

    const MIB: u64 = 1 << 20;

    fn kernel(address: u64, size: u64) -> Kernel {
        Kernel {
            segments: vec![Segment {
                offset: 0,
                length: 1,
                address,
                size,
            }],
            entry: address,
        }
    }

    #[test]
    fn a_ramdisk_is_at_the_end_of_memory() {
        let kernel = kernel(16 * MIB, 30 * MIB);
        assert_eq!(place_ramdisk(&kernel, 5000, 64), Ok(64 * MIB - 8192));
        assert_eq!(place_ramdisk(&kernel, 0, 64), Ok(64 * MIB));
        assert_eq!(
            place_ramdisk(&kernel, 19 * MIB, 64),
            Err(Misfit::TooSmall(65))
        );
        assert_eq!(place_ramdisk(&kernel, MIB, 8192), Ok(3071 * MIB));
    }

    #[test]
    fn the_first_megabyte_is_not_for_kernels() {
        assert_eq!(
            place_ramdisk(&kernel(0xF000, 1), 0, 64),
            Err(Misfit::TooLow)
        );
    }

    #[test]
    fn the_map_shows_what_there_is() {
        let banks = [
            Run {
                gfn: 0,
                count: 0xC_0000,
            },
            Run {
                gfn: 0x10_0000,
                count: 0x100,
            },
        ];
        let expected = [
            (0, 0xA_0000, 1),
            (0xF_0000, 0x1_0000, 3),
            (0x10_0000, 0xBFF0_0000, 1),
            (0xFEE0_0000, 0x1000, 2),
            (0xFEFF_E000, 0x2000, 2),
            (0x1_0000_0000, 0x10_0000, 1),
        ];
        assert_eq!(memory_map(&banks), expected);
        let page = start_info(&banks, Some((0x300_0000, 77)));
        assert_eq!(&page[..4], 0x336E_C578_u32.to_le_bytes());
        assert_eq!(page.len(), 56 + 32 + 6 * 24);
        assert_eq!(&page[40..48], (0x5000_u64 + 56 + 32).to_le_bytes());
        assert_eq!(&page[56..64], 0x300_0000_u64.to_le_bytes());
    }
}
