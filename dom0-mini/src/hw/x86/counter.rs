//! The time-stamp counter, which began at 0 with Domain-0, and the singleshot timer: Domain-0's clock.

use crate::hw::hypercall::call;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::CallNumber;

static FREQUENCY_HZ: AtomicU64 = AtomicU64::new(1);

/// Notes how fast the counter is: no register says so.
pub(crate) fn start(hz: u64) {
    FREQUENCY_HZ.store(hz.max(1), Ordering::Relaxed);
}

/// Ticks per second.
pub(crate) fn frequency_hz() -> u64 {
    FREQUENCY_HZ.load(Ordering::Relaxed)
}

/// Ticks so far.
pub(crate) fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter; LFENCE keeps the reading from being earlier than what came before (SDM volume 2, RDTSC).
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Makes the timer's event pending at that count.
pub(crate) fn set_timer(at_ticks: u64) {
    set(system_time_ns(at_ticks));
}

/// Our system time at that count: the counter, in nanoseconds.
pub(super) fn system_time_ns(at_ticks: u64) -> u64 {
    let ns = u128::from(at_ticks) * 1_000_000_000 / u128::from(frequency_hz()) + 1;
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Switches the timer off.
pub(crate) fn stop_timer() {
    set(0);
}

fn set(system_time_ns: u64) {
    if let Err(error) = call(CallNumber::SET_TIMER_OP, system_time_ns, 0, 0) {
        log::error!("the timer cannot be set: {error:?}");
    }
}
