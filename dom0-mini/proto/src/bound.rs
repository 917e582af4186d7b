// SPDX-License-Identifier: MIT OR Apache-2.0
//! A look at CBOR (RFC 8949) before it is decoded.
//!
//! [`check`] accepts exactly one item of definite length, made of integers, byte and text strings,
//! arrays, maps, booleans and null, within [`Limits`]. Tags, floating point, other simple values and
//! indefinite lengths have no place in this protocol. What it accepts can be decoded without a length
//! from outside ever deciding an allocation: every string and collection it announces is really there.

use core::fmt;

/// How much an encoded item may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in all.
    pub length: usize,
    /// Arrays and maps within each other.
    pub nesting: usize,
    /// Elements of one array, or entries of one map.
    pub elements: u64,
    /// Bytes of one text string.
    pub text: u64,
    /// Bytes of one byte string.
    pub bytes: u64,
}

impl Limits {
    /// For one message of a session.
    pub const MESSAGE: Self = Self {
        length: crate::MAX_MESSAGE,
        nesting: 16,
        elements: 1024,
        text: 48 * 1024,
        bytes: 72 * 1024,
    };
}

/// Why an item is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundError {
    /// More bytes than allowed.
    TooLong {
        /// How many are allowed.
        limit: usize,
    },
    /// The bytes end within an item.
    CutOff,
    /// Bytes follow the item.
    Trailing,
    /// Too many arrays and maps within each other.
    TooDeep,
    /// A string is longer than allowed.
    LongString,
    /// A collection has more elements than allowed.
    ManyElements,
    /// A tag, a float, an indefinite length or a reserved encoding.
    Kind(u8),
    /// A text string is not UTF-8.
    NotUtf8,
}

impl fmt::Display for BoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "it is longer than {limit} bytes"),
            Self::CutOff => f.write_str("it is cut off"),
            Self::Trailing => f.write_str("bytes follow its end"),
            Self::TooDeep => f.write_str("it is nested too deeply"),
            Self::LongString => f.write_str("a string in it is too long"),
            Self::ManyElements => f.write_str("a collection in it has too many elements"),
            Self::Kind(byte) => write!(
                f,
                "it has an item of a kind not allowed here (0x{byte:02x})"
            ),
            Self::NotUtf8 => f.write_str("a text in it is not UTF-8"),
        }
    }
}

impl core::error::Error for BoundError {}

/// The deepest nesting any [`Limits`] may ask for.
const MAX_NESTING: usize = 16;

/// Accepts `bytes` if they are one item within `limits`.
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), BoundError> {
    if bytes.len() > limits.length {
        return Err(BoundError::TooLong {
            limit: limits.length,
        });
    }
    let mut scan = Scan {
        rest: bytes,
        limits,
        open: [0; MAX_NESTING],
        depth: 0,
    };
    scan.item()?;
    while scan.depth > 0 {
        scan.step()?;
    }
    if scan.rest.is_empty() {
        Ok(())
    } else {
        Err(BoundError::Trailing)
    }
}

/// The scan's place: what is left, and how many items each open collection still wants.
struct Scan<'a> {
    rest: &'a [u8],
    limits: &'a Limits,
    open: [u64; MAX_NESTING],
    depth: usize,
}

