//! Domain-0: a bare-metal image that runs xend.
//!
//! Thin by intent. [`hw`] holds what touches the machine: entry, page tables, hypercalls, interrupts, the devices that
//! carry the link and the store. [`server`] carries events into the sans-IO library `xend` and its effects out again, in
//! four tasks on an executor that never runs with interrupts enabled: it sleeps until one is pending and takes it between
//! two polls (see [`hw::interrupts`]), so nothing here is ever preempted by itself. Only for [`disk`] a task waits.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(any(target_os = "none", test))]
extern crate alloc;

#[cfg(target_os = "none")]
mod bundle;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod console_log;
#[cfg(target_os = "none")]
mod devices;
#[cfg(any(target_os = "none", test))]
mod disk;
#[cfg(target_os = "none")]
mod events;
#[cfg(target_os = "none")]
mod hw;
// Pure, and so tested on the host, where the rest of `hw` is not.
#[cfg(target_os = "none")]
mod hypervisor;
#[cfg(target_os = "none")]
mod lines;
#[cfg(test)]
#[path = "hw/x86/mc146818.rs"]
mod mc146818;
#[cfg(target_os = "none")]
mod pending;
#[cfg(target_os = "none")]
mod random;
#[cfg(target_os = "none")]
mod server;
#[cfg(target_os = "none")]
mod start;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bare-metal image: build it with `cargo xtask build`");
}
