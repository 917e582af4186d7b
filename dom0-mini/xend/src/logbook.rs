//! `/var/log/xend.log`: the last lines of it, in memory.
//!
//! A line looks like xend's always did: `[2026-11-23 10:00:00 xend] INFO (component) message`, or with the time since the
//! machine started, `[+12.345678 xend]`, while nobody knows the date. Times come from the caller. An entry is one line
//! and of bounded length whatever is put into it: names and messages of guests cannot forge entries.

use crate::scrollback::{Excerpt, Scrollback};
use alloc::string::String;
use core::fmt::{self, Write};

/// What the log keeps, in bytes.
pub const LOG_BYTES: usize = 256 * 1024;

/// The longest message, in bytes; the rest is cut off.
pub const MESSAGE_MAX: usize = 1024;

/// How much an entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For who looks for a fault.
    Debug,
    /// What xend does.
    Info,
    /// What may be wrong.
    Warning,
    /// What went wrong.
    Error,
    /// What ends the service.
    Critical,
}

impl Level {
    /// All levels, the least first.
    pub const ALL: [Self; 5] = [
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
    ];

    /// The name in the log and in `xend-config.sxp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The level of that name, in any case; `WARN` is known as well.
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("WARN") {
            return Some(Self::Warning);
        }
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

/// When something happened, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Since the beginning of 1970, UTC.
    Wall(u64),
    /// Since the machine started.
    Uptime(u64),
}

/// The log.
#[derive(Debug)]
pub struct Logbook {
    lines: Scrollback,
    threshold: Level,
}

impl Logbook {
    /// An empty log that takes entries of `threshold` and above.
    pub const fn new(threshold: Level) -> Self {
        Self {
            lines: Scrollback::new(LOG_BYTES),
            threshold,
        }
    }

    /// Puts the log of earlier days in front.
    pub fn continue_from(&mut self, earlier: &[u8]) {
        self.lines.push(earlier);
    }

    /// Changes what is taken from now on.
    pub const fn set_threshold(&mut self, threshold: Level) {
        self.threshold = threshold;
    }

    /// Writes an entry; returns whether its level is taken.
    pub fn append(
        &mut self,
        stamp: Stamp,
        level: Level,
        component: &str,
        message: fmt::Arguments<'_>,
    ) -> bool {
        if level < self.threshold {
            return false;
        }
        let mut line = String::new();
        let mut body = OneLine {
            line: &mut line,
            room: MESSAGE_MAX,
        };
        // Writing into a string cannot fail; the body ends itself when it is full.
        let _ = write!(body.line, "[{stamp} xend] {} (", level.name());
        let _ = body.write_str(component);
        body.line.push_str(") ");
        let _ = body.write_fmt(message);
        line.push('\n');
        self.lines.push(line.as_bytes());
        true
    }

    /// The cursor of the oldest byte that is still here.
    pub fn start(&self) -> u64 {
        self.lines.start()
    }

    /// The cursor behind the newest entry.
    pub const fn end(&self) -> u64 {
        self.lines.end()
    }

    /// Reads up to `max` bytes from `cursor` on. After a gap it begins with a whole line.
    pub fn read(&self, cursor: u64, max: usize) -> Excerpt {
        let excerpt = self.lines.read(cursor, max);
        if excerpt.lost == 0 {
            excerpt
        } else {
            from_line_start(excerpt)
        }
    }
}

/// Leaves out what remains of a line whose beginning is gone.
fn from_line_start(excerpt: Excerpt) -> Excerpt {
    let newline = excerpt.bytes.iter().position(|byte| *byte == b'\n');
    let partial = newline.map_or(excerpt.bytes.len(), |place| place.saturating_add(1));
    let bytes = excerpt.bytes.get(partial..).unwrap_or_default().to_vec();
    Excerpt {
        lost: excerpt.lost.saturating_add(partial as u64),
        bytes,
        ..excerpt
    }
}

/// A writer that escapes control characters and stops when there is no room.
struct OneLine<'a> {
    line: &'a mut String,
    room: usize,
}

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars()
            .try_for_each(|character| self.write_char(character))
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        let before = self.line.len();
        if character.is_control() {
            self.line.extend(character.escape_default());
        } else {
            self.line.push(character);
        }
        let used = self.line.len().saturating_sub(before);
        if used > self.room {
            self.line.truncate(before);
            self.line.push('…');
            self.room = 0;
            return Err(fmt::Error);
        }
        self.room = self.room.saturating_sub(used);
        Ok(())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wall(ns) => write_date(f, ns / 1_000_000_000),
            Self::Uptime(ns) => write!(f, "+{}.{:06}", ns / 1_000_000_000, ns / 1000 % 1_000_000),
        }
    }
}

