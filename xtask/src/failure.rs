//! Why a verb failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use harness::{bundle, emulator, host};

/// A failure, told as a sentence to a developer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A file operation.
    File(PathBuf, io::Error),
    /// A program that could not be started.
    Start(String, io::Error),
    /// A program that ended with an error, after saying why itself.
    Program(String),
    /// A boot bundle could not be made.
    Bundle(bundle::Error),
    /// A machine did not start.
    Machine(emulator::Error),
    /// A host did not come up.
    Host(host::Error),
    /// Anything that one sentence says.
    Sentence(String),
}

impl Failure {
    /// For `map_err` on an operation with the file at `path`.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Failure::File(path, error)
    }

    /// A failure told by `sentence`.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Failure::Sentence(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::File(path, error) => write!(f, "{}: {error}", path.display()),
            Failure::Start(program, error) => write!(f, "cannot start {program}: {error}"),
            Failure::Program(line) => write!(f, "failed: {line}"),
            Failure::Bundle(error) => error.fmt(f),
            Failure::Machine(error) => error.fmt(f),
            Failure::Host(error) => error.fmt(f),
            Failure::Sentence(sentence) => f.write_str(sentence),
        }
    }
}

impl From<bundle::Error> for Failure {
    fn from(error: bundle::Error) -> Self {
        Failure::Bundle(error)
    }
}

impl From<emulator::Error> for Failure {
    fn from(error: emulator::Error) -> Self {
        Failure::Machine(error)
    }
}

impl From<host::Error> for Failure {
    fn from(error: host::Error) -> Self {
        Failure::Host(error)
    }
}
