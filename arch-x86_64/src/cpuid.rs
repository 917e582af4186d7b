//! What CPUID tells a guest (Intel SDM, volume 2, CPUID; AMD APM, volume 3, appendix E; Xen's public `cpuid.h`).
//!
//! A guest sees the features of the machine that we keep for it: those in the lists here and no others, so that what we
//! do not know is not there. Topology is ours: every vCPU is a core of one package, with its number as APIC ID.

use hv_abi::layout::x86::{HYPERCALL_PAGE_MSR, XEN_CPUID_BASE};
use hv_abi::xen::version;

use crate::hw::identity::CpuidResult;

/// Highest basic leaf shown.
const BASIC_MAX: u32 = 0xD;
const EXTENDED: u32 = 0x8000_0000;
const EXTENDED_MAX: u32 = 0x8000_0008;
const XEN_MAX: u32 = XEN_CPUID_BASE + 4;

/// State components that guests may enable: x87, SSE, AVX, and those of AVX-512. They fit the page a vCPU has for them.
pub(crate) const XCR0: u64 = 0xE7;

/// A set of feature bits, by their numbers.
const fn bits(numbers: &[u32]) -> u32 {
    let mut mask = 0;
    let mut index = 0;
    while index < numbers.len() {
        mask |= 1 << numbers[index];
        index += 1;
    }
    mask
}

/// SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, PCID, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, AVX, F16C, RDRAND.
const LEAF1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const OSXSAVE: u32 = 1 << 27;
const HYPERVISOR: u32 = 1 << 31;
/// All but MCE, MTRR, MCA, PSN, DS, ACPI, TM, IA64 and PBE.
const LEAF1_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 15, 16, 17, 19, 23, 24, 25, 26, 27, 28,
]);
/// FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, INVPCID, AVX-512 (F, DQ, IFMA, CD, BW, VL), RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB,
/// SHA.
const LEAF7_EBX: u32 = bits(&[
    0, 3, 5, 7, 8, 9, 10, 16, 17, 18, 19, 20, 21, 23, 24, 28, 29, 30, 31,
]);
/// VBMI, UMIP, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ, RDPID.
const LEAF7_ECX: u32 = bits(&[1, 2, 6, 8, 9, 10, 11, 12, 14, 22]);
/// Fast short REP MOV.
const LEAF7_EDX: u32 = bits(&[4]);
/// LAHF in long mode, ABM, SSE4A, misaligned SSE, PREFETCHW, XOP, FMA4, TBM.
const EXTENDED1_ECX: u32 = bits(&[0, 5, 6, 7, 8, 11, 16, 21]);
/// Those of leaf 1 that AMD repeats, SYSCALL, NX, MMXEXT, FFXSR, 1 GiB pages, RDTSCP, long mode.
const EXTENDED1_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 15, 16, 17, 20, 22, 23, 24, 25, 26, 27, 29,
]);
/// XSAVEOPT, XSAVEC, XGETBV with ECX 1.
const XSAVE_EAX: u32 = bits(&[0, 1, 2]);
/// The TSC runs at one rate, whatever the CPU does.
const INVARIANT_TSC: u32 = 1 << 8;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) vcpu: u32,
    pub(crate) vcpus: u32,
    pub(crate) guest_id: u16,
    pub(crate) hypervisor_visible: bool,
    /// CR4.OSXSAVE.
    pub(crate) osxsave: bool,
    pub(crate) tsc_khz: u32,
}

const NOTHING: CpuidResult = CpuidResult {
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
};

/// The answer. `raw` is the machine's CPUID, with the guest's XCR0 in force.
pub(crate) fn answer(
    leaf: u32,
    subleaf: u32,
    view: &View,
    raw: impl Fn(u32, u32) -> CpuidResult,
) -> CpuidResult {
    match leaf {
        0..=BASIC_MAX => basic(leaf, subleaf, view, raw),
        XEN_CPUID_BASE..=XEN_MAX if view.hypervisor_visible => xen(leaf, subleaf, view),
        EXTENDED..=EXTENDED_MAX => extended(leaf, view, raw),
        _ => NOTHING,
    }
}

