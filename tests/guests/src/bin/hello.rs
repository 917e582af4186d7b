//! Claim: a kernel starts, has a console, and can switch itself off with its last words read.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("hello", || ());
