//! Claim: a guest that cannot handle its exceptions ends alone, and the log tells what it had in its registers and what it
//! did last.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("x86_64", "hostile_triple", || {
    guests::say!("it ends now");
    guests::vectors::lead_nowhere();
    guests::hostile::end_with_marks();
});
