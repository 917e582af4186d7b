//! States in which a guest CPU starts.

use hv_abi::Errno;
use hv_abi::record::x86::{Cpu, DescriptorTable, Segment};
use hv_abi::xen::vcpu::{HvmContext32, HvmContext64, HvmContextHead, MODE_32, MODE_64};
use zerocopy::FromBytes;

use super::records::check_cpu;
use crate::control_registers::{cr0, cr4, rflags};
use crate::msr::efer;

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
    /// L and G.
    pub(super) const FLAT_64: u16 = 0xA00;
}

/// Bits of the same.
mod bit {
    pub(super) const WRITABLE: u16 = 1 << 1;
    pub(super) const CODE: u16 = 1 << 3;
    pub(super) const TYPE: u16 = 0xF;
    pub(super) const NOT_SYSTEM: u16 = 1 << 4;
    pub(super) const PRIVILEGE: u16 = 3 << 5;
    pub(super) const PRESENT: u16 = 1 << 7;
    pub(super) const LONG: u16 = 1 << 9;
    pub(super) const UNUSABLE: u16 = 1 << 12;
    /// No attribute.
    pub(super) const BLANK: u16 = 0xF000;
}

/// Guest-physical address bits that CPUID may show at most.
const ADDRESS_BITS: u32 = 52;

/// Caches off, as after reset: CD and NW.
const CR0_AT_RESET: u64 = 0x6000_0010;
/// Types after reset.
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;
const DR6_AT_RESET: u64 = 0xFFFF_0FF0;
const DR7_AT_RESET: u64 = 0x400;

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
        rflags: rflags::FIXED,
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

/// Segments that begin at 0 and have no end; `code`: what a code segment of this size has.
fn with_flat_segments(code: u16) -> Cpu {
    const NO_END: u32 = u32::MAX;
    let data = segment(0, attributes::DATA | attributes::FLAT_32, NO_END, 0);
    Cpu {
        cs: segment(0, attributes::CODE | code, NO_END, 0),
        es: data,
        ss: data,
        ds: data,
        fs: data,
        gs: data,
        ldtr: segment(0, attributes::LDT, 0, 0),
        tr: segment(0, attributes::TSS, 0x67, 0),
        ..after_reset()
    }
}

/// The state of Xen's PVH boot protocol (`pvh.pandoc`): 32-bit protected mode without paging, flat segments.
pub(super) fn at_pvh_entry(entry: u64, start_info: u64) -> Cpu {
    let mut state = Cpu {
        rip: entry & 0xFFFF_FFFF,
        cr0: cr0::PE | cr0::ET,
        ..with_flat_segments(attributes::FLAT_32)
    };
    if let Some(ebx) = state.gpr.get_mut(crate::vendor::gpr::RBX) {
        *ebx = start_info & 0xFFFF_FFFF;
    }
    state
}

/// The state that VCPUOP_initialise describes (`hvm/hvm_vcpu.h`).
///
/// # Errors
/// `EINVAL`: not one of its modes, or a state that no CPU has.
pub(super) fn from_hvm_context(context: &[u8]) -> Result<Cpu, Errno> {
    let (head, registers) = HvmContextHead::ref_from_prefix(context).map_err(|_| Errno::EINVAL)?;
    let state = match head.mode {
        MODE_32 => {
            let registers = HvmContext32::ref_from_prefix(registers);
            in_32_bit_mode(registers.map_err(|_| Errno::EINVAL)?.0)?
        }
        MODE_64 => {
            let registers = HvmContext64::ref_from_prefix(registers);
            in_64_bit_mode(registers.map_err(|_| Errno::EINVAL)?.0)?
        }
        _ => return Err(Errno::EINVAL),
    };
    check_cpu(&Cpu {
        efer: with_long_mode_active(state.efer, state.cr0),
        ..state
    })
}

/// LMA is what LME and PG make it, whatever the caller says.
fn with_long_mode_active(efer: u64, cr0: u64) -> u64 {
    let active = efer & efer::LME != 0 && cr0 & cr0::PG != 0;
    efer & !efer::LMA | if active { efer::LMA } else { 0 }
}

