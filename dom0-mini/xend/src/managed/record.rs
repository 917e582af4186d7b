//! What a definition's text does not say, as it is kept beside it.

use crate::versioned::{self, Version};
use alloc::string::String;
use alloc::vec::Vec;
use mgmt_proto::messages::{NamedBlob, Totals};
use minicbor::{Decode, Encode};

/// The record of a definition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Record {
    #[n(0)]
    version: Version<1>,
    /// The domain's UUID.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) uuid: [u8; 16],
    /// The uploaded files that the configuration names.
    #[n(2)]
    pub(crate) files: Vec<NamedBlob>,
    /// Who changed the definition last.
    #[n(3)]
    pub(crate) changed_by: Option<String>,
    /// When, in nanoseconds since 1970, where there was a clock.
    #[n(4)]
    pub(crate) changed_ns: Option<u64>,
    /// What its runs used that are over.
    #[n(5)]
    pub(crate) totals: Option<Totals>,
}

impl Record {
    pub(crate) fn new(
        uuid: [u8; 16],
        files: Vec<NamedBlob>,
        changed_by: String,
        changed_ns: Option<u64>,
    ) -> Self {
        Self {
            version: Version,
            uuid,
            files,
            changed_by: Some(changed_by),
            changed_ns,
            totals: None,
        }
    }

    /// The same, with what earlier runs used.
    pub(crate) fn with_totals(mut self, totals: Option<Totals>) -> Self {
        self.totals = totals;
        self
    }

    /// What takes the place of one that cannot be read.
    pub(crate) fn lost(uuid: Option<[u8; 16]>) -> Self {
        Self {
            version: Version,
            uuid: uuid.unwrap_or_default(),
            files: Vec::new(),
            changed_by: None,
            changed_ns: None,
            totals: None,
        }
    }

    /// Whether nobody knows who wrote it: its UUID may be lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.changed_by.is_none()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        mgmt_proto::messages::encode(self)
    }

    /// Reads a record; none if it is not one, or from the future.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        versioned::read(bytes)
    }
}
