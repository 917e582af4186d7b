//! Memory as programs see it: one to one, but for a window that shows what they choose.
// UNSAFETY: RAM that the program does not use otherwise.
#![expect(unsafe_code, reason = "RAM by its address")]

use core::sync::atomic::AtomicU64;

pub use crate::arch::mmu::*;

/// Where [`point_window_at`] puts memory: 2 MiB of virtual addresses.
pub const WINDOW: u64 = 0x2000_0000;

/// The first word of the window.
#[must_use]
pub fn window() -> &'static AtomicU64 {
    // SAFETY: the window shows RAM whenever this is called, and all use atomics there.
    unsafe { &*(WINDOW as *const AtomicU64) }
}

/// A word of RAM that nothing else uses.
#[must_use]
pub fn word_at(address: u64) -> &'static AtomicU64 {
    // SAFETY: callers name RAM beyond the image, which is mapped and free.
    unsafe { &*(address as *const AtomicU64) }
}
