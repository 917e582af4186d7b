// SPDX-License-Identifier: MIT OR Apache-2.0
//! The values of a configuration.

use alloc::{string::String, vec::Vec};
use core::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `"text"` or `'text'`.
    String(String),
    /// `12`, `0x0c` or `014`.
    Integer(u64),
    /// `[ … ]`.
    List(Vec<Node>),
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its offset in the text.
    pub at: usize,
}

impl Value {
    /// Whether it says nothing: `""`, `0`, `[]`, or a list of such.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::String(text) => text.is_empty(),
            Self::Integer(number) => *number == 0,
            Self::List(items) => items.is_empty(),
        }
    }

    /// What kind of value it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a number",
            Self::List(_) => "a list",
        }
    }

    /// Whether `other` is the same, wherever both stand.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(ours), Self::List(theirs)) => {
                ours.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs)
                        .all(|(ours, theirs)| ours.value.same(&theirs.value))
            }
            _ => self == other,
        }
    }

    /// This value with `more` appended, as `+=` does it.
    pub(super) fn append(&mut self, more: &Self) -> Result<(), ()> {
        match (self, more) {
            (Self::String(text), Self::String(more)) => text.push_str(more),
            (Self::List(items), Self::List(more)) => items.extend_from_slice(more),
            _ => return Err(()),
        }
        Ok(())
    }
}

/// As a configuration writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => quoted(text, f),
            Self::Integer(number) => write!(f, "{number}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    f.write_str(if index == 0 { " " } else { ", " })?;
                    item.value.fmt(f)?;
                }
                f.write_str(" ]")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write;
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
