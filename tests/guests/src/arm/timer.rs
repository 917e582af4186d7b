//! The virtual counter and its timer (Arm ARM D12).
// UNSAFETY: system registers.
#![expect(unsafe_code, reason = "system registers")]

use core::arch::asm;

/// Enabled, and not masked.
const ON: u64 = 1;

/// Instructions in a tick of the counter, where an emulator counts them: at 62.5 MHz and one per nanosecond.
pub const TICK: u64 = 16;

/// The counter, read after everything before it.
#[inline]
#[must_use]
pub fn now() -> u64 {
    let count: u64;
    // SAFETY: reading the counter has no effect.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) count, options(nostack)) };
    count
}

/// Counts in a second.
#[must_use]
pub fn frequency() -> u64 {
    let frequency: u64;
    // SAFETY: reading the frequency has no effect.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nostack)) };
    frequency
}

/// The hypervisor's time for this domain at a count: both began together.
#[must_use]
pub fn system_time_ns(count: u64) -> u64 {
    const SECOND_NS: u128 = 1_000_000_000;
    (u128::from(count) * SECOND_NS / u128::from(frequency())) as u64
}

/// Makes the timer interrupt at `deadline`.
#[inline]
pub fn set(deadline: u64) {
    // SAFETY: the timer's registers; its interrupt is handled by the vectors.
    unsafe {
        asm!(
            "msr cntv_cval_el0, {deadline}",
            "msr cntv_ctl_el0, {on}",
            "isb",
            deadline = in(reg) deadline,
            on = in(reg) ON,
            options(nostack),
        );
    }
}

/// Switches the timer off.
#[inline]
pub fn stop() {
    // SAFETY: the timer's own register.
    unsafe { asm!("msr cntv_ctl_el0, {}", in(reg) 2_u64, options(nostack)) };
}
