//! States in which a guest CPU starts.

use hv_abi::Errno;
use hv_abi::record::x86::{Cpu, DescriptorTable, Segment};

/// Attributes of segments, as [`Segment::attributes`] has them.
mod attributes {
    /// Code, readable, accessed; present.
    pub(super) const CODE: u16 = 0x9B;
    /// Data, writable, accessed; present.
    pub(super) const DATA: u16 = 0x93;
    pub(super) const LDT: u16 = 0x82;
    /// A busy 32-bit (or, in long mode, 64-bit) task state segment.
    pub(super) const TSS: u16 = 0x8B;
    /// D/B and G.
    pub(super) const FLAT_32: u16 = 0xC00;
}

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
/// Caches off, as after reset: CD and NW.
const CR0_AT_RESET: u64 = 0x6000_0010;
/// Types after reset.
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;
const DR6_AT_RESET: u64 = 0xFFFF_0FF0;
const DR7_AT_RESET: u64 = 0x400;
/// Bit 1 is one.
const RFLAGS: u64 = 2;

fn segment(selector: u16, attributes: u16, limit: u32, base: u64) -> Segment {
    Segment {
        selector,
        attributes,
        limit,
        base,
    }
}

/// Intel SDM, volume 3, "Processor State After Reset".
pub(super) fn after_reset() -> Cpu {
    let data = segment(0, attributes::DATA, 0xFFFF, 0);
    let table = DescriptorTable {
        base: 0,
        limit: 0xFFFF,
    };
    Cpu {
        rip: 0xFFF0,
        rflags: RFLAGS,
        cr0: CR0_AT_RESET,
        xcr0: 1,
        dr6: DR6_AT_RESET,
        dr7: DR7_AT_RESET,
        cs: segment(0xF000, attributes::CODE, 0xFFFF, 0xFFFF_0000),
        es: data,
        ss: data,
        ds: data,
        fs: data,
        gs: data,
        ldtr: segment(0, attributes::LDT, 0xFFFF, 0),
        tr: segment(0, attributes::TSS, 0xFFFF, 0),
        gdtr: table,
        idtr: table,
        pat: PAT_AT_RESET,
        ..Cpu::default()
    }
}

/// After a start-up IPI: real mode at a page below 1 MiB.
pub(super) fn at_startup(address: u64) -> Cpu {
    let address = address & 0xF_F000;
    Cpu {
        rip: 0,
        cs: segment((address >> 4) as u16, attributes::CODE, 0xFFFF, address),
        ..after_reset()
    }
}

/// The state of Xen's PVH boot protocol (`pvh.pandoc`): 32-bit protected mode without paging, flat segments.
pub(super) fn at_pvh_entry(entry: u64, start_info: u64) -> Cpu {
    const FLAT: u32 = u32::MAX;
    let data = segment(0, attributes::DATA | attributes::FLAT_32, FLAT, 0);
    let mut state = Cpu {
        rip: entry & 0xFFFF_FFFF,
        cr0: CR0_PE | CR0_ET,
        cs: segment(0, attributes::CODE | attributes::FLAT_32, FLAT, 0),
        es: data,
        ss: data,
        ds: data,
        fs: data,
        gs: data,
        ldtr: segment(0, attributes::LDT, 0, 0),
        tr: segment(0, attributes::TSS, 0x67, 0),
        ..after_reset()
    };
    if let Some(ebx) = state.gpr.get_mut(crate::vendor::gpr::RBX) {
        *ebx = start_info & 0xFFFF_FFFF;
    }
    state
}

/// The state that VCPUOP_initialise describes.
///
/// # Errors
/// `EINVAL`: not one of its modes.
pub(super) fn from_hvm_context(_: &[u8]) -> Result<Cpu, Errno> {
    Err(Errno::ENOSYS)
}
