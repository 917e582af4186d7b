//! Claim: a guest that never waits gets its share of a CPU and no more.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("busy", || {
    guests::say!("ok busy");
    loop {
        core::hint::spin_loop();
    }
});