fn in_32_bit_mode(from: &HvmContext32) -> Result<Cpu, Errno> {
    let code = given_segment(from.cs_ar, from.cs_limit, from.cs_base)?;
    let stack = given_segment(from.ss_ar, from.ss_limit, from.ss_base)?;
    let data = given_segment(from.ds_ar, from.ds_limit, from.ds_base)?;
    let extra = given_segment(from.es_ar, from.es_limit, from.es_base)?;
    let is_code = code.attributes & (bit::PRESENT | bit::NOT_SYSTEM | bit::CODE)
        == bit::PRESENT | bit::NOT_SYSTEM | bit::CODE
        && code.attributes & bit::LONG == 0
        && from.eip <= code.limit;
    let are_data = [stack, data, extra].iter().all(|segment| {
        segment.attributes & bit::UNUSABLE != 0 || segment.attributes & bit::NOT_SYSTEM != 0
    });
    // Of the same privilege: what the CPU runs with.
    let privilege = (stack.attributes ^ code.attributes) & bit::PRIVILEGE;
    let is_stack = stack.attributes & (bit::CODE | bit::WRITABLE) == bit::WRITABLE
        && stack.attributes & bit::UNUSABLE == 0
        && privilege == 0;
    // A vCPU is never started in virtual-8086 mode.
    let flags = u64::from(from.eflags);
    if !(is_code && are_data && is_stack && is_task(from.tr_ar)) || flags & rflags::VM != 0 {
        return Err(Errno::EINVAL);
    }
    let mut state = Cpu {
        rip: u64::from(from.eip),
        rflags: flags,
        cr0: u64::from(from.cr0) | cr0::ET,
        cr3: u64::from(from.cr3),
        cr4: u64::from(from.cr4),
        efer: from.efer,
        es: extra,
        cs: code,
        ss: stack,
        ds: data,
        ldtr: segment(0, attributes::LDT, 0, 0),
        tr: segment(0, from.tr_ar, from.tr_limit, u64::from(from.tr_base)),
        ..after_reset()
    };
    for (to, value) in state.gpr.iter_mut().zip(from.gpr) {
        *to = u64::from(value);
    }
    Ok(state)
}

fn in_64_bit_mode(from: &HvmContext64) -> Result<Cpu, Errno> {
    let is_long = from.cr0 & (cr0::PE | cr0::PG) == cr0::PE | cr0::PG
        && from.cr4 & cr4::PAE != 0
        && from.efer & efer::LME != 0;
    if !is_long || from.rflags & rflags::VM != 0 || from.cr3 >> ADDRESS_BITS != 0 {
        return Err(Errno::EINVAL);
    }
    let mut state = Cpu {
        rip: from.rip,
        rflags: from.rflags,
        cr0: from.cr0 | cr0::ET,
        cr3: from.cr3,
        cr4: from.cr4,
        efer: from.efer,
        ..with_flat_segments(attributes::FLAT_64)
    };
    for (to, value) in state.gpr.iter_mut().zip(from.gpr) {
        *to = value;
    }
    Ok(state)
}

/// A segment of a 32-bit state; one that is not present cannot be used.
fn given_segment(attributes: u16, limit: u32, base: u32) -> Result<Segment, Errno> {
    if attributes & bit::BLANK != 0 {
        return Err(Errno::EINVAL);
    }
    let usable = attributes & bit::PRESENT != 0;
    let unusable = if usable { 0 } else { bit::UNUSABLE };
    Ok(segment(0, attributes | unusable, limit, u64::from(base)))
}

