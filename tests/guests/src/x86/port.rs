//! I/O ports.
// UNSAFETY: IN and OUT.
#![expect(unsafe_code, reason = "IN and OUT")]

use core::arch::asm;

/// Reads a byte.
#[inline]
#[must_use]
pub fn read(port: u16) -> u8 {
    let value;
    // SAFETY: callers name ports behind which there is nothing that reading changes.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack)) };
    value
}

/// Writes a byte.
#[inline]
pub fn write(port: u16, value: u8) {
    // SAFETY: callers name ports that nothing in memory depends on.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack)) };
}
