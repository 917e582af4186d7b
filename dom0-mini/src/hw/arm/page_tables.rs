//! Stage 1: everything identity-mapped, image parts with their rights, RAM without execution, the rest as device memory.
//!
//! 39-bit addresses (512 GiB), 4 KiB granule, TTBR0 only (Arm ARM D8). Stage 2 decides what is really there.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{MAIR_EL1, ReadWriteable, SCTLR_EL1, TCR_EL1, Writeable};
use aarch64_paging::descriptor::El1Attributes;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::{El1And0, MemoryRegion};

use hv_abi::start::Range;

const DEVICE: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::ATTRIBUTE_INDEX_0)
    .union(El1Attributes::PXN)
    .union(El1Attributes::UXN);
const TEXT: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::ATTRIBUTE_INDEX_1)
    .union(El1Attributes::INNER_SHAREABLE)
    .union(El1Attributes::READ_ONLY)
    .union(El1Attributes::UXN);
const READ_ONLY: El1Attributes = TEXT.union(El1Attributes::PXN);
const READ_WRITE: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::ATTRIBUTE_INDEX_1)
    .union(El1Attributes::INNER_SHAREABLE)
    .union(El1Attributes::PXN)
    .union(El1Attributes::UXN);

const GIB: u64 = 1 << 30;

/// Maps device registers, all RAM banks of the machine (claimed and granted frames can be anywhere in them) and our
/// image, and switches MMU and caches on.
pub(crate) fn enable(devices: &[Range], ram_banks: &[Range], image: [Range; 3]) {
    let mut map = IdMap::with_asid(0, 1, El1And0);
    for range in devices {
        map_range(&mut map, *range, DEVICE);
    }
    for bank in ram_banks {
        map_range(&mut map, *bank, READ_WRITE);
    }
    for (part, attributes) in image.into_iter().zip([TEXT, READ_ONLY, READ_WRITE]) {
        map_range(&mut map, part, attributes);
    }
    configure();
    // SAFETY: the map covers the image, the stack and the heap at the addresses they are used at, and lives for ever.
    unsafe { map.activate() };
    core::mem::forget(map);
    barrier::isb(barrier::SY);
    SCTLR_EL1.modify(SCTLR_EL1::M::Enable + SCTLR_EL1::C::Cacheable + SCTLR_EL1::I::Cacheable);
    barrier::isb(barrier::SY);
}

fn map_range(map: &mut IdMap<El1And0>, range: Range, attributes: El1Attributes) {
    if range.size == 0 || range.base >= 512 * GIB {
        return;
    }
    let end = (range.base + range.size).next_multiple_of(hv_abi::FRAME_SIZE as u64);
    let region = MemoryRegion::new(range.base as usize, end as usize);
    map.map_range(&region, attributes)
        .expect("512 GiB are mapped by three levels");
}

fn configure() {
    // Attribute 0: Device-nGnRE; attribute 1: Normal, write-back, allocating.
    MAIR_EL1.set(0xFF04);
    TCR_EL1.write(
        TCR_EL1::T0SZ.val(25)
            + TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL1::SH0::Inner
            + TCR_EL1::TG0::KiB_4
            + TCR_EL1::EPD1::DisableTTBR1Walks
            + TCR_EL1::IPS::Bits_40,
    );
    barrier::isb(barrier::SY);
}
