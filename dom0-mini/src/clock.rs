//! Embassy's time driver on the virtual counter: microsecond ticks, one queue of wakers.

use crate::hw::counter;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use embassy_sync::blocking_mutex::CriticalSectionMutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

struct CounterDriver {
    queue: CriticalSectionMutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(
    static DRIVER: CounterDriver = CounterDriver { queue: CriticalSectionMutex::new(RefCell::new(Queue::new())) }
);

/// What the virtual counter read at system time 0, in nanoseconds.
static ZERO_NS: AtomicU64 = AtomicU64::new(0);

fn counter_ns() -> u64 {
    let ns =
        u128::from(counter::ticks()) * 1_000_000_000 / u128::from(counter::frequency_hz().max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Sets the clock to the hypervisor's system time.
pub(crate) fn set(system_time_ns: u64) {
    ZERO_NS.store(counter_ns().wrapping_sub(system_time_ns), Ordering::Relaxed);
}

/// System time: nanoseconds since the hypervisor started.
pub(crate) fn now_ns() -> u64 {
    counter_ns().wrapping_sub(ZERO_NS.load(Ordering::Relaxed))
}

fn to_ticks(microseconds: u64) -> u64 {
    let zero_ticks = ns_to_ticks(ZERO_NS.load(Ordering::Relaxed));
    ns_to_ticks(microseconds.saturating_mul(1000))
        .wrapping_add(zero_ticks)
        .saturating_add(1)
}

fn ns_to_ticks(ns: u64) -> u64 {
    // `ns` may be a small negative number: the counter's zero can lie after system time 0.
    let ticks = i128::from(ns.cast_signed()) * i128::from(counter::frequency_hz()) / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX).cast_unsigned()
}

impl CounterDriver {
    fn arm(next: u64) {
        if next == u64::MAX {
            counter::stop_timer();
        } else {
            counter::set_timer(to_ticks(next));
        }
    }
}

impl Driver for CounterDriver {
    fn now(&self) -> u64 {
        now_ns() / 1000
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        self.queue.lock(|queue| {
            let mut queue = queue.borrow_mut();
            if queue.schedule_wake(at, waker) {
                let next = queue.next_expiration(self.now());
                Self::arm(next);
            }
        });
    }
}

/// The timer's interrupt came: wakes who waited, and sets the timer for the next one.
pub(crate) fn expired() {
    DRIVER.queue.lock(|queue| {
        let next = queue.borrow_mut().next_expiration(DRIVER.now());
        CounterDriver::arm(next);
    });
}