impl Scan<'_> {
    /// Takes one item of the innermost open collection, or closes it.
    fn step(&mut self) -> Result<(), BoundError> {
        let Some(wanted) = self
            .depth
            .checked_sub(1)
            .and_then(|top| self.open.get_mut(top))
        else {
            return Ok(());
        };
        if *wanted == 0 {
            self.depth = self.depth.saturating_sub(1);
            return Ok(());
        }
        *wanted = wanted.saturating_sub(1);
        self.item()
    }

    /// Takes an item's head, and its body unless it is a collection.
    fn item(&mut self) -> Result<(), BoundError> {
        let first = *self.take(1)?.first().ok_or(BoundError::CutOff)?;
        let kind = first >> 5;
        if kind == 7 {
            return match first & 0x1f {
                20..=22 => Ok(()),
                _ => Err(BoundError::Kind(first)),
            };
        }
        let argument = self.argument(first)?;
        match kind {
            0 | 1 => Ok(()),
            2 => self.string(argument, self.limits.bytes).map(drop),
            3 => self.text(argument),
            4 => self.enter(argument, 1),
            5 => self.enter(argument, 2),
            _ => Err(BoundError::Kind(first)),
        }
    }

    fn argument(&mut self, first: u8) -> Result<u64, BoundError> {
        let length = match first & 0x1f {
            small @ 0..=23 => return Ok(u64::from(small)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(BoundError::Kind(first)),
        };
        let bytes = self.take(length)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: u64) -> Result<(), BoundError> {
        let bytes = self.string(length, self.limits.text)?;
        core::str::from_utf8(bytes)
            .map(drop)
            .map_err(|_| BoundError::NotUtf8)
    }

    fn string(&mut self, length: u64, limit: u64) -> Result<&[u8], BoundError> {
        if length > limit {
            return Err(BoundError::LongString);
        }
        self.take(usize::try_from(length).map_err(|_| BoundError::LongString)?)
    }

    fn enter(&mut self, elements: u64, items_each: u64) -> Result<(), BoundError> {
        if elements > self.limits.elements {
            return Err(BoundError::ManyElements);
        }
        if self.depth >= self.limits.nesting {
            return Err(BoundError::TooDeep);
        }
        let slot = self.open.get_mut(self.depth).ok_or(BoundError::TooDeep)?;
        *slot = elements.saturating_mul(items_each);
        self.depth = self.depth.saturating_add(1);
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&[u8], BoundError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(BoundError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    fn check_message(bytes: &[u8]) -> Result<(), BoundError> {
        check(bytes, &Limits::MESSAGE)
    }

    #[test]
    fn accepts_plain_items() {
        for bytes in [
            &b"\x00"[..],
            b"\x82\x01\xa1\x00\x61x",
            b"\xf6",
            b"\x38\xff",
            b"\x80",
            b"\xa0",
        ] {
            assert_eq!(check_message(bytes), Ok(()), "{bytes:02x?}");
        }
    }

    #[test]
    fn refuses_what_is_cut_off_or_followed() {
        assert_eq!(check_message(b""), Err(BoundError::CutOff));
        assert_eq!(check_message(b"\x82\x01"), Err(BoundError::CutOff));
        assert_eq!(check_message(b"\x19\x01"), Err(BoundError::CutOff));
        assert_eq!(check_message(b"\x01\x01"), Err(BoundError::Trailing));
    }

    #[test]
    fn refuses_lengths_before_looking_for_the_bytes() {
        assert_eq!(
            check_message(b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"),
            Err(BoundError::LongString)
        );
        assert_eq!(
            check_message(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
            Err(BoundError::ManyElements)
        );
        assert_eq!(
            check_message(b"\xba\xff\xff\xff\xff"),
            Err(BoundError::ManyElements)
        );
        assert_eq!(
            check_message(&vec![0; crate::MAX_MESSAGE + 1]).unwrap_err(),
            BoundError::TooLong {
                limit: crate::MAX_MESSAGE
            }
        );
    }

    #[test]
    fn refuses_the_seventeenth_level() {
        let nested =
            |depth: usize| -> Vec<u8> { core::iter::repeat_n(0x81, depth).chain([0]).collect() };
        assert_eq!(check_message(&nested(16)), Ok(()));
        assert_eq!(check_message(&nested(17)), Err(BoundError::TooDeep));
    }

    #[test]
    fn refuses_tags_floats_and_indefinite_lengths() {
        for first in [0xc0, 0xf9, 0xfb, 0xf7, 0x5f, 0x7f, 0x9f, 0xbf, 0xff, 0x1c] {
            assert!(
                matches!(
                    check_message(&[first, 0, 0, 0, 0, 0, 0, 0, 0]),
                    Err(BoundError::Kind(_))
                ),
                "{first:02x}"
            );
        }
        assert_eq!(check_message(b"\x61\xff"), Err(BoundError::NotUtf8));
    }
}
