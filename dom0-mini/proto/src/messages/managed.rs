// SPDX-License-Identifier: MIT OR Apache-2.0
//! Managed domains: definitions that xend keeps, and that domains are started from.

use super::request::NamedBlob;
use crate::blob::Digest;
use alloc::{string::String, vec::Vec};
use minicbor::{Decode, Encode};

/// A domain to define.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Define {
    /// The configuration text (`MAX_CONFIG` bytes at most), kept byte for byte.
    #[n(0)]
    pub config: String,
    /// The configuration's file name: for messages, and whether it is a `*.hvm`.
    #[n(1)]
    pub origin: String,
    /// The blobs that stand for files on the operator's side.
    #[n(2)]
    pub files: Vec<NamedBlob>,
}

/// A managed domain to start.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Start {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Leave it paused.
    #[n(1)]
    pub paused: bool,
}

/// Another configuration for a managed domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Redefine {
    /// Its name, which the configuration has too.
    #[n(0)]
    pub name: String,
    /// The digest of the text it is made from: refused if somebody changed that meanwhile.
    #[n(1)]
    pub was: Digest,
    /// The configuration text (`MAX_CONFIG` bytes at most), kept byte for byte.
    #[n(2)]
    pub config: String,
    /// The blobs that stand for files it names anew; files it named before are kept.
    #[n(3)]
    pub files: Vec<NamedBlob>,
}

/// A managed domain is defined, or defined anew.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Defined {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Its UUID.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub uuid: [u8; 16],
    /// What the operator should know: unknown keys, keys without effect.
    #[n(2)]
    pub warnings: Vec<String>,
    /// It runs: the definition has effect at its next start.
    #[n(3)]
    pub running: bool,
}

/// How a managed domain is defined.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Definition {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Where the configuration is in the store: `/etc/xen/NAME.cfg` or `NAME.hvm`.
    #[n(1)]
    pub path: String,
    /// The configuration as it was written.
    #[n(2)]
    pub config: String,
    /// Who changed it last.
    #[n(3)]
    pub changed_by: Option<String>,
    /// When, in nanoseconds since 1970; absent without a clock.
    #[n(4)]
    pub changed_ns: Option<u64>,
    /// Why it cannot be started, if it cannot be read any more.
    #[n(5)]
    pub broken: Option<String>,
}