/// The feature words that a guest is shown, wherever it runs: what a snapshot of it needs.
pub(crate) fn features(raw: impl Fn(u32, u32) -> CpuidResult) -> [u64; 5] {
    let view = View {
        vcpu: 0,
        vcpus: 1,
        guest_id: 0,
        hypervisor_visible: false,
        osxsave: false,
        tsc_khz: 0,
    };
    let shown = |leaf, subleaf| answer(leaf, subleaf, &view, &raw);
    let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    let (one, seven, second) = (shown(1, 0), shown(7, 0), shown(0x8000_0001, 0));
    [
        pair(one.ecx, one.edx),
        pair(seven.ebx, seven.ecx),
        pair(seven.edx, shown(0xD, 1).eax),
        pair(second.ecx, second.edx),
        pair(shown(0xD, 0).eax, 0),
    ]
}

fn basic(
    leaf: u32,
    subleaf: u32,
    view: &View,
    raw: impl Fn(u32, u32) -> CpuidResult,
) -> CpuidResult {
    let found = raw(leaf, subleaf);
    match leaf {
        0 => CpuidResult {
            eax: found.eax.min(BASIC_MAX),
            ..found
        },
        1 => CpuidResult {
            eax: found.eax,
            ebx: found.ebx & 0xFFFF | view.vcpus << 16 | view.vcpu << 24,
            ecx: leaf1_ecx(found.ecx, view),
            edx: found.edx & LEAF1_EDX | if view.vcpus > 1 { 1 << 28 } else { 0 },
        },
        2 => found,
        // Caches: shared by nobody, cores as above.
        4 => CpuidResult {
            eax: found.eax & 0x3FFF,
            ..found
        },
        7 if subleaf == 0 => CpuidResult {
            eax: 0,
            ebx: found.ebx & LEAF7_EBX,
            ecx: found.ecx & LEAF7_ECX,
            edx: found.edx & LEAF7_EDX,
        },
        0xB => topology(subleaf, view),
        0xD => extended_state(subleaf, found),
        _ => NOTHING,
    }
}

fn leaf1_ecx(found: u32, view: &View) -> u32 {
    let kept = found & LEAF1_ECX | X2APIC | TSC_DEADLINE;
    let osxsave = if view.osxsave { OSXSAVE } else { 0 };
    let hypervisor = if view.hypervisor_visible {
        HYPERVISOR
    } else {
        0
    };
    kept | osxsave | hypervisor
}

/// Leaf 0xB: one thread in a core, all cores in one package.
fn topology(subleaf: u32, view: &View) -> CpuidResult {
    let (shift, count, kind) = match subleaf {
        0 => (0, 1, 1),
        1 => (
            view.vcpus.next_power_of_two().trailing_zeros(),
            view.vcpus,
            2,
        ),
        _ => (0, 0, 0),
    };
    CpuidResult {
        eax: shift,
        ebx: count,
        ecx: kind << 8 | subleaf & 0xFF,
        edx: view.vcpu,
    }
}

/// Leaf 0xD: sizes are the machine's, for the components that are shown.
fn extended_state(subleaf: u32, found: CpuidResult) -> CpuidResult {
    match subleaf {
        0 => CpuidResult {
            eax: found.eax & XCR0 as u32,
            ebx: found.ebx,
            ecx: found.ecx.min(MAX_XSAVE),
            edx: 0,
        },
        1 => CpuidResult {
            eax: found.eax & XSAVE_EAX,
            ebx: found.ebx,
            ecx: 0,
            edx: 0,
        },
        2..64 if XCR0 >> subleaf & 1 != 0 => found,
        _ => NOTHING,
    }
}

/// Bytes of an area with all components of [`XCR0`].
const MAX_XSAVE: u32 = 2688;

fn extended(leaf: u32, view: &View, raw: impl Fn(u32, u32) -> CpuidResult) -> CpuidResult {
    let found = raw(leaf, 0);
    match leaf {
        EXTENDED => CpuidResult {
            eax: found.eax.min(EXTENDED_MAX),
            ..found
        },
        0x8000_0001 => CpuidResult {
            eax: found.eax,
            ebx: found.ebx,
            ecx: found.ecx & EXTENDED1_ECX,
            edx: found.edx & EXTENDED1_EDX,
        },
        0x8000_0002..=0x8000_0006 => found,
        0x8000_0007 => CpuidResult {
            edx: found.edx & INVARIANT_TSC,
            ..NOTHING
        },
        // Address sizes; AMD: cores in ECX.
        _ => CpuidResult {
            eax: found.eax & 0xFFFF,
            ebx: 0,
            ecx: if found.ecx != 0 { view.vcpus - 1 } else { 0 },
            edx: 0,
        },
    }
}

