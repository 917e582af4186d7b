//! Claim: every hypercall number with any arguments and pointers comes back, can be given up, or is a fault of ours.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guests::hostile::{self, ATTEMPTS, Random, tolerate, words};
#[cfg(target_os = "none")]
use hv_abi::{FRAME_SHIFT, FRAME_SIZE};

/// A value for a structure: no frame of ours, which gives itself up to no call, and no pointer to it.
#[cfg(target_os = "none")]
fn field(random: &mut Random) -> u64 {
    let value = match random.below(4) {
        0 => random.value(),
        1 => random.address(),
        // Two fields in a word.
        2 => random.below(80) | random.choose(&[0, 1, 0x7FF0]) << 32,
        _ => random.below(80),
    };
    let frames = {
        let own = guests::place::own();
        own.start >> FRAME_SHIFT..own.end.div_ceil(FRAME_SIZE as u64)
    };
    if frames.contains(&value) {
        return 0;
    }
    hostile::spared(value)
}

#[cfg(target_os = "none")]
fn attempt(random: &mut Random) {
    use core::sync::atomic::Ordering;
    use hv_abi::CallNumber;
    use hv_abi::xen::{sched, vcpu};

    for word in words().iter().take(8) {
        word.store(field(random), Ordering::Relaxed);
    }
    let number = match random.below(8) {
        0 => random.value(),
        _ => random.below(64),
    };
    let mut args = [
        random.below(32),
        random.address(),
        random.address(),
        hostile::spared(random.value()),
        hostile::spared(random.value()),
    ];
    if random.below(8) == 0 {
        args[0] = random.value();
    }
    if number == CallNumber::GRANT_TABLE_OP.0 {
        // A batch without an end would write all over us (`hostile_grants` has them).
        args[2] %= 100;
    }
    // To wait for what does not come, or to end, would be no attempt.
    let ends = number == CallNumber::SCHED_OP.0 && args[0] != sched::YIELD
        || number == CallNumber::VCPU_OP.0 && args[0] == vcpu::DOWN;
    if !ends {
        core::hint::black_box(hostile::hypercall_for_a_moment(number, args));
    }
}

guests::guest!("hostile_calls", || {
    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    hostile::report(format_args!("ok hostile_calls"));
    guests::power::off();
});
