//! Interrupts by their purpose, whichever way they come.

use crate::{clock, server};

/// How an interrupt comes to Domain-0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Through the interrupt controller, under this number.
    Controller(u32),
    /// As an event, through this port.
    Event(u32),
}

/// Which interrupt is whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// The timer's.
    pub(crate) timer: Line,
    /// Event channels are pending.
    pub(crate) upcall: Line,
    /// The link's device.
    pub(crate) link: Option<Line>,
    /// The disk.
    pub(crate) disk: Option<Line>,
}

impl Lines {
    /// Tells who waits for it. `false`: nobody does.
    pub(crate) fn dispatch(self, line: Line) -> bool {
        if line == self.timer {
            clock::expired();
        } else if line == self.upcall {
            server::upcall();
        } else if Some(line) == self.link {
            server::link_interrupt();
        } else {
            // Who waits for the disk looks at the device.
            return Some(line) == self.disk;
        }
        true
    }
}
