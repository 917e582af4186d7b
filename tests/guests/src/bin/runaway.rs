//! Claim: a guest whose exception vectors lead nowhere harms itself alone.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("runaway", || {
    guests::say!("ok runaway");
    guests::vectors::lead_nowhere();
    guests::vectors::undefined();
});
