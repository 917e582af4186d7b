//! Claim: CPUID answers every leaf, shows what we have and hides what we do not: virtualization above all.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod attack {
    use guests::hostile::{Random, cpuid};

    const EXTENDED: u32 = 0x8000_0000;
    const HYPERVISOR: u32 = 0x4000_0000;
    /// Leaves and subleaves around those that there are.
    const AROUND: u32 = 0x120;
    const SUBLEAVES: u32 = 70;
    const NOTHING: [u32; 4] = [0; 4];

    fn has(word: u32, bit: u32) -> bool {
        word >> bit & 1 != 0
    }

    pub(super) fn features() {
        let [_, _, ecx, _] = cpuid(1, 0);
        let (monitor, vmx, smx, x2apic, hypervisor) = (3, 5, 6, 21, 31);
        for hidden in [monitor, vmx, smx] {
            assert!(!has(ecx, hidden), "leaf 1 ECX {ecx:#x} shows {hidden}");
        }
        for shown in [x2apic, hypervisor] {
            assert!(has(ecx, shown), "leaf 1 ECX {ecx:#x} hides {shown}");
        }
        let svm = 2;
        assert!(!has(cpuid(EXTENDED + 1, 0)[2], svm), "SVM is shown");
        assert_eq!(cpuid(EXTENDED + 0xA, 0), NOTHING, "SVM has features");
    }

    pub(super) fn beyond() {
        let last = [0, HYPERVISOR, EXTENDED].map(|first| (first, cpuid(first, 0)[0]));
        for (first, last) in last {
            assert!(
                last >= first && last < first + 0x100,
                "{first:#x}: {last:#x}"
            );
            for leaf in first..first + AROUND {
                let subleaves = (0..SUBLEAVES).map(|subleaf| cpuid(leaf, subleaf));
                let is_nothing = subleaves.filter(|it| *it != NOTHING).count() == 0;
                assert!(leaf <= last || is_nothing, "{leaf:#x} is beyond");
            }
        }
    }

    pub(super) fn anything(random: &mut Random) {
        let ranges = [0, HYPERVISOR, EXTENDED].map(|first| first..first + AROUND);
        for _ in 0..10_000 {
            let (leaf, subleaf) = (random.value() as u32, random.value() as u32);
            let answer = cpuid(leaf, subleaf);
            let is_known = ranges.iter().any(|range| range.contains(&leaf));
            assert!(is_known || answer == NOTHING, "{leaf:#x} is there");
        }
    }
}

guests::guest!("x86_64", "hostile_cpuid", || {
    let mut random = guests::hostile::Random::of_this_guest();
    attack::features();
    attack::beyond();
    attack::anything(&mut random);
    guests::log!("\nok hostile_cpuid");
});
