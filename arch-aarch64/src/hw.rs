//! The only unsafe code: registers, instructions, raw memory, assembly.
//!
//! Everything here compiles on any host; what only an ARM CPU can do is conditional at the bottom, one instruction at
//! a time, so that the safe rest of the crate is tested where it is built.
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
pub(crate) mod fault;
pub(crate) mod frames;
pub(crate) mod gicv2;
pub(crate) mod identity;
pub(crate) mod interrupts;
pub(crate) mod lists;
pub(crate) mod mmu;
pub(crate) mod power;
pub(crate) mod registers;
pub(crate) mod timer;
pub(crate) mod tlb;
pub(crate) mod world;
