//! Claim: a guest that never stops talking disturbs nobody. Prints `line N` as fast as its console takes it, for ever.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("chatter", || {
    for line in 0_u64.. {
        guests::say!("line {line}");
    }
});
