//! Model-specific registers.
// UNSAFETY: RDMSR and WRMSR.
#![expect(unsafe_code, reason = "RDMSR and WRMSR")]

use core::arch::asm;

/// IA32_APIC_BASE.
pub const APIC_BASE: u32 = 0x1B;
/// IA32_TSC_DEADLINE.
pub const TSC_DEADLINE: u32 = 0x6E0;
/// First register of an x2APIC.
pub const X2APIC: u32 = 0x800;
/// IA32_EFER.
pub const EFER: u32 = 0xC000_0080;
/// IA32_GS_BASE.
pub const GS_BASE: u32 = 0xC000_0101;

/// Reads one that is there.
#[inline]
#[must_use]
pub fn read(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: callers name registers whose reads have no effect.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes one that is there.
#[inline]
pub fn write(number: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: callers name registers of the interrupt controller, and those that nothing here depends on.
    unsafe { asm!("wrmsr", in("ecx") number, in("eax") low, in("edx") high, options(nostack)) };
}
