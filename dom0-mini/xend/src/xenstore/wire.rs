//! The wire protocol: message headers, message types, error names and payload strings, after Xen's public
//! `io/xs_wire.h` and `docs/misc/xenstore.txt`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Bytes of a message header.
pub const HEADER_BYTES: usize = 16;

/// Most bytes of payload in one message.
pub const PAYLOAD_MAX: usize = 4096;

/// A message type. Unknown ones are representable: they are answered with ENOSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u32);

impl Kind {
    /// Tool commands to the store itself.
    pub const CONTROL: Self = Self(0);
    /// Names of a node's children.
    pub const DIRECTORY: Self = Self(1);
    /// A node's value.
    pub const READ: Self = Self(2);
    /// A node's permissions.
    pub const GET_PERMS: Self = Self(3);
    /// Asks for events.
    pub const WATCH: Self = Self(4);
    /// Ends a watch.
    pub const UNWATCH: Self = Self(5);
    /// Begins a transaction.
    pub const TRANSACTION_START: Self = Self(6);
    /// Commits or drops a transaction.
    pub const TRANSACTION_END: Self = Self(7);
    /// Tells the store of a domain; tools only.
    pub const INTRODUCE: Self = Self(8);
    /// Takes a domain's connection away; tools only.
    pub const RELEASE: Self = Self(9);
    /// The home path of a domain.
    pub const GET_DOMAIN_PATH: Self = Self(10);
    /// Sets a node's value, creating it.
    pub const WRITE: Self = Self(11);
    /// Creates a node without a value.
    pub const MKDIR: Self = Self(12);
    /// Removes a node and all below it.
    pub const RM: Self = Self(13);
    /// Sets a node's permissions.
    pub const SET_PERMS: Self = Self(14);
    /// Sent by us: something watched has changed.
    pub const WATCH_EVENT: Self = Self(15);
    /// Sent by us: the request failed.
    pub const ERROR: Self = Self(16);
    /// Whether a domain is connected.
    pub const IS_DOMAIN_INTRODUCED: Self = Self(17);
    /// Tools only.
    pub const RESUME: Self = Self(18);
    /// Tools only.
    pub const SET_TARGET: Self = Self(19);
    /// Drops all watches and transactions of the caller.
    pub const RESET_WATCHES: Self = Self(21);
    /// A part of a list of children too long for one message.
    pub const DIRECTORY_PART: Self = Self(22);
}

/// What precedes every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message type.
    pub kind: Kind,
    /// Chosen by the client, repeated in the reply.
    pub request: u32,
    /// The transaction, or 0.
    pub transaction: u32,
    /// Bytes of payload.
    pub length: u32,
}

impl Header {
    /// Reads a header from the first 16 bytes, if there are so many.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.first_chunk::<HEADER_BYTES>()?.as_chunks::<4>();
        let [kind, request, transaction, length] = words else {
            return None;
        };
        Some(Self {
            kind: Kind(u32::from_le_bytes(*kind)),
            request: u32::from_le_bytes(*request),
            transaction: u32::from_le_bytes(*transaction),
            length: u32::from_le_bytes(*length),
        })
    }

    /// Bytes of the whole message.
    pub fn message_bytes(&self) -> usize {
        usize::try_from(self.length)
            .unwrap_or(usize::MAX)
            .saturating_add(HEADER_BYTES)
    }

    /// The complete message: this header, with the right length, and `payload`.
    pub fn message(&self, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut message = Vec::with_capacity(HEADER_BYTES.saturating_add(payload.len()));
        for word in [self.kind.0, self.request, self.transaction, length] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        message.extend_from_slice(payload);
        message
    }
}

/// Why a request failed; on the wire, a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// The request makes no sense as it is written.
    Invalid,
    /// The caller has no right to do this.
    Access,
    /// It exists already.
    Exists,
    /// It does not exist.
    NoEntry,
    /// A quota is used up.
    NoSpace,
    /// There is no such request.
    NotSupported,
    /// A transaction inside a transaction.
    Busy,
    /// Somebody else changed what this transaction looked at: do it again.
    Again,
    /// Too long for one message, or too many watches.
    TooBig,
    /// Only tools may give nodes away.
    NotPermitted,
}

impl Errno {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "EINVAL",
            Self::Access => "EACCES",
            Self::Exists => "EEXIST",
            Self::NoEntry => "ENOENT",
            Self::NoSpace => "ENOSPC",
            Self::NotSupported => "ENOSYS",
            Self::Busy => "EBUSY",
            Self::Again => "EAGAIN",
            Self::TooBig => "E2BIG",
            Self::NotPermitted => "EPERM",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The payload as exactly `N` strings, each ended by a zero byte, with nothing behind them.
pub(super) fn strings<const N: usize>(payload: &[u8]) -> Result<[&str; N], Errno> {
    let body = payload.strip_suffix(b"\0").ok_or(Errno::Invalid)?;
    let mut parts = body.split(|byte| *byte == 0);
    let mut result = [""; N];
    for slot in &mut result {
        *slot = text(parts.next().ok_or(Errno::Invalid)?)?;
    }
    parts.next().map_or(Ok(result), |_| Err(Errno::Invalid))
}

/// One string ended by a zero byte, and the bytes behind it.
pub(super) fn string_and_rest(payload: &[u8]) -> Result<(&str, &[u8]), Errno> {
    let end = payload
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(Errno::Invalid)?;
    let (string, rest) = payload.split_at_checked(end).ok_or(Errno::Invalid)?;
    Ok((text(string)?, rest.strip_prefix(b"\0").unwrap_or_default()))
}

/// `string` as it goes into a payload.
pub(super) fn terminated(string: &str) -> Vec<u8> {
    let mut bytes = string.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// A decimal number as it goes into a payload.
pub(super) fn number(value: u64) -> Vec<u8> {
    let text: String = value.to_string();
    terminated(&text)
}

fn text(bytes: &[u8]) -> Result<&str, Errno> {
    core::str::from_utf8(bytes).map_err(|_| Errno::Invalid)
}

#[cfg(test)]
mod tests {
    use super::{Errno, Header, Kind, string_and_rest, strings};

    #[test]
    fn a_header_is_four_little_endian_words() {
        let header = Header {
            kind: Kind::READ,
            request: 7,
            transaction: 0x0102,
            length: 4,
        };
        let message = header.message(b"a/b\0");
        assert_eq!(message, b"\x02\0\0\0\x07\0\0\0\x02\x01\0\0\x04\0\0\0a/b\0");
        assert_eq!(Header::parse(&message), Some(header));
        assert_eq!(Header::parse(&message[..15]), None);
    }

    #[test]
    fn strings_are_counted_and_terminated_exactly() {
        assert_eq!(strings(b"a\0bc\0"), Ok(["a", "bc"]));
        assert_eq!(strings(b"\0"), Ok([""]));
        for bad in [
            b"a\0b".as_slice(),
            b"a\0",
            b"a\0b\0c\0",
            b"",
            b"a\0b\0\0",
            b"\xff\0b\0",
        ] {
            assert_eq!(strings::<2>(bad), Err(Errno::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn a_value_may_hold_any_bytes() {
        assert_eq!(
            string_and_rest(b"path\0\0\xff\0"),
            Ok(("path", b"\0\xff\0".as_slice()))
        );
        assert_eq!(string_and_rest(b"path\0"), Ok(("path", b"".as_slice())));
        assert_eq!(string_and_rest(b"path"), Err(Errno::Invalid));
    }
}