/// Features of leaf 4's EAX. A vCPU may have an upcall vector of its own (bit 6), which passes its APIC; it is not shown,
/// because the domain's vector does without an end of interrupt and comes before the APIC is on.
mod xen_feature {
    pub(super) const VCPU_ID: u32 = 1 << 3;
    pub(super) const DOMAIN_ID: u32 = 1 << 4;
}

fn xen(leaf: u32, subleaf: u32, view: &View) -> CpuidResult {
    match leaf - XEN_CPUID_BASE {
        // "XenVMMXenVMM".
        0 => CpuidResult {
            eax: XEN_MAX,
            ebx: 0x566E_6558,
            ecx: 0x6558_4D4D,
            edx: 0x4D4D_566E,
        },
        1 => CpuidResult {
            eax: version::REPORTED as u32,
            ..NOTHING
        },
        // One hypercall page, at the MSR.
        2 => CpuidResult {
            eax: 1,
            ebx: HYPERCALL_PAGE_MSR,
            ..NOTHING
        },
        3 => xen_time(subleaf, view),
        _ => CpuidResult {
            eax: xen_feature::VCPU_ID | xen_feature::DOMAIN_ID,
            ebx: view.vcpu,
            ecx: u32::from(view.guest_id),
            edx: 0,
        },
    }
}

/// The TSC is native, and reliable as far as the machine's is.
fn xen_time(subleaf: u32, view: &View) -> CpuidResult {
    const TSC_MODE_NATIVE: u32 = 2;
    const TSC_RELIABLE: u32 = 1 << 1;
    match subleaf {
        0 => CpuidResult {
            eax: TSC_RELIABLE,
            ebx: TSC_MODE_NATIVE,
            ecx: view.tsc_khz,
            edx: 0,
        },
        2 => CpuidResult {
            eax: view.tsc_khz,
            ..NOTHING
        },
        _ => NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View = View {
        vcpu: 2,
        vcpus: 3,
        guest_id: 7,
        hypervisor_visible: true,
        osxsave: false,
        tsc_khz: 2_000_000,
    };

    fn everything(_: u32, _: u32) -> CpuidResult {
        CpuidResult {
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
        }
    }

    #[test]
    fn virtualization_and_what_we_do_not_keep_are_hidden() {
        let one = answer(1, 0, &VIEW, everything);
        let (vmx, monitor, mtrr, mca) = (1 << 5, 1 << 3, 1 << 12, 1 << 14);
        assert_eq!(one.ecx & (vmx | monitor | OSXSAVE), 0);
        assert_eq!(one.edx & (mtrr | mca), 0);
        assert_eq!((one.ebx >> 24, one.ebx >> 16 & 0xFF), (2, 3));
        let svm = 1 << 2;
        assert_eq!(answer(0x8000_0001, 0, &VIEW, everything).ecx & svm, 0);
        assert_eq!(answer(0x8000_000A, 0, &VIEW, everything), NOTHING);
        assert_eq!(answer(7, 0, &VIEW, everything).ecx & 1 << 16, 0, "LA57");
        assert_eq!(answer(0xD, 0, &VIEW, everything).eax, 0xE7);
        assert_eq!(answer(0xD, 9, &VIEW, everything), NOTHING, "PKRU");
    }

    #[test]
    fn xen_is_found_by_those_who_may() {
        let name = answer(0x4000_0000, 0, &VIEW, everything);
        let mut text = [0; 12];
        for (to, word) in text.chunks_mut(4).zip([name.ebx, name.ecx, name.edx]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        assert_eq!(&text, b"XenVMMXenVMM");
        assert_eq!(answer(0x4000_0001, 0, &VIEW, everything).eax, 0x4_0011);
        let own = answer(0x4000_0004, 0, &VIEW, everything);
        assert_eq!((own.ebx, own.ecx), (2, 7));
        let hidden = View {
            hypervisor_visible: false,
            ..VIEW
        };
        assert_eq!(answer(0x4000_0000, 0, &hidden, everything), NOTHING);
        assert_eq!(answer(1, 0, &hidden, everything).ecx & HYPERVISOR, 0);
    }

    #[test]
    fn no_leaf_is_answered_that_was_not_thought_of() {
        for leaf in (0xE..0x4000_0000)
            .step_by(0x1001)
            .chain(0x4000_0005..0x4000_0100)
        {
            assert_eq!(answer(leaf, 0, &VIEW, everything), NOTHING, "{leaf:#x}");
        }
    }
}
