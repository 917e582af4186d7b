//! The executor's loop: poll what is ready, take what is pending, sleep when there is neither.

use core::sync::atomic::{AtomicBool, Ordering};
use embassy_executor::raw::Executor;

/// Set by a waker, cleared before a poll.
static PENDED: AtomicBool = AtomicBool::new(true);

/// Runs tasks for ever. `take_interrupts` takes and dispatches everything that is pending, `sleep` waits for more.
pub(crate) fn run(
    executor: &'static Executor,
    mut take_interrupts: impl FnMut(),
    sleep: impl Fn(),
) -> ! {
    loop {
        take_interrupts();
        if PENDED.swap(false, Ordering::Relaxed) {
            poll(executor);
        } else {
            sleep();
        }
    }
}

fn poll(executor: &'static Executor) {
    // SAFETY: called from this loop only, never from within a task.
    unsafe { executor.poll() };
}

#[unsafe(export_name = "__pender")]
fn pend(_: *mut ()) {
    PENDED.store(true, Ordering::Relaxed);
}
