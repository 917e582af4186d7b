//! The hypervisor's log: a fixed ring with absolute cursors, and the console.
//!
//! A line is formatted straight into the ring under its lock (the last in the order of locks) and copied to the console
//! from there. Nothing is allocated; what is overwritten before it was read is counted as lost. Readers name positions
//! since boot, so several can follow at their own pace. New text is announced to Domain-0 by whoever schedules
//! ([`take_news`]), because a line may be written with any lock held.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::lock::Lock;
use log::{LevelFilter, Log, Metadata, Record};
use spin::Once;

/// Bytes kept.
pub const RING_SIZE: usize = 64 * 1024;

/// Where text and time come from.
#[derive(Clone, Copy)]
pub struct Surroundings {
    /// Writes to the debug console.
    pub console: fn(&[u8]),
    /// Nanoseconds since the hypervisor started.
    pub now_ns: fn() -> u64,
}

/// The last [`RING_SIZE`] bytes of text.
struct Ring {
    bytes: [u8; RING_SIZE],
    end: u64,
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Position after the last byte read.
    pub next: u64,
    /// Bytes that were overwritten before they could be read.
    pub lost: u64,
    /// Bytes read.
    pub length: usize,
}

impl Ring {
    const fn new() -> Self {
        Self {
            bytes: [0; RING_SIZE],
            end: 0,
        }
    }

    fn push(&mut self, text: &[u8]) {
        for byte in text {
            let at = (self.end % RING_SIZE as u64) as usize;
            if let Some(slot) = self.bytes.get_mut(at) {
                *slot = *byte;
            }
            self.end = self.end.wrapping_add(1);
        }
    }

    fn read(&self, cursor: u64, out: &mut [u8]) -> Piece {
        let oldest = self.end.saturating_sub(RING_SIZE as u64);
        let start = cursor.clamp(oldest, self.end);
        let available = usize::try_from(self.end - start).unwrap_or(RING_SIZE);
        let length = available.min(out.len());
        for (slot, position) in out.iter_mut().take(length).zip(start..) {
            let at = (position % RING_SIZE as u64) as usize;
            *slot = self.bytes.get(at).copied().unwrap_or(0);
        }
        Piece {
            next: start + length as u64,
            lost: start.saturating_sub(cursor),
            length,
        }
    }
}

/// Writes to ring and console at once.
struct Line<'a> {
    ring: &'a mut Ring,
    console: Option<fn(&[u8])>,
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.ring.push(text.as_bytes());
        if let Some(console) = self.console {
            console(text.as_bytes());
        }
        Ok(())
    }
}

/// The `log` sink.
struct Sink {
    ring: Lock<Ring>,
    surroundings: Once<Surroundings>,
    news: AtomicBool,
}

static SINK: Sink = Sink {
    ring: Lock::new(Ring::new()),
    surroundings: Once::new(),
    news: AtomicBool::new(false),
};

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let surroundings = self.surroundings.get();
        let now_us = surroundings.map_or(0, |around| (around.now_ns)() / 1000);
        let mut ring = self.ring.lock();
        let mut line = Line {
            ring: &mut ring,
            console: surroundings.map(|around| around.console),
        };
        // Writing to a line cannot fail.
        let _written = writeln!(
            line,
            "(HV) [{:5}.{:06}] {}{}",
            now_us / 1_000_000,
            now_us % 1_000_000,
            prefix(record.level()),
            record.args()
        );
        drop(ring);
        self.news.store(true, Ordering::Release);
    }

    fn flush(&self) {}
}

const fn prefix(level: log::Level) -> &'static str {
    match level {
        log::Level::Error => "error: ",
        log::Level::Warn => "warning: ",
        log::Level::Info => "",
        log::Level::Debug => "debug: ",
        log::Level::Trace => "trace: ",
    }
}

/// Makes `log` write here. The first call counts.
pub fn install(surroundings: Surroundings, level: LevelFilter) {
    SINK.surroundings.call_once(|| surroundings);
    // A second logger is refused, which is what is wanted.
    let _first = log::set_logger(&SINK);
    log::set_max_level(level);
}

/// Adds text that is no line of ours (Domain-0's console output) to the ring, not to the console.
pub fn append(text: &[u8]) {
    SINK.ring.lock().push(text);
    SINK.news.store(true, Ordering::Release);
}

/// Reads from a position since boot on.
pub fn read(cursor: u64, out: &mut [u8]) -> Piece {
    SINK.ring.lock().read(cursor, out)
}

/// Bytes written since boot.
#[must_use]
pub fn written() -> u64 {
    SINK.ring.lock().end
}

/// Whether there is text that nobody was told of; clears the mark.
pub fn take_news() -> bool {
    SINK.news.load(Ordering::Relaxed) && SINK.news.swap(false, Ordering::AcqRel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overwritten_counts_as_lost() {
        let mut ring = Ring::new();
        ring.push(b"hello");
        let mut out = [0; 3];
        assert_eq!(
            ring.read(1, &mut out),
            Piece {
                next: 4,
                lost: 0,
                length: 3
            }
        );
        assert_eq!(&out, b"ell");
        for _ in 0..RING_SIZE / 4 {
            ring.push(b"abcd");
        }
        assert_eq!(
            ring.read(0, &mut out),
            Piece {
                next: 8,
                lost: 5,
                length: 3
            }
        );
        assert_eq!(&out, b"abc");
    }

    #[test]
    fn a_cursor_from_the_future_reads_nothing() {
        let mut ring = Ring::new();
        ring.push(b"x");
        assert_eq!(
            ring.read(99, &mut [0; 4]),
            Piece {
                next: 1,
                lost: 0,
                length: 0
            }
        );
    }
}