/// The Gregorian date of a number of seconds since 1970. Years are counted from March, so that the leap day is the last
/// of its year; 400 years are 146,097 days.
fn write_date(f: &mut fmt::Formatter<'_>, seconds: u64) -> fmt::Result {
    const DAYS_TO_1970: u64 = 719_468; // since 1 March of the year 0
    let days = (seconds / 86_400).saturating_add(DAYS_TO_1970);
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + 400 * cycle + later;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(
        f,
        "{year}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02}"
    )
}

#[cfg(test)]
mod tests {
    use super::{LOG_BYTES, Level, Logbook, MESSAGE_MAX, Stamp};
    use alloc::string::{String, ToString};

    const NOON: Stamp = Stamp::Wall(1_795_428_000_000_000_000);

    fn text(log: &Logbook) -> String {
        String::from_utf8(log.read(0, usize::MAX).bytes).unwrap()
    }

    #[test]
    fn lines_look_as_they_always_did() {
        let mut log = Logbook::new(Level::Info);
        assert!(log.append(
            NOON,
            Level::Info,
            "xend",
            format_args!("started, {} domains", 2)
        ));
        assert!(log.append(
            Stamp::Uptime(12_345_678_901),
            Level::Warning,
            "store",
            format_args!("no disk")
        ));
        assert!(!log.append(NOON, Level::Debug, "xend", format_args!("not taken")));
        assert_eq!(
            text(&log),
            "[2026-11-23 10:00:00 xend] INFO (xend) started, 2 domains\n\
             [+12.345678 xend] WARNING (store) no disk\n"
        );
    }

    #[test]
    fn dates() {
        let date = |seconds: u64| Stamp::Wall(seconds * 1_000_000_000).to_string();
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (1_735_689_600, "2025-01-01 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(seconds), expected);
        }
        assert_eq!(Stamp::Wall(u64::MAX).to_string(), "2554-07-21 23:34:33");
    }

    #[test]
    fn nobody_forges_a_line() {
        let mut log = Logbook::new(Level::Debug);
        log.append(
            NOON,
            Level::Info,
            "a\nb",
            format_args!("{}", "name\n[2026] ERROR (x) \x1b[2J\r"),
        );
        assert_eq!(text(&log).lines().count(), 1);
        assert!(text(&log).contains("(a\\nb) name\\n[2026] ERROR (x) \\u{1b}[2J\\r\n"));
    }

    #[test]
    fn long_messages_are_cut() {
        let mut log = Logbook::new(Level::Debug);
        log.append(
            NOON,
            Level::Info,
            "x",
            format_args!("{}{}", "ä".repeat(5000), "tail"),
        );
        let text = text(&log);
        assert!(
            text.ends_with("ä…\n") && text.len() < MESSAGE_MAX + 64,
            "{}",
            text.len()
        );
    }

    #[test]
    fn a_reader_that_lost_something_continues_with_a_whole_line() {
        let mut log = Logbook::new(Level::Debug);
        for number in 0..10_000 {
            log.append(
                NOON,
                Level::Info,
                "test",
                format_args!("entry {number} {}", "x".repeat(number % 50)),
            );
        }
        let excerpt = log.read(0, usize::MAX);
        assert!(excerpt.lost > 0 && excerpt.bytes.len() <= LOG_BYTES);
        assert_eq!(excerpt.lost + excerpt.bytes.len() as u64, log.end());
        assert!(
            excerpt
                .bytes
                .starts_with(b"[2026-11-23 10:00:00 xend] INFO (test) entry ")
        );
        assert_eq!(excerpt.next, log.end());
    }

    #[test]
    fn following_costs_nothing_twice() {
        let mut log = Logbook::new(Level::Debug);
        log.append(NOON, Level::Error, "x", format_args!("one"));
        let first = log.read(0, 10);
        assert_eq!(first.bytes.len(), 10);
        let rest = log.read(first.next, usize::MAX);
        assert_eq!(rest.next, log.end());
        assert!(log.read(rest.next, usize::MAX).bytes.is_empty());
    }

    #[test]
    fn levels_have_names() {
        for level in Level::ALL {
            assert_eq!(Level::from_name(&level.name().to_lowercase()), Some(level));
        }
        assert_eq!(
            (Level::from_name("warn"), Level::from_name("loud")),
            (Some(Level::Warning), None)
        );
        let mut log = Logbook::new(Level::Error);
        log.set_threshold(Level::Warning);
        assert!(log.append(NOON, Level::Warning, "x", format_args!("now taken")));
    }
}
