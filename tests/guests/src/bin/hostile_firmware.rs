//! Claim: calls of the firmware, by HVC and SMC, with any function and arguments come back or are a fault of ours.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("aarch64", "hostile_firmware", || {
    use guests::hostile::{ATTEMPTS, Random, firmware, tolerate};

    fn attempt(random: &mut Random) {
        let function = match random.below(4) {
            0 => random.value(),
            1 => 0x8000_0000 + random.below(0x20),
            2 => 0xC400_0000 + random.below(0x20),
            _ => 0x8400_0000 + random.below(0x20),
        };
        // Those that suspend, switch off or restart us: they would be no attempt.
        let ends = matches!(
            function & 0xBFFF_FFFF,
            0x8400_0001 | 0x8400_0002 | 0x8400_0008 | 0x8400_0009 | 0x8400_000C
                ..=0x8400_000E | 0x8400_0012
        );
        if !ends {
            let args = [random.value(), random.address(), random.value()];
            core::hint::black_box(firmware(random.below(2) == 0, function, args));
        }
    }

    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    guests::log!("\nok hostile_firmware");
});
