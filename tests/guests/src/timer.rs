//! The counter of the guest's time, and its timer.

pub use crate::arch::timer::{TICK, frequency, now, set, stop, system_time_ns};
use crate::{interrupts, taken};

/// Sleeps until `deadline`, by the timer's interrupt.
pub fn sleep_until(deadline: u64) {
    interrupts::mask();
    let before = taken::timer();
    set(deadline);
    while taken::timer() == before {
        interrupts::wait();
        interrupts::unmask();
        interrupts::mask();
    }
}
