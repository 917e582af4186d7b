//! Marks for who counts instructions (xtask/plugin): instructions without effect that nothing else uses.
// UNSAFETY: two instructions that combine a register with itself.
#![expect(unsafe_code, reason = "instructions that no compiler makes")]

use core::arch::asm;

/// What is counted begins.
pub fn begin() {
    // SAFETY: changes nothing.
    unsafe {
        asm!(
            "orr x26, x26, x26",
            options(nostack, nomem, preserves_flags)
        )
    };
}

/// What is counted has ended.
pub fn end() {
    // SAFETY: changes nothing.
    unsafe {
        asm!(
            "orr x25, x25, x25",
            options(nostack, nomem, preserves_flags)
        )
    };
}
