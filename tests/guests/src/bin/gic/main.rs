//! Claim: the interrupt controller, of either version, does what its manual says (Arm IHI 0048, IHI 0069).
//!
//! Interrupts stay masked at the CPU: they are taken by acknowledging them, so that each step is certain.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod claims;

guests::guest!("gic", || claims::hold());
