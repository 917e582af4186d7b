// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of a configuration, and how an offset in it becomes a place.

use super::error::{ConfigError, Place};
use alloc::{
    boxed::Box,
    string::{String, ToString},
};

/// The line that separates a file's text from the overrides of the command line. It is a comment, so
/// that the whole is still an ordinary configuration.
pub(super) const OVERRIDES_MARK: &str = "#:command line";

/// What the overrides' origin is called.
const COMMAND_LINE: &str = "command line";

/// A text and its file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) origin: String,
    pub(super) text: String,
    /// Where the overrides begin, if there are any.
    overrides: Option<usize>,
}

impl Source {
    pub(super) fn new(origin: &str, text: &str) -> Self {
        Self {
            origin: origin.to_string(),
            text: text.to_string(),
            overrides: overrides_start(text),
        }
    }

    /// Whether `offset` lies in the overrides.
    pub(super) fn is_override(&self, offset: usize) -> bool {
        self.overrides.is_some_and(|start| offset >= start)
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let (origin, start) = match self.overrides {
            Some(start) if offset >= start => (COMMAND_LINE, start),
            _ => (self.origin.as_str(), 0),
        };
        let before = self.text.get(start..offset).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let in_line = before.get(line_start..).unwrap_or("");
        let from_line = start
            .checked_add(line_start)
            .and_then(|at| self.text.get(at..))
            .unwrap_or("");
        Place {
            origin: origin.to_string(),
            line: count(before.bytes().filter(|byte| *byte == b'\n').count()),
            column: count(in_line.chars().count()),
            text: from_line.lines().next().unwrap_or("").to_string(),
        }
    }

    pub(super) fn error(
        &self,
        offset: usize,
        message: impl Into<String>,
        remedy: Option<String>,
    ) -> ConfigError {
        ConfigError {
            place: Some(Box::new(self.place(offset))),
            origin: self.origin.clone(),
            message: message.into(),
            remedy,
        }
    }
}

/// Counting from one.
fn count(before: usize) -> u32 {
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

fn overrides_start(text: &str) -> Option<usize> {
    let mut at = 0usize;
    for line in text.split_inclusive('\n') {
        at = at.saturating_add(line.len());
        if line.trim_end() == OVERRIDES_MARK {
            return Some(at);
        }
    }
    None
}
