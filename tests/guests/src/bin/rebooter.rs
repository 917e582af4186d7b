//! Claim: a guest can ask to be started again. It asks after a second, so that its starts can be told apart.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("rebooter", || {
    guests::say!("ok rebooter");
    guests::timer::sleep_until(guests::timer::now() + guests::timer::frequency());
    guests::power::reset()
});
