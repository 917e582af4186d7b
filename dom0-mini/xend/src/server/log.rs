//! xend's log, and how much of it the store has.

use crate::event::Now;
use crate::logbook::{Level, Logbook, Stamp};
use alloc::vec::Vec;

/// How long the log may wait for something else to be kept, in nanoseconds.
const DELAY_NS: u64 = 1_000_000_000;
/// Text that goes along at once, in bytes: a commit stays small.
const PIECE: usize = 16 * 1024;

/// The log.
pub(super) struct Log {
    pub(super) book: Logbook,
    /// Up to where the store has it.
    saved: u64,
    /// When the first line behind that was written.
    new_ns: u64,
}

impl Log {
    /// A log that goes on with what the store has of earlier days.
    pub(super) fn new(threshold: Level, earlier: &[u8], now: Now) -> Self {
        let mut book = Logbook::new(threshold);
        book.continue_from(earlier);
        Self {
            saved: book.end(),
            new_ns: now.mono_ns,
            book,
        }
    }

    /// Writes a line.
    pub(super) fn write(&mut self, now: Now, level: Level, text: &str) {
        let stamp = match now.wall_ns {
            Some(wall_ns) => Stamp::Wall(wall_ns),
            None => Stamp::Uptime(now.mono_ns),
        };
        log::debug!("{text}");
        if self.book.end() == self.saved {
            self.new_ns = now.mono_ns;
        }
        self.book
            .append(stamp, level, "xend", format_args!("{text}"));
    }

    /// What the store does not have yet, or a part of it. It counts as kept from now on.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let excerpt = self.book.read(self.saved, PIECE);
        self.saved = excerpt.next;
        excerpt.bytes
    }

    /// When the store is to have what it does not have yet.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let is_new = self.book.end() > self.saved;
        is_new.then(|| self.new_ns.saturating_add(DELAY_NS))
    }

    /// There is a new store, which has nothing.
    pub(super) fn begin_anew(&mut self) {
        self.saved = self.book.start();
    }
}
