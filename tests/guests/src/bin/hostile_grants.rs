//! Claim: grants of others cannot be had, and a table can hold anything.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guests::hostile::{ATTEMPTS, Random, hypercall, tolerate, words};

#[cfg(target_os = "none")]
fn attempt(random: &mut Random) {
    use core::sync::atomic::Ordering;
    use hv_abi::CallNumber;

    for word in words().iter().take(16) {
        let value = match random.below(4) {
            0 => random.choose(&[0, 1, 2, 3, 0x7FF0]) << 32 | random.below(16),
            1 => random.below(600),
            2 => random.address() & !0xFFF,
            _ => random.value(),
        };
        word.store(value, Ordering::Relaxed);
    }
    let at = words().as_ptr() as u64;
    let count = random.choose(&[0, 1, 2, 3, 100, 1 << 32, u64::MAX]);
    let args = [random.below(14), at, count, 0, 0];
    core::hint::black_box(hypercall(CallNumber::GRANT_TABLE_OP.0, args));
}

guests::guest!("hostile_grants", || {
    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    guests::log!("\nok hostile_grants");
});
