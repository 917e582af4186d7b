// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a configuration, and where.

use alloc::{boxed::Box, string::String};
use core::fmt;

/// Where something stands in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, or `command line`.
    pub origin: String,
    /// The line, from 1; on the command line: which argument.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The line itself.
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.origin, self.line, self.column)
    }
}

/// The most characters of a line that are shown, so that a caret stays below its place.
const SHOWN: usize = 96;

impl Place {
    /// The line with a caret below the column. Tabs stay tabs in both, so that they line up; other
    /// control characters are shown as `?`, so that a file cannot play with the terminal.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = usize::try_from(self.column.saturating_sub(1)).unwrap_or(0);
        let skipped = column.saturating_sub(SHOWN / 2);
        let shown = || self.text.chars().skip(skipped).take(SHOWN);
        write!(f, "\n  {:>4} | ", self.line)?;
        shown().try_for_each(|c| fmt::Write::write_char(f, printable(c)))?;
        f.write_str("\n       | ")?;
        let before = column.saturating_sub(skipped);
        shown()
            .chain(core::iter::repeat(' '))
            .take(before)
            .map(|c| if c == '\t' { c } else { ' ' })
            .try_for_each(|c| fmt::Write::write_char(f, c))?;
        f.write_str("^")
    }
}

fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '?' } else { c }
}

/// One thing wrong with a configuration. Displayed, it shows the line, a caret and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where; none if something is missing altogether.
    pub place: Option<Box<Place>>,
    /// The file, for errors without a place.
    pub origin: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message)?,
            None => write!(f, "{}: {}", self.origin, self.message)?,
        }
        if let Some(place) = &self.place {
            place.show(f)?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\n  help: {remedy}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Something in a configuration that has no effect, or another one than its author may think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What to know about it, in one line.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
