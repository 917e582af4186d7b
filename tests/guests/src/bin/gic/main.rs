//! Claim: the interrupt controller, of either version, does what its manual says (Arm IHI 0048, IHI 0069).
//!
//! Interrupts stay masked at the CPU: they are taken by acknowledging them, so that each step is certain.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod claims;

guests::guest!("aarch64", "gic", || claims::hold());
