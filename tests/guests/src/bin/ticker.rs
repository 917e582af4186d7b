//! Claim: time goes on for a guest that runs, and only then. Prints `tick N` every 100 ms of its time, for ever.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("ticker", || {
    let period = guests::timer::frequency() / 10;
    for tick in 0_u64.. {
        guests::say!("tick {tick}");
        // From now, not from the last tick: what was late stays late, and nothing is caught up with.
        guests::timer::sleep_until(guests::timer::now() + period);
    }
});
