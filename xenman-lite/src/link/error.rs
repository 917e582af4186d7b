// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong on the way to xend and there.

use super::Host;
use mgmt_proto::messages::Failure;
use std::{fmt, io, path::PathBuf};

/// Why something could not be had from xend.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The HOST argument makes no sense, or names a transport that is not there.
    BadHost(String),
    /// No way to xend: exit status 3.
    Unreachable {
        /// Which host.
        host: Host,
        /// Why.
        cause: String,
    },
    /// xend refused the session or the request, or failed.
    Failed(Failure),
    /// xend said what nobody should.
    Nonsense(String),
    /// The operator interrupted it, with this signal.
    Interrupted(i32),
    /// The broker's socket is in use already.
    InUse(PathBuf),
    /// The broker cannot listen.
    Listen(PathBuf, io::Error),
}

impl LinkError {
    pub(super) fn unreachable(host: &Host, cause: impl fmt::Display) -> Self {
        Self::Unreachable {
            host: host.clone(),
            cause: cause.to_string(),
        }
    }

    /// The exit status that goes with it.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::BadHost(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Interrupted(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(1),
            _ => 1,
        }
    }

    /// xend's own word, if it is one.
    #[cfg(test)]
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHost(sentence) => f.write_str(sentence),
            Self::Unreachable { host, cause } => write!(f, "cannot reach xend at {host}: {cause}"),
            Self::Failed(failure) => failure.fmt(f),
            Self::Nonsense(what) => write!(f, "xend's answer makes no sense: {what}"),
            Self::Interrupted(_) => f.write_str("interrupted"),
            Self::InUse(path) => {
                write!(
                    f,
                    "another broker already listens on {} (end it, or choose another socket)",
                    path.display()
                )
            }
            Self::Listen(path, error) => write!(f, "cannot listen on {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LinkError {}
