//! The only unsafe code: registers, instructions, raw memory, assembly.
//!
//! Everything here compiles on any host; what only an ARM CPU can do is conditional at the bottom, one instruction at
//! a time, so that the safe rest of the crate is tested where it is built.
// UNSAFETY: this folder is the boundary to the hardware.
#![expect(unsafe_code, reason = "the boundary to the hardware")]

pub mod boot;
pub mod console;
pub mod fault;
pub(crate) mod cpu;
pub mod mmu;
pub mod power;
pub(crate) mod registers;
pub(crate) mod timer;
pub(crate) mod world;

