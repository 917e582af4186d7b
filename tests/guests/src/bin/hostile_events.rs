//! Claim: event channels stand any order of operations on any ports.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guests::hostile::{ATTEMPTS, Random, hypercall, tolerate, words};

#[cfg(target_os = "none")]
fn attempt(random: &mut Random) {
    use core::sync::atomic::Ordering;
    use hv_abi::CallNumber;

    // Two 32-bit fields in a word: domain, port, virtual interrupt or vCPU, whichever the operation has there.
    for word in words().iter().take(3) {
        let domain = random.choose(&[0, 1, 2, 3, 0x7FF0, 0x7FFF]);
        let half = |random: &mut Random| match random.below(4) {
            0 => domain,
            1 => random.below(16),
            2 => random.below(5000),
            _ => random.value() & 0xFFFF_FFFF,
        };
        let (low, high) = (half(random), half(random));
        word.store(low | high << 32, Ordering::Relaxed);
    }
    let at = words().as_ptr() as u64;
    let args = [random.below(14), at, 0, 0, 0];
    core::hint::black_box(hypercall(CallNumber::EVENT_CHANNEL_OP.0, args));
}

guests::guest!("hostile_events", || {
    let mut random = Random::of_this_guest();
    guests::event::init();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    guests::log!("\nok hostile_events");
});
