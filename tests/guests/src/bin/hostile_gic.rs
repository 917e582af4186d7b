//! Claim: the interrupt controller's registers stand any access at any place.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("aarch64", "hostile_gic", || {
    use guests::hostile::{ATTEMPTS, Random, load, store, tolerate};

    fn attempt(random: &mut Random) {
        use hv_abi::layout::arm::{GICD_BASE, GICR_BASE};

        let address = match random.below(2) {
            0 => GICD_BASE + random.below(0x1_0000),
            _ => GICR_BASE + random.below(0x2_0000),
        };
        let size = random.below(4);
        // Aligned mostly: what is not never arrives.
        let address = if random.below(16) == 0 {
            address
        } else {
            address & !((1 << size) - 1)
        };
        if random.below(2) == 0 {
            core::hint::black_box(load(address, size));
        } else {
            store(address, size, random.value());
        }
    }

    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    guests::log!("\nok hostile_gic");
});
