//! What only unsafe code can do: instructions, registers, raw memory.
//!
//! Every block names the invariant that makes it sound. On a host the same functions exist and do nothing or little, so
//! that the rest of the crate is tested there.
// UNSAFETY: this folder is the boundary to the hardware.
#![expect(unsafe_code, reason = "the boundary to the hardware")]
#![cfg_attr(
    not(target_os = "none"),
    allow(
        dead_code,
        reason = "only the image itself starts a CPU and enters guests"
    )
)]

pub mod boot;
pub mod console;
pub(crate) mod cpu;
pub(crate) mod debug;
pub(crate) mod extended;
pub(crate) mod fault;
pub(crate) mod frames;
pub(crate) mod identity;
pub(crate) mod interrupts;
pub(crate) mod mmu;
pub(crate) mod msr;
pub(crate) mod port;
pub(crate) mod power;
#[cfg(target_os = "none")]
mod registers;
pub(crate) mod svm;
pub(crate) mod timer;
pub(crate) mod tlb;
pub(crate) mod vmx;
