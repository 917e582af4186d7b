//! What is pending: interrupts, taken by polling and told to whom they concern.
//!
//! The executor's loop takes them between two polls, and a task that cannot let go of the CPU while it waits for a device
//! takes them meanwhile: that only marks tasks as ready, so none runs while another one waits here.

use crate::disk::Wait;
use crate::hw::counter;
use crate::hw::interrupts::Interrupts;
use crate::lines::{Line, Lines};
use core::cell::RefCell;
use embassy_sync::blocking_mutex::CriticalSectionMutex;

/// The way to interrupts, and whose they are.
pub(crate) struct Pending {
    interrupts: CriticalSectionMutex<RefCell<Interrupts>>,
    lines: Lines,
}

impl Pending {
    /// Everything there is of these.
    pub(crate) fn new(interrupts: Interrupts, lines: Lines) -> Self {
        Self {
            interrupts: CriticalSectionMutex::new(RefCell::new(interrupts)),
            lines,
        }
    }

    /// Takes and dispatches everything that is pending.
    pub(crate) fn take(&self) {
        self.with(|interrupts| while interrupts.take(|line| self.dispatch(line)) {});
    }

    fn with(&self, act: impl FnOnce(&mut Interrupts)) {
        self.interrupts
            .lock(|interrupts| act(&mut interrupts.borrow_mut()));
    }

    fn dispatch(&self, line: Line) {
        // An interrupt that is nobody's needs nothing more.
        let _ = self.lines.dispatch(line);
    }
}

/// The wait for a line's interrupt.
pub(crate) struct LineWait {
    /// The way to it.
    pub(crate) pending: &'static Pending,
    /// Whose interrupt it is.
    pub(crate) line: Line,
}

impl Wait for LineWait {
    fn ticks(&self) -> u64 {
        counter::ticks()
    }

    fn ticks_per_s(&self) -> u64 {
        counter::frequency_hz()
    }

    fn sleep(&mut self, until_ticks: u64) {
        let pending = self.pending;
        pending.with(|interrupts| {
            interrupts.wait_for(self.line, until_ticks, |line| pending.dispatch(line));
        });
    }
}
