//! Claim: a guest under a flood of its own interrupts costs its own time only.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("hostile_timer", || {
    use guests::{gic, hostile, timer, vectors};

    let mut done = 0;
    gic::unmask();
    while vectors::timer_interrupts() < hostile::ATTEMPTS {
        if vectors::timer_interrupts() == done {
            // It is late already.
            timer::set(timer::now());
            done += 1;
        }
    }
    gic::mask();
    guests::log!("\nok hostile_timer");
});
