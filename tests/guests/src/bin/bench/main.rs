//! How many instructions the hypervisor's most frequent works take, as a guest sees it.
//!
//! For an emulator that counts instructions instead of time (`-icount shift=0`): then a tick of the counter is so
//! many instructions ([`guests::timer::TICK`]). Each row is `BENCH name iters=N insn/op=X` in the hypervisor's log; the
//! loop itself is taken off.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
#[path = "arm.rs"]
mod machine;
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
#[path = "x86.rs"]
mod machine;
#[cfg(target_os = "none")]
mod rows;

guests::guest!("bench", || rows::print_all());
