//! Claim: reading and writing any model-specific register works or is a fault of ours, and all is still well afterwards.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod attack {
    use core::ops::Range;

    use guests::hostile::{read_msr, write_msr};
    use guests::msr;

    const RANGES: [Range<u32>; 4] = [
        0..0x2000,
        0xC000_0000..0xC000_2000,
        0xC001_0000..0xC001_2000,
        0x4000_0000..0x4000_0100,
    ];
    const PATTERN: u64 = 0x5A5A_5A5A_5A5A_5A5A;

    /// How many can be read.
    pub(super) fn all() -> u32 {
        let numbers = RANGES.into_iter().flatten();
        numbers.map(attempt).map(u32::from).sum()
    }

    /// Tries one; whether it can be read.
    fn attempt(number: u32) -> bool {
        let before = read_msr(number);
        for value in before.into_iter().chain([0, u64::MAX, PATTERN]) {
            write_msr(number, value);
        }
        if let Some(value) = before {
            write_msr(number, value);
        }
        before.is_some()
    }

    /// Those that a guest has for itself keep what is written.
    pub(super) fn own_ones_keep() {
        const LSTAR: u32 = 0xC000_0082;
        const SYSENTER_EIP: u32 = 0x176;
        const TSC_AUX: u32 = 0xC000_0103;
        for number in [LSTAR, SYSENTER_EIP, TSC_AUX, msr::GS_BASE] {
            let before = read_msr(number).expect("it is there");
            assert!(write_msr(number, 0x1234_5678), "{number:#x}");
            assert_eq!(read_msr(number), Some(0x1234_5678), "{number:#x}");
            assert!(write_msr(number, before), "{number:#x}");
        }
    }
}

guests::guest!("x86_64", "hostile_msrs", || {
    guests::hostile::tolerate();
    let readable = attack::all();
    assert!((40..300).contains(&readable), "{readable} can be read");
    attack::own_ones_keep();
    guests::interrupts::begin_anew();
    guests::timer::sleep_until(guests::timer::now() + guests::timer::frequency() / 10);
    guests::hostile::report(format_args!("{readable} MSRs can be read"));
    guests::log!("ok hostile_msrs");
});
