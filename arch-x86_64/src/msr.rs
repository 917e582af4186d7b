//! Model-specific registers.
//!
//! Those that only concern the guest itself and that the hardware switches do not exit ([`DIRECT`]). A few are ours to
//! emulate. Some that every kernel looks at without asking whether they are there read as zero and ignore zero. All
//! others are a general protection fault, as on a machine that does not have them, and are worth a line in the log unless
//! kernels try them to find out ([`Msr::Absent`]).

use crate::control_registers::cr0;
use crate::vendor::Vendor;

pub(crate) const TSC: u32 = 0x10;
pub(crate) const APIC_BASE: u32 = 0x1B;
pub(crate) const FEATURE_CONTROL: u32 = 0x3A;
pub(crate) const TSC_DEADLINE: u32 = 0x6E0;
pub(crate) const PAT: u32 = 0x277;
pub(crate) const EFER: u32 = 0xC000_0080;
pub(crate) const TSC_AUX: u32 = 0xC000_0103;
pub(crate) const VM_CR: u32 = 0xC001_0114;
/// First MSR of x2APIC; the next 0x100 are its registers.
pub(crate) const X2APIC: u32 = 0x800;
/// Last MSR of x2APIC.
pub(crate) const X2APIC_END: u32 = 0x8FF;

/// MSRs that do not exit: SYSENTER's, SYSCALL's, and the bases of FS and GS.
pub const DIRECT: [u32; 10] = [
    0x174,
    0x175,
    0x176,
    0xC000_0081,
    0xC000_0082,
    0xC000_0083,
    0xC000_0084,
    0xC000_0100,
    0xC000_0101,
    0xC000_0102,
];

/// What an MSR is that exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Msr {
    Tsc,
    ApicBase,
    TscDeadline,
    Pat,
    Efer,
    TscAux,
    /// A register of the local APIC, by its number.
    X2apic(u32),
    /// Where the guest wants its hypercall page.
    HypercallPage,
    /// Reads as this; writes of the same are ignored.
    Constant(u64),
    /// Reads as zero, writes are ignored.
    Ignored,
    /// Not there, which is how kernels find that out.
    Absent,
    /// Not there.
    Unknown,
}

impl Msr {
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            TSC => Self::Tsc,
            APIC_BASE => Self::ApicBase,
            TSC_DEADLINE => Self::TscDeadline,
            PAT => Self::Pat,
            EFER => Self::Efer,
            TSC_AUX => Self::TscAux,
            X2APIC..=X2APIC_END => Self::X2apic(number - X2APIC),
            hv_abi::layout::x86::HYPERCALL_PAGE_MSR => Self::HypercallPage,
            _ => Self::without_effect(number),
        }
    }

    /// MSRs that kernels touch because the family of the CPU has them.
    fn without_effect(number: u32) -> Self {
        const MISC_ENABLE: u32 = 0x1A0;
        /// Locked, nothing enabled.
        const LOCKED: u64 = 1;
        /// Fast strings; no branch trace, no PEBS.
        const MISC: u64 = 1 | 1 << 11 | 1 << 12;
        /// Writes of microcode go nowhere; its revision as large as can be: no kernel asks for more.
        const REVISION: u64 = 0xFFFF_FFFF_0000_0000;
        match number {
            FEATURE_CONTROL => Self::Constant(LOCKED),
            MISC_ENABLE => Self::Constant(MISC),
            0x8B => Self::Constant(REVISION),
            // IA32_PLATFORM_ID, DEBUGCTL, MISC_FEATURES_ENABLES.
            0x17 | 0x1D9 | 0x140 => Self::Ignored,
            // SYSCFG, HWCR, NB_CFG, INT_PENDING, OSVW, VM_CR, LS_CFG, IC_CFG, DC_CFG, BU_CFG, FP_CFG, DE_CFG of AMD.
            0xC001_0010
            | 0xC001_0015
            | 0xC001_001F
            | 0xC001_0055
            | VM_CR
            | 0xC001_0140
            | 0xC001_0141
            | 0xC001_1020..=0xC001_1023
            | 0xC001_1028..=0xC001_102A => Self::Ignored,
            // AMD's first performance counters (PERF_CTL, PERF_CTR): no bit of CPUID says that they are missing.
            0xC001_0000..=0xC001_0007 => Self::Absent,
            _ => Self::Unknown,
        }
    }
}

/// Bits of EFER.
pub(crate) mod efer {
    pub(crate) const SCE: u64 = 1 << 0;
    pub(crate) const LME: u64 = 1 << 8;
    pub(crate) const LMA: u64 = 1 << 10;
    pub(crate) const NXE: u64 = 1 << 11;
    /// The hypervisor's own.
    pub(crate) const SVME: u64 = 1 << 12;
    pub(crate) const FFXSR: u64 = 1 << 14;
    /// What a guest may set, where CPUID has the feature.
    pub(crate) const ALL: u64 = SCE | LME | NXE | FFXSR;
}

/// EFER after a write, if it is allowed: LMA is not written, LME does not change under paging.
pub(crate) fn write_efer(before: u64, value: u64, cr0: u64, allowed: u64) -> Option<u64> {
    let value = value & !efer::LMA | before & efer::LMA;
    let changes_mode = (before ^ value) & efer::LME != 0 && cr0 & cr0::PG != 0;
    (value & !(allowed | efer::LMA) == 0 && !changes_mode).then_some(value)
}

/// Whether a value is one for the PAT: eight types, none reserved.
pub(crate) fn is_pat(value: u64) -> bool {
    value
        .to_le_bytes()
        .iter()
        .all(|kind| matches!(kind, 0 | 1 | 4..=7))
}

/// Whether an address is canonical.
pub(crate) fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

/// What a hypercall page of a vendor holds: for each number, MOV EAX and the hypercall; `iret`, the 23rd, does not exist
/// here and is UD2 (Xen's public `arch-x86/xen.h`).
pub(crate) fn hypercall_page<V: Vendor>() -> [u8; 4096] {
    const STRIDE: usize = 32;
    const IRET: usize = 23;
    let mut page = [0xCC; 4096];
    for (number, entry) in page.chunks_exact_mut(STRIDE).enumerate() {
        let code = if number == IRET {
            [0x0F, 0x0B, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xC3]
        } else {
            let [first, second, third] = V::HYPERCALL;
            [0xB8, number as u8, 0, 0, 0, first, second, third, 0xC3]
        };
        for (to, from) in entry.iter_mut().zip(code) {
            *to = from;
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svm::Svm;

    #[test]
    fn efer_keeps_what_is_not_the_guests_to_set() {
        assert_eq!(write_efer(0, 0xD01, 0, efer::ALL), Some(0x901));
        assert_eq!(write_efer(0x500, 0x901, cr0::PG, efer::ALL), Some(0xD01));
        assert_eq!(
            write_efer(0x500, 0, cr0::PG, efer::ALL),
            None,
            "LME under paging"
        );
        assert_eq!(write_efer(0, 1 << 12, 0, efer::ALL), None, "SVME");
    }

    #[test]
    fn a_hypercall_page_calls() {
        let page = hypercall_page::<Svm>();
        assert_eq!(
            &page[17 * 32..17 * 32 + 9],
            b"\xB8\x11\0\0\0\x0F\x01\xD9\xC3"
        );
        assert_eq!(&page[23 * 32..23 * 32 + 2], b"\x0F\x0B");
    }

    #[test]
    fn types_of_the_pat() {
        assert!(is_pat(0x0007_0406_0007_0406));
        assert!(!is_pat(2));
        assert!(!is_pat(0x0800_0000_0000_0000));
    }
}
