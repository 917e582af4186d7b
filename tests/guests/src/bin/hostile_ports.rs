//! Claim: where there is no device, every port but a few reads as all ones, and takes every write; string accesses are faults of ours.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod attack {
    use core::sync::atomic::Ordering;

    use guests::hostile::{input, move_in, move_out, output, words};
    use hv_abi::layout::x86::{RESET_PORT, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT};

    const SIZES: [u64; 3] = [1, 2, 4];
    const BEFORE: u64 = 0x1122_3344_5566_7788;
    /// Whose reads of a byte say that nothing counts.
    const TIMER_COUNTER: u16 = 0x42;
    /// Which ISA interrupts are levels: that of the ACPI tables alone.
    const TRIGGER_MODES: [u16; 2] = [0x4D0, 0x4D1];

    pub(super) fn any(port: u16) {
        for size in SIZES {
            let after = input(port, size, BEFORE);
            assert_eq!(after, Some(expected(port, size)), "{size} of {port:#x}");
            // Zero asks those that end us for nothing.
            let ends = [SLEEP_CONTROL_PORT, RESET_PORT].contains(&port);
            let value = if ends { 0 } else { 0xA5A5_A5A5 };
            assert!(output(port, size, value), "{size} to {port:#x}");
        }
    }

    fn expected(port: u16, size: u64) -> u64 {
        let zero = [
            TIMER_COUNTER,
            SLEEP_CONTROL_PORT,
            SLEEP_STATUS_PORT,
            TRIGGER_MODES[1],
        ];
        match size {
            1 if port == TRIGGER_MODES[0] => BEFORE & !0xFF | 1,
            1 if zero.contains(&port) => BEFORE & !0xFF,
            1 => BEFORE | 0xFF,
            2 => BEFORE | 0xFFFF,
            _ => 0xFFFF_FFFF,
        }
    }

    pub(super) fn strings(port: u16) {
        for size in SIZES {
            for is_repeated in [false, true] {
                words()[0].store(BEFORE, Ordering::SeqCst);
                assert!(!move_in(port, size, is_repeated), "{port:#x}");
                assert!(!move_out(port, size, is_repeated), "{port:#x}");
                assert_eq!(words()[0].load(Ordering::SeqCst), BEFORE, "{port:#x}");
            }
        }
    }
}

guests::guest!("x86_64", "hostile_ports", || {
    guests::hostile::tolerate();
    (0..=u16::MAX).for_each(attack::any);
    (0..=u16::MAX).step_by(251).for_each(attack::strings);
    guests::hostile::report(format_args!("ok hostile_ports"));
});
