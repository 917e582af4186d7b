//! Claim: grants of others cannot be had, a table can hold anything, and a batch without an end can be given up.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guests::hostile::{self, ATTEMPTS, Random, hypercall, tolerate, words};

/// RAM that we do not use: answers of a batch without an end go there.
#[cfg(target_os = "none")]
const FREE: u64 = guests::place::RAM_BASE + (8 << 20);

/// One in this many batches has no end.
#[cfg(target_os = "none")]
const ENDLESS: u64 = 1000;

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
    let number = CallNumber::GRANT_TABLE_OP.0;
    let command = random.below(14);
    if random.below(ENDLESS) == 0 {
        let count = random.choose(&[1 << 32, u64::MAX]);
        let args = [command, FREE, count, 0, 0];
        core::hint::black_box(hostile::hypercall_for_a_moment(number, args));
    } else {
        let args = [command, at, random.choose(&[0, 1, 2, 3, 100]), 0, 0];
        core::hint::black_box(hypercall(number, args));
    }
}

guests::guest!("hostile_grants", || {
    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    assert!(hostile::given_up() > 0, "no batch took long");
    hostile::report(format_args!("ok hostile_grants"));
    guests::power::off();
});
