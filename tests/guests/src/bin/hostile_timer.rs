//! Claim: a guest under a flood of its own interrupts costs its own time only.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("hostile_timer", || {
    use guests::{hostile, interrupts, taken, timer};

    let mut done = 0;
    interrupts::unmask();
    while taken::timer() < hostile::ATTEMPTS {
        if taken::timer() == done {
            // It is late already.
            timer::set(timer::now());
            done += 1;
        }
    }
    interrupts::mask();
    guests::log!("\nok hostile_timer");
});
