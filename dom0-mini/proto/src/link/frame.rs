// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames on the wire.
//!
//! A frame is `sequence u16, ack u16, session u16, stream u16, kind u8, payload, CRC-32C u32`, all
//! little-endian, COBS-encoded and ended by a zero byte. So a receiver that starts in the middle, or
//! lost something, is in step again at the next zero byte; what is damaged is dropped without a word.

use super::MAX_PAYLOAD;
use alloc::vec::Vec;
use crc::{CRC_32_ISCSI, Crc};

/// CRC-32C, Castagnoli's polynomial.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Bytes before the payload.
const HEADER: usize = 9;

/// The longest frame, encoded, without its zero byte.
pub(super) const MAX_ENCODED: usize = cobs::max_encoding_length(HEADER + MAX_PAYLOAD + 4);

/// What a frame is for. Kinds below 0x80 have a sequence number and are resent until acknowledged; an
/// unknown one is acknowledged and otherwise ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    /// A piece of a message; more follows.
    pub const DATA: Self = Self(0);
    /// The last piece of a message.
    pub const DATA_END: Self = Self(1);
    /// The receiver of a stream has room for more: the payload is a u32.
    pub const CREDIT: Self = Self(2);
    /// The owner opens a session.
    pub const OPEN: Self = Self(3);
    /// Either side ends a session; the payload is a [`Reason`](super::Reason).
    pub const BYE: Self = Self(4);
    /// The owner shows that the session is alive.
    pub const PING: Self = Self(5);
    /// The server does.
    pub const PONG: Self = Self(6);

    /// Says how far this side has received; carries nothing else.
    pub const ACK: Self = Self(0x80);
    /// The same, and that a gap follows: the peer should go back.
    pub const NACK: Self = Self(0x81);
    /// The owner starts anew; the payload is a [`Greeting`].
    pub const RESET: Self = Self(0x82);
    /// The server has started anew; the payload is its [`Greeting`] with the owner's nonce.
    pub const RESET_ACK: Self = Self(0x83);
    /// The server has no link, or not this one: the owner should start anew.
    pub const LOST: Self = Self(0x84);

    /// Whether frames of this kind have a sequence number.
    pub(super) const fn is_sequenced(self) -> bool {
        self.0 < 0x80
    }
}

/// A frame but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The frame's number, counted from 0 since the reset; 0 where the kind has none.
    pub sequence: u16,
    /// The number of the next frame its sender expects.
    pub ack: u16,
    /// The session; 0 is the link itself.
    pub session: u16,
    /// The stream within the session.
    pub stream: u16,
    /// What it is for.
    pub kind: Kind,
}

/// Appends a frame, encoded and ended, to `wire`.
pub fn encode(head: &Head, payload: &[u8], wire: &mut Vec<u8>) {
    let mut raw = Vec::with_capacity(HEADER.saturating_add(payload.len()).saturating_add(4));
    for field in [head.sequence, head.ack, head.session, head.stream] {
        raw.extend_from_slice(&field.to_le_bytes());
    }
    raw.push(head.kind.0);
    raw.extend_from_slice(payload);
    let crc = CRC.checksum(&raw);
    raw.extend_from_slice(&crc.to_le_bytes());
    let start = wire.len();
    wire.resize(
        start.saturating_add(cobs::max_encoding_length(raw.len())),
        0,
    );
    let room = wire.get_mut(start..).unwrap_or_default();
    let length = cobs::try_encode(&raw, room).unwrap_or(0);
    wire.truncate(start.saturating_add(length));
    wire.push(0);
}

/// Reads a frame, its zero byte removed; nothing if it is damaged.
pub fn decode(encoded: &mut [u8]) -> Option<(Head, &[u8])> {
    let length = cobs::decode_in_place(encoded).ok()?;
    let (body, crc) = encoded.get(..length)?.split_last_chunk::<4>()?;
    if CRC.checksum(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (fields, rest) = body.split_at_checked(8)?;
    let (kind, payload) = rest.split_first()?;
    let field = |i: usize| Some(u16::from_le_bytes(*fields.get(i..)?.first_chunk::<2>()?));
    let head = Head {
        sequence: field(0)?,
        ack: field(2)?,
        session: field(4)?,
        stream: field(6)?,
        kind: Kind(*kind),
    };
    (payload.len() <= MAX_PAYLOAD).then_some((head, payload))
}

/// Bytes gathered up to the next zero byte.
#[derive(Debug, Default)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    overlong: bool,
}

