//! What a machine or a program says, as it says it.
//!
//! A [`Transcript`] collects everything in the background, from a pipe, a socket or a growing log file, and lets a
//! test wait for a phrase. Each [`Transcript::expect`] looks only at what came after the phrase found before it, so
//! a sequence of them is a sequence of events.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const FILE_POLL: Duration = Duration::from_millis(20);
const SHOWN_LINES: usize = 40;

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// Where the next `expect` begins.
    cursor: usize,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    text: Mutex<Text>,
    grown: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: &[u8]) {
        self.lock().bytes.extend_from_slice(bytes);
        self.grown.notify_all();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.grown.notify_all();
    }
}

/// A phrase that did not come.
#[derive(Debug)]
pub struct NotSeen {
    /// The phrase.
    pub phrase: String,
    /// Whether the stream had ended, so that waiting longer would have been in vain.
    pub ended: bool,
    /// The last lines that did come.
    pub tail: String,
}

impl fmt::Display for NotSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.ended {
            "the stream ended"
        } else {
            "time ran out"
        };
        write!(
            f,
            "{:?} was not seen before {why}; the last lines:\n{}",
            self.phrase, self.tail
        )
    }
}

impl std::error::Error for NotSeen {}

/// Everything a stream has said so far.
pub struct Transcript {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

impl Transcript {
    /// Collects `reader` until it ends.
    pub fn of_reader(reader: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let reader = thread::spawn(move || drain(reader, &writer));
        Self {
            shared,
            reader: Some(reader),
        }
    }

    /// Follows a log file that another program appends to. The file must exist.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let shared = Arc::new(Shared::default());
        let writer = Arc::downgrade(&shared);
        thread::spawn(move || follow(file, &writer));
        Ok(Self {
            shared,
            reader: None,
        })
    }

    /// Waits until `phrase` comes after what was waited for before.
    pub fn expect(&self, phrase: &str, limit: Duration) -> Result<(), NotSeen> {
        self.wait(phrase, limit, |text| {
            let at = find(&text.bytes, text.cursor, phrase.as_bytes())?;
            text.cursor = at + phrase.len();
            Some(())
        })
    }

    /// Waits until a line with `phrase` is complete, and returns it.
    pub fn expect_line(&self, phrase: &str, limit: Duration) -> Result<String, NotSeen> {
        self.wait(phrase, limit, |text| {
            let at = find(&text.bytes, text.cursor, phrase.as_bytes())?;
            let end = find(&text.bytes, at, b"\n")?;
            text.cursor = end + 1;
            Some(line_around(&text.bytes, at, end))
        })
    }

    fn wait<T>(
        &self,
        phrase: &str,
        limit: Duration,
        seen: impl Fn(&mut Text) -> Option<T>,
    ) -> Result<T, NotSeen> {
        let deadline = Instant::now() + limit;
        let mut text = self.shared.lock();
        loop {
            if let Some(found) = seen(&mut text) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.ended || left.is_zero() {
                let (phrase, tail) = (phrase.to_owned(), last_lines(&text.bytes, SHOWN_LINES));
                return Err(NotSeen {
                    phrase,
                    ended: text.ended,
                    tail,
                });
            }
            let woken = self.shared.grown.wait_timeout(text, left);
            text = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().bytes).into_owned()
    }

    /// The bytes from `offset` on.
    #[must_use]
    pub fn since(&self, offset: usize) -> Vec<u8> {
        self.shared
            .lock()
            .bytes
            .get(offset..)
            .unwrap_or_default()
            .to_vec()
    }

    /// The last lines so far.
    #[must_use]
    pub fn tail(&self) -> String {
        last_lines(&self.shared.lock().bytes, SHOWN_LINES)
    }

    /// Waits for a reader's end and returns everything. A file has no end: what there is by now is returned.
    #[must_use]
    pub fn finish(mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // The reading thread does not panic; if it did, what it read is still the answer.
            let _ = reader.join();
        }
        self.text()
    }
}

fn drain(mut reader: impl Read, shared: &Shared) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        shared.push(buffer.get(..count).unwrap_or_default());
    }
    shared.end();
}

/// Reads on past every end of file, until nobody holds the transcript any more.
fn follow(mut file: File, shared: &Weak<Shared>) {
    let mut buffer = [0; 4096];
    loop {
        let read = file.read(&mut buffer);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match read {
            Ok(count @ 1..) => shared.push(buffer.get(..count).unwrap_or_default()),
            Ok(0) => {
                drop(shared);
                thread::sleep(FILE_POLL);
            }
            Err(_) => return shared.end(),
        }
    }
}

fn find(bytes: &[u8], from: usize, phrase: &[u8]) -> Option<usize> {
    if phrase.is_empty() {
        return Some(from);
    }
    let found = bytes
        .get(from..)?
        .windows(phrase.len())
        .position(|window| window == phrase)?;
    Some(from + found)
}

/// The line that contains the byte at `at` and ends before `end`.
fn line_around(bytes: &[u8], at: usize, end: usize) -> String {
    let before = bytes.get(..at).unwrap_or_default();
    let start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let line = bytes.get(start..end).unwrap_or_default();
    String::from_utf8_lossy(line)
        .trim_end_matches('\r')
        .to_owned()
}

fn last_lines(bytes: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(count)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn expectations_are_a_sequence() {
        let seen = Transcript::of_reader(&b"one\r\nvalue 2\r\none more\r\n"[..]);
        seen.expect("one", SOON).unwrap();
        assert_eq!(seen.expect_line("2", SOON).unwrap(), "value 2");
        seen.expect("one", SOON).unwrap();
        assert!(seen.expect("one", SOON).unwrap_err().ended);
    }

    #[test]
    fn a_line_is_returned_when_it_is_complete() {
        let seen = Transcript::of_reader(&b"count 12\r\ncount 1"[..]);
        assert_eq!(seen.expect_line("count", SOON).unwrap(), "count 12");
        assert!(seen.expect_line("count", SOON).is_err());
        seen.expect("count", SOON).unwrap();
    }

    #[test]
    fn a_phrase_that_does_not_come_shows_what_did() {
        let seen = Transcript::of_reader(&b"something else"[..]);
        let missing = seen.expect("ok", SOON).unwrap_err();
        assert_eq!(missing.tail, "something else");
        assert!(missing.to_string().contains("\"ok\""));
    }

    #[test]
    fn a_growing_file_is_followed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let seen = Transcript::of_file(file.path()).unwrap();
        assert!(
            !seen
                .expect("late", Duration::from_millis(50))
                .unwrap_err()
                .ended
        );
        write!(file, "a lat").unwrap();
        write!(file, "e line").unwrap();
        file.flush().unwrap();
        seen.expect("late", SOON).unwrap();
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let shown = last_lines(text.as_bytes(), 2);
        assert_eq!(shown, "line 98\nline 99");
    }
}
