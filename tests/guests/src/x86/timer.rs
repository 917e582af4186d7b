//! The time-stamp counter and the APIC's timer in TSC-deadline mode (Intel SDM volume 3, 11.5.4.1).
// UNSAFETY: reads the counter.
#![expect(unsafe_code, reason = "reads the counter")]

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::layout::x86::XEN_CPUID_BASE;

use super::msr;
use super::place::SHARED_INFO;
use crate::event;

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

/// The hypervisor's time for this domain at a count, as it says in the shared page (Xen's `vcpu_time_info`), which has to be
/// mapped.
#[must_use]
pub fn system_time_ns(count: u64) -> u64 {
    const TSC: usize = SHARED_INFO.time + 8;
    const NS: usize = SHARED_INFO.time + 16;
    const SCALE: usize = SHARED_INFO.time + 24;
    let [tsc, ns, scale] = [TSC, NS, SCALE].map(|at| event::word(at).load(Ordering::SeqCst));
    let ticks = u128::from(count.wrapping_sub(tsc));
    let (multiplier, shift) = (u128::from(scale as u32), (scale >> 32) as i8);
    let ticks = match shift {
        0.. => ticks << shift,
        _ => ticks >> -shift,
    };
    ns + ((ticks * multiplier) >> 32) as u64
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