impl Gather {
    /// Takes bytes up to and including the first zero byte; returns the rest, and whether a frame is
    /// complete now ([`Self::frame`]).
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], bool) {
        let (piece, rest, ended) = match bytes.iter().position(|byte| *byte == 0) {
            Some(end) => {
                let (piece, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
                (piece, rest.get(1..).unwrap_or_default(), true)
            }
            None => (bytes, &[][..], false),
        };
        self.overlong |= self.bytes.len().saturating_add(piece.len()) > MAX_ENCODED;
        if self.overlong {
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(piece);
        }
        (rest, ended)
    }

    /// The gathered frame's bytes, leaving nothing behind; empty if they were too many.
    pub(super) fn frame(&mut self) -> Vec<u8> {
        self.overlong = false;
        core::mem::take(&mut self.bytes)
    }
}

/// What the two sides tell each other at a reset; each then sends within what both can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) nonce: u64,
    pub(super) version: u8,
    pub(super) payload: u16,
    pub(super) window: u32,
}

impl Greeting {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(15);
        bytes.extend_from_slice(&self.nonce.to_le_bytes());
        bytes.push(self.version);
        bytes.extend_from_slice(&self.payload.to_le_bytes());
        bytes.extend_from_slice(&self.window.to_le_bytes());
        bytes
    }

    /// Later versions may append fields.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (nonce, rest) = bytes.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first()?;
        let (payload, rest) = rest.split_first_chunk::<2>()?;
        let (window, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            nonce: u64::from_le_bytes(*nonce),
            version: *version,
            payload: u16::from_le_bytes(*payload),
            window: u32::from_le_bytes(*window),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const HEAD: Head = Head {
        sequence: 0xfffe,
        ack: 3,
        session: 7,
        stream: 1,
        kind: Kind::DATA,
    };

    #[test]
    fn frames_come_back_as_they_went() {
        for payload in [
            vec![],
            vec![0; 700],
            vec![1; MAX_PAYLOAD],
            (0..=255).collect::<Vec<u8>>(),
        ] {
            let mut wire = vec![9];
            encode(&HEAD, &payload, &mut wire);
            assert_eq!(
                wire.iter().position(|byte| *byte == 0),
                Some(wire.len() - 1)
            );
            assert!(wire.len() - 2 <= MAX_ENCODED);
            let length = wire.len() - 1;
            assert_eq!(decode(&mut wire[1..length]), Some((HEAD, &payload[..])));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut wire = Vec::new();
        encode(&HEAD, b"some keys", &mut wire);
        wire.pop();
        for bit in 0..wire.len() * 8 {
            let mut bad = wire.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&mut bad), None, "bit {bit}");
        }
    }

    #[test]
    fn an_overlong_frame_is_dropped_and_the_next_one_read() {
        let mut gather = Gather::default();
        let flood = vec![1; MAX_ENCODED];
        assert!(!gather.take(&flood).1 && !gather.take(&flood).1);
        let (rest, ended) = gather.take(b"\x01\0rest");
        assert!(ended && rest == b"rest" && gather.frame().is_empty());
        assert!(!gather.take(rest).1);
        assert!(gather.take(&[0]).1 && gather.frame() == b"rest");
    }

    #[test]
    fn a_greeting_from_later_still_reads() {
        let greeting = Greeting {
            nonce: 5,
            version: 1,
            payload: 512,
            window: 4096,
        };
        let mut bytes = greeting.encode();
        bytes.push(1);
        assert_eq!(Greeting::decode(&bytes), Some(greeting));
        assert_eq!(Greeting::decode(&bytes[..14]), None);
    }
}
