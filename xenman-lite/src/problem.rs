// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a command failed, as the operator is told.

use crate::link::LinkError;
use mgmt_proto::messages::{ErrorCode, Failure};
use std::{fmt, io};

/// A failure and the exit status that goes with it. Displayed, it is all lines to print.
#[derive(Debug)]
pub(crate) struct Problem {
    /// 1 refused or failed, 2 usage, 3 cannot reach xend, 128 and a signal's number: interrupted.
    pub(crate) status: u8,
    /// xend's code, if the failure is its.
    pub(crate) code: Option<ErrorCode>,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
    /// Whether the message is a text of its own, to be shown without the program's name before it.
    plain: bool,
}

impl Problem {
    /// Something failed or was refused.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            status: 1,
            code: None,
            message: message.into(),
            remedy: None,
            plain: false,
        }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            status: 2,
            ..Self::new(message)
        }
    }

    /// The command line says nothing: the answer is how to use it.
    pub(crate) fn usage_text(text: String) -> Self {
        Self {
            plain: true,
            ..Self::usage(text)
        }
    }

    pub(crate) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds a remedy where there is none yet.
    pub(crate) fn with_remedy_if_none(mut self, remedy: &str) -> Self {
        self.remedy.get_or_insert_with(|| remedy.to_owned());
        self
    }

    /// Says what an interruption left behind.
    pub(crate) fn if_interrupted(self, left: &str) -> Self {
        if self.status > 128 {
            self.with_remedy(left)
        } else {
            self
        }
    }

    /// Doing something to a file failed.
    pub(crate) fn file(doing: &str, path: &str, error: &io::Error) -> Self {
        Self::new(format!("cannot {doing} {path}: {}", explain(error)))
    }

    /// xend's answer is not one to the request.
    pub(crate) fn nonsense(what: &str) -> Self {
        LinkError::Nonsense(format!("it is not {what}")).into()
    }

    /// Whether xend gave this code.
    pub(crate) fn is(&self, code: ErrorCode) -> bool {
        self.code == Some(code)
    }
}

/// A system error as a sentence's end, without the number.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission is denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::StorageFull => "the disk is full".into(),
        _ => error.to_string(),
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        let status = error.exit_status();
        match error {
            LinkError::Failed(failure) => failure.into(),
            other => Self {
                status,
                ..Self::new(other.to_string())
            },
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self {
            code: Some(failure.code),
            remedy: failure.remedy,
            ..Self::new(failure.message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain {
            return f.write_str(self.message.trim_end());
        }
        write!(f, "xenman: {}", self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  help: {remedy}"),
            None => Ok(()),
        }
    }
}
