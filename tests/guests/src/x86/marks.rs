//! Marks for who counts instructions (xtask/plugin): instructions without effect that nothing else uses.
// UNSAFETY: two instructions that do nothing.
#![expect(unsafe_code, reason = "instructions that no compiler makes")]

use core::arch::asm;

/// What is counted begins.
pub fn begin() {
    // SAFETY: changes nothing.
    unsafe {
        asm!(
            "nop dword ptr [rax + 0x4D415202]",
            options(nostack, nomem, preserves_flags)
        )
    };
}

/// What is counted has ended.
pub fn end() {
    // SAFETY: changes nothing.
    unsafe {
        asm!(
            "nop dword ptr [rax + 0x4D415203]",
            options(nostack, nomem, preserves_flags)
        )
    };
}
