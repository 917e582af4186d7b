//! Claim: a guest that reports a crash ends as crashed.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("crasher", || {
    guests::say!("ok crasher");
    guests::power::crash()
});
