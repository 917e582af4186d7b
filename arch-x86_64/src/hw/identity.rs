//! What this CPU says it is.

pub(crate) use core::arch::x86_64::CpuidResult;

use spin::Once;

/// CPUID of the machine.
#[inline]
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    core::arch::x86_64::__cpuid_count(leaf, subleaf)
}

/// What the hypervisor itself depends on. The same on all CPUs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// CPUID 1, EAX: family, model, stepping.
    pub(crate) signature: u32,
    pub(crate) has_x2apic: bool,
    pub(crate) has_tsc_deadline: bool,
    pub(crate) has_xsave: bool,
    pub(crate) has_vmx: bool,
    pub(crate) has_svm: bool,
    /// CPUID 0x8000000A: ASIDs, and features in EDX.
    pub(crate) svm_asids: u32,
    pub(crate) svm_features: u32,
    pub(crate) has_tsc_aux: bool,
    pub(crate) has_no_execute: bool,
    pub(crate) has_gigabyte_pages: bool,
    pub(crate) has_fast_fxsave: bool,
    pub(crate) physical_bits: u32,
    /// State components that XCR0 can have.
    pub(crate) xcr0: u64,
}

static FEATURES: Once<Features> = Once::new();

/// See [`Features`].
#[inline]
pub(crate) fn features() -> &'static Features {
    FEATURES.call_once(read)
}

fn read() -> Features {
    let bit = |word: u32, number: u32| word >> number & 1 != 0;
    let basic = cpuid(0, 0);
    let one = cpuid(1, 0);
    let extended_max = cpuid(0x8000_0000, 0).eax;
    let extended = |leaf| {
        if leaf <= extended_max {
            cpuid(leaf, 0)
        } else {
            CpuidResult {
                eax: 0,
                ebx: 0,
                ecx: 0,
                edx: 0,
            }
        }
    };
    let (second, svm) = (extended(0x8000_0001), extended(0x8000_000A));
    let has_xsave = bit(one.ecx, 26);
    let components = if has_xsave && basic.eax >= 0xD {
        let found = cpuid(0xD, 0);
        u64::from(found.edx) << 32 | u64::from(found.eax)
    } else {
        3
    };
    Features {
        signature: one.eax,
        has_x2apic: bit(one.ecx, 21),
        has_tsc_deadline: bit(one.ecx, 24),
        has_xsave,
        has_vmx: bit(one.ecx, 5),
        has_svm: bit(second.ecx, 2),
        svm_asids: svm.ebx,
        svm_features: svm.edx,
        has_tsc_aux: bit(second.edx, 27) || basic.eax >= 7 && bit(cpuid(7, 0).ecx, 22),
        has_no_execute: bit(second.edx, 20),
        has_gigabyte_pages: bit(second.edx, 26),
        has_fast_fxsave: bit(second.edx, 25),
        physical_bits: extended(0x8000_0008).eax & 0xFF,
        xcr0: components,
    }
}
