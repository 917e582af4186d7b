//! Claim: no wake-up is lost. Sleeps for between 50 us and 20 ms, again and again, for `seconds=` of its time; none may be
//! `late_ms=` late.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("alarm", || {
    use guests::hostile::Random;
    use guests::{timer, tree};

    let per_ms = timer::frequency() / 1000;
    let seconds = tree::option("seconds=").expect("how long");
    let late = tree::option("late_ms=").expect("how late is too late") * per_ms;
    let end = timer::now() + seconds * timer::frequency();
    let mut random = Random::of_this_guest();
    let mut slept = 0_u32;
    while timer::now() < end {
        let until = timer::now() + per_ms / 20 + random.below(20 * per_ms);
        timer::sleep_until(until);
        let over = timer::now() - until;
        assert!(over < late, "after {slept}: {} ms late", over / per_ms);
        slept += 1;
    }
    guests::log!("ok alarm: {slept} wake-ups");
});
