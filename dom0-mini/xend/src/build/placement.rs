//! Where things lie in a new domain's memory.
//!
//! All of RAM is in at most two banks. On ARM the kernel begins at its offset from the first bank's start, which is 2 MiB
//! aligned; initrd and device tree follow at 64 KiB boundaries, so the tree, at most 64 KiB, never crosses a 2 MiB one.

use super::kernel::KernelImage;
use crate::hypervisor::Run;
use crate::platform::Places;
use alloc::vec::Vec;
use hv_abi::FRAME_SIZE;
use hv_abi::layout::arm::{RAM0_BASE, RAM0_SIZE};

/// Room for the device tree.
pub(crate) const TREE_MAX: u64 = 64 * 1024;

/// Where initrd and device tree begin: at a multiple of this.
const ALIGN: u64 = 64 * 1024;

const FRAME: u64 = FRAME_SIZE as u64;

/// The banks of RAM of a domain with `memory_mib`; none if that is more than a domain can have.
#[must_use]
pub(crate) fn banks(places: &Places, memory_mib: u64) -> Option<Vec<Run>> {
    let bytes = memory_mib.checked_mul(1 << 20)?;
    let first = bytes.min(places.ram0_size);
    let second = bytes.saturating_sub(first);
    places
        .ram1_base
        .checked_add(second)
        .filter(|end| *end <= places.end)?;
    let bank = |base: u64, bytes: u64| Run {
        gfn: base / FRAME,
        count: bytes / FRAME,
    };
    let both = [
        bank(places.ram0_base, first),
        bank(places.ram1_base, second),
    ];
    Some(both.into_iter().filter(|run| run.count > 0).collect())
}

/// Where everything goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The kernel's first byte, and its entry.
    pub(crate) kernel: u64,
    /// The initrd's first byte.
    pub(crate) ramdisk: u64,
    /// The device tree's first byte.
    pub(crate) tree: u64,
}

/// The memory is too small; how many MiB are needed at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSmall {
    /// At least.
    pub(crate) needed_mib: u64,
}

/// Places kernel, initrd and device tree.
pub(crate) fn place(
    kernel: KernelImage,
    ramdisk_length: u64,
    memory_mib: u64,
) -> Result<Placement, TooSmall> {
    let start = RAM0_BASE.saturating_add(kernel.text_offset);
    let ramdisk = align(start.saturating_add(kernel.size));
    let tree = align(ramdisk.saturating_add(ramdisk_length));
    let end = tree.saturating_add(TREE_MAX);
    let needed = end.saturating_sub(RAM0_BASE);
    let available = memory_mib.saturating_mul(1 << 20).min(RAM0_SIZE);
    if needed > available {
        return Err(TooSmall {
            needed_mib: needed.div_ceil(1 << 20),
        });
    }
    Ok(Placement {
        kernel: start,
        ramdisk,
        tree,
    })
}

fn align(address: u64) -> u64 {
    address.checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Placement, TooSmall, place};
    use crate::build::kernel::KernelImage;
    use crate::hypervisor::Run;
    use crate::platform::Architecture;
    use std::vec;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    fn banks(memory_mib: u64) -> Option<Vec<Run>> {
        super::banks(Architecture::Arm64.places(), memory_mib)
    }

    #[test]
    fn memory_beyond_three_gibibytes_is_a_second_bank() {
        let frames = |mib: u64| mib * 256;
        let low = 0x4_0000;
        assert_eq!(
            banks(128),
            Some(vec![Run {
                gfn: low,
                count: frames(128)
            }])
        );
        assert_eq!(
            banks(3072),
            Some(vec![Run {
                gfn: low,
                count: frames(3072)
            }])
        );
        let both = vec![
            Run {
                gfn: low,
                count: frames(3072),
            },
            Run {
                gfn: 0x20_0000,
                count: frames(1),
            },
        ];
        assert_eq!(banks(3073), Some(both));
        assert_eq!((banks(1 << 20), banks(u64::MAX)), (None, None));
    }

    #[test]
    fn things_do_not_overlap() {
        let kernel = KernelImage {
            text_offset: 0x8_0000,
            size: 30 * MIB + 5,
        };
        let placed = place(kernel, 3 * MIB + 1, 128).unwrap();
        let expected = Placement {
            kernel: 0x4008_0000,
            ramdisk: 0x4008_0000 + 30 * MIB + 0x1_0000,
            tree: 0x4008_0000 + 33 * MIB + 0x2_0000,
        };
        assert_eq!(placed, expected);
    }

    #[test]
    fn too_little_memory_says_how_much_it_takes() {
        let kernel = KernelImage {
            text_offset: 0,
            size: 30 * MIB,
        };
        assert_eq!(place(kernel, MIB, 31), Err(TooSmall { needed_mib: 32 }));
        assert!(place(kernel, MIB, 32).is_ok());
        assert!(place(kernel, u64::MAX, 1 << 20).is_err());
        assert!(place(kernel, 3072 * MIB, 8192).is_err());
    }
}
