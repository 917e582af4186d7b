//! Claim: every hypercall number with any arguments and pointers comes back, or is a fault of ours.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guests::hostile::{ATTEMPTS, Random, hypercall, tolerate, words};

#[cfg(target_os = "none")]
fn attempt(random: &mut Random) {
    use core::sync::atomic::Ordering;
    use hv_abi::CallNumber;
    use hv_abi::xen::sched;

    for word in words().iter().take(8) {
        word.store(random.value(), Ordering::Relaxed);
    }
    let number = match random.below(8) {
        0 => random.value(),
        _ => random.below(64),
    };
    let mut args = [
        random.below(32),
        random.address(),
        random.address(),
        random.value(),
        random.value(),
    ];
    if random.below(8) == 0 {
        args[0] = random.value();
    }
    // To wait for what does not come, or to end, would be no attempt.
    let ends = number == CallNumber::SCHED_OP.0 && args[0] != sched::YIELD;
    if !ends {
        core::hint::black_box(hypercall(number, args));
    }
}

guests::guest!("hostile_calls", || {
    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    guests::log!("\nok hostile_calls");
});