/// Whether these are attributes of a task state segment: 16 or 32 bits, busy, present.
fn is_task(attributes: u16) -> bool {
    const BUSY_16: u16 = 3;
    let busy = attributes & bit::TYPE;
    attributes & bit::BLANK == 0
        && attributes & (bit::PRESENT | bit::NOT_SYSTEM) == bit::PRESENT
        && (busy == BUSY_16 || busy == attributes::TSS & bit::TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_abi::xen::vcpu::HVM_CONTEXT_SIZE;
    use zerocopy::IntoBytes;

    fn context(mode: u32, registers: &[u8]) -> [u8; HVM_CONTEXT_SIZE] {
        let mut bytes = [0; HVM_CONTEXT_SIZE];
        bytes[..4].copy_from_slice(&mode.to_le_bytes());
        bytes[8..8 + registers.len()].copy_from_slice(registers);
        bytes
    }

    fn of_32(registers: &HvmContext32) -> Result<Cpu, Errno> {
        from_hvm_context(&context(MODE_32, registers.as_bytes()))
    }

    fn of_64(registers: &HvmContext64) -> Result<Cpu, Errno> {
        from_hvm_context(&context(MODE_64, registers.as_bytes()))
    }

    /// As FreeBSD starts its other CPUs.
    fn protected() -> HvmContext32 {
        HvmContext32 {
            gpr: [1, 2, 3, 4, 5, 6, 7, 8],
            eip: 0x10_0000,
            cr0: 1,
            cs_limit: u32::MAX,
            ds_limit: u32::MAX,
            ss_limit: u32::MAX,
            es_limit: u32::MAX,
            tr_limit: 0x67,
            cs_ar: 0xC9B,
            ds_ar: 0xC93,
            ss_ar: 0xC93,
            es_ar: 0xC93,
            tr_ar: 0x8B,
            ..HvmContext32::default()
        }
    }

    fn long() -> HvmContext64 {
        HvmContext64 {
            gpr: [1, 2, 3, 4, 5, 6, 7, 8],
            rip: 0xFFFF_FFFF_8100_0000,
            cr0: cr0::PE | cr0::PG,
            cr3: 0x1000,
            cr4: cr4::PAE,
            efer: efer::LME,
            ..HvmContext64::default()
        }
    }

    #[test]
    fn a_vcpu_starts_in_protected_mode() {
        let state = of_32(&protected()).unwrap();
        assert_eq!((state.rip, state.rflags), (0x10_0000, rflags::FIXED));
        assert_eq!(state.gpr[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((state.cs.attributes, state.cs.limit), (0xC9B, u32::MAX));
        assert_eq!((state.cr0, state.efer), (cr0::PE | cr0::ET, 0));
    }

    #[test]
    fn a_vcpu_starts_in_real_mode() {
        let registers = HvmContext32 {
            eip: 0x10,
            cr0: 0,
            cs_base: 0x8_0000,
            cs_limit: 0xFFFF,
            cs_ar: 0x9B,
            ss_ar: 0x93,
            ds_ar: 0,
            ..protected()
        };
        let state = of_32(&registers).unwrap();
        assert_eq!((state.cs.base, state.cr0), (0x8_0000, cr0::ET));
        assert_eq!(state.ds.attributes, 0x1000, "not present: unusable");
    }

    #[test]
    fn a_vcpu_starts_in_long_mode() {
        let state = of_64(&long()).unwrap();
        assert_eq!(state.efer, efer::LME | efer::LMA);
        assert_eq!((state.rip, state.cr3), (0xFFFF_FFFF_8100_0000, 0x1000));
        assert_eq!(state.cs.attributes, 0xA9B, "64-bit code");
    }

    #[test]
    fn no_cpu_is_in_such_a_state() {
        let bad = Err(Errno::EINVAL);
        let changes: [fn(&mut HvmContext32); 10] = [
            |it| it.cs_ar = 0xC93,
            |it| it.cs_ar = 0xA9B,
            |it| it.cs_ar |= 0x1000,
            |it| it.cs_ar &= !0x80,
            |it| it.cs_limit = 0xFFFF,
            |it| it.ss_ar = 0xCF3,
            |it| it.ss_ar = 0,
            |it| it.tr_ar = 0x89,
            |it| it.eflags = 1 << 17,
            |it| it.cr0 = 1 << 31,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut registers = protected();
            change(&mut registers);
            assert_eq!(of_32(&registers), bad, "{number}");
        }
        let changes: [fn(&mut HvmContext64); 7] = [
            |it| it.cr0 &= !cr0::PG,
            |it| it.cr4 = 0,
            |it| it.cr4 |= 1 << 13,
            |it| it.efer = 0,
            |it| it.efer |= 1 << 12,
            |it| it.rip = 1 << 50,
            |it| it.cr3 = 1 << 60,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut registers = long();
            change(&mut registers);
            assert_eq!(of_64(&registers), bad, "{number}");
        }
        assert_eq!(from_hvm_context(&context(2, &[])), bad, "no such mode");
        assert_eq!(from_hvm_context(&[0; 100]), bad, "too short");
    }
}
