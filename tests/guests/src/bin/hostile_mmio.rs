//! Claim: a load or store of any size outside RAM is a fault of ours, and nothing else.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("aarch64", "hostile_mmio", || {
    use guests::hostile::{ATTEMPTS, Random, faults, load, store, tolerate};

    fn attempt(random: &mut Random) {
        use hv_abi::layout::arm::{GRANT_BASE, RAM0_BASE};

        // All of the first GiB but the shared pages, most of it at its interesting places; and far beyond RAM.
        let address = match random.below(4) {
            0 => random.below(GRANT_BASE),
            1 => 0x0800_0000 + random.below(0x0400_0000),
            2 => 0x0A00_0000 + random.below(0x4000),
            _ => RAM0_BASE + (1 << 36) + random.below(1 << 30),
        };
        let size = random.below(4);
        if random.below(2) == 0 {
            core::hint::black_box(load(address, size));
        } else {
            store(address, size, random.value());
        }
    }

    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    assert!(faults() > ATTEMPTS / 4, "{} faults", faults());
    guests::log!("\nok hostile_mmio");
});
