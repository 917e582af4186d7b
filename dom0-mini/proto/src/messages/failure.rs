// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a request was not done: a stable code for programs, a sentence for people.

use alloc::string::String;
use core::fmt;
use minicbor::{Decode, Encode};

/// A stable error code. Codes are never reused; a client treats one it does not know as
/// [`ErrorCode::INTERNAL`] and shows the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ErrorCode(#[n(0)] pub u16);

impl ErrorCode {
    /// The request is malformed or makes no sense.
    pub const BAD_REQUEST: Self = Self(1);
    /// xend does not speak the client's protocol version.
    pub const UNSUPPORTED_VERSION: Self = Self(2);
    /// The message is larger than the protocol allows.
    pub const TOO_LARGE: Self = Self(3);
    /// xend does not know this request: it is older than the client.
    pub const UNKNOWN_REQUEST: Self = Self(4);
    /// The request came before `Hello`.
    pub const NO_HELLO: Self = Self(5);
    /// No domain has this name or number.
    pub const UNKNOWN_DOMAIN: Self = Self(16);
    /// Another domain has this name already.
    pub const NAME_IN_USE: Self = Self(17);
    /// Not enough memory, frames or table space.
    pub const NO_MEMORY: Self = Self(18);
    /// The domain's state does not allow this.
    pub const WRONG_STATE: Self = Self(19);
    /// Another long operation on the same thing is under way.
    pub const BUSY: Self = Self(20);
    /// The configuration has an error.
    pub const BAD_CONFIG: Self = Self(21);
    /// A kernel or initrd is missing, corrupt or of the wrong kind.
    pub const BAD_IMAGE: Self = Self(22);
    /// An upload or a blob is unknown, incomplete or does not match its id.
    pub const BAD_BLOB: Self = Self(23);
    /// A snapshot is truncated, corrupt, from the future or not for this host.
    pub const BAD_SNAPSHOT: Self = Self(24);
    /// The feature is not there (yet).
    pub const REFUSED: Self = Self(25);
    /// The operation was cut off: its session ended, or its domain went away.
    pub const INTERRUPTED: Self = Self(26);
    /// The operation did not finish within the time given.
    pub const TIMED_OUT: Self = Self(27);
    /// No snapshot has this label.
    pub const UNKNOWN_SNAPSHOT: Self = Self(28);
    /// The guest does not do its part (no front-end, no answer).
    pub const GUEST: Self = Self(29);
    /// The host's store cannot keep it: it is full, or read-only.
    pub const STORE: Self = Self(30);
    /// A mistake in xend or the hypervisor; please report it.
    pub const INTERNAL: Self = Self(255);

    /// The code's name, for `--json` and logs; `unknown` for one from the future.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BAD_REQUEST => "bad-request",
            Self::UNSUPPORTED_VERSION => "unsupported-version",
            Self::TOO_LARGE => "too-large",
            Self::UNKNOWN_REQUEST => "unknown-request",
            Self::NO_HELLO => "no-hello",
            Self::UNKNOWN_DOMAIN => "unknown-domain",
            Self::NAME_IN_USE => "name-in-use",
            Self::NO_MEMORY => "no-memory",
            Self::WRONG_STATE => "wrong-state",
            Self::BUSY => "busy",
            Self::BAD_CONFIG => "bad-config",
            Self::BAD_IMAGE => "bad-image",
            Self::BAD_BLOB => "bad-blob",
            Self::BAD_SNAPSHOT => "bad-snapshot",
            Self::REFUSED => "refused",
            Self::INTERRUPTED => "interrupted",
            Self::TIMED_OUT => "timed-out",
            Self::UNKNOWN_SNAPSHOT => "unknown-snapshot",
            Self::GUEST => "guest",
            Self::STORE => "store",
            Self::INTERNAL => "internal",
            _ => "unknown",
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Failure {
    /// For programs.
    #[n(0)]
    pub code: ErrorCode,
    /// For people: one sentence naming the cause. May have several lines (a configuration error shows
    /// the place).
    #[n(1)]
    pub message: String,
    /// What the operator can do about it.
    #[n(2)]
    pub remedy: Option<String>,
}

impl Failure {
    /// A failure with no remedy to offer.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            remedy: None,
        }
    }

    /// The same failure with a remedy.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const GUIDE: &str = include_str!("../../../../docs/guide/errors.md");

    #[test]
    fn the_guide_has_every_code_and_no_other() {
        let rows = GUIDE.lines().filter(|line| line.starts_with("| `"));
        let told: Vec<(u16, &str)> = rows
            .map(|row| {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                assert!(cells[3..5].iter().all(|cell| !cell.is_empty()), "{row}");
                (cells[2].parse().unwrap(), cells[1].trim_matches('`'))
            })
            .collect();
        let known = (0..=u16::MAX).map(|code| (code, ErrorCode(code).name()));
        let known: Vec<_> = known.filter(|(_, name)| *name != "unknown").collect();
        assert_eq!(told, known);
    }
}
