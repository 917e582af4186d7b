//! The time-stamp counter and the APIC's timer in TSC-deadline mode (Intel SDM volume 3, 11.5.4.1).
// UNSAFETY: reads the counter.
#![expect(unsafe_code, reason = "reads the counter")]

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::layout::x86::XEN_CPUID_BASE;

use super::msr;

/// Instructions in a tick of the counter, where an emulator counts them: one per nanosecond.
pub const TICK: u64 = 1;

/// 0: not asked yet.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

/// The counter, read after everything before it.
#[inline]
#[must_use]
pub fn now() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Counts in a second, as the hypervisor says.
#[must_use]
pub fn frequency() -> u64 {
    let known = FREQUENCY.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let hz = u64::from(__cpuid(XEN_CPUID_BASE + 3).ecx) * 1000;
    FREQUENCY.store(hz, Ordering::Relaxed);
    hz
}

/// Makes the timer interrupt at `deadline`.
#[inline]
pub fn set(deadline: u64) {
    msr::write(msr::TSC_DEADLINE, deadline.max(1));
}

/// Switches the timer off.
#[inline]
pub fn stop() {
    msr::write(msr::TSC_DEADLINE, 0);
}
