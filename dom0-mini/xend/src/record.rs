//! What xend leaves with the hypervisor about each domain, to find it again after a restart of Domain-0.
//!
//! A CBOR map of at most [`BLOB_MAX`] bytes: name, guest's configuration if it fits, its hash if not. The UUID is the
//! hypervisor's to keep.

use crate::versioned::{self, Version};
use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::control::domain::BLOB_MAX;
use mgmt_proto::blob::Digest;
use minicbor::{Decode, Encode};

/// What xend knows of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Record {
    #[n(0)]
    version: Version<1>,
    /// The domain's name.
    #[n(1)]
    pub(crate) name: String,
    /// The hash of its configuration text.
    #[n(2)]
    pub(crate) config_hash: Digest,
    /// The text, if the record has room for it.
    #[n(3)]
    pub(crate) config: Option<String>,
    /// The four policies, as [`crate::domain`] numbers them: what is needed most if the text is not there.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(crate) policies: [u8; 4],
}

impl Record {
    /// The record of a domain with this name and configuration.
    #[must_use]
    pub(crate) fn new(name: &str, config: &str, policies: [u8; 4]) -> Self {
        Self {
            version: Version,
            name: name.into(),
            config_hash: Digest(*blake3::hash(config.as_bytes()).as_bytes()),
            config: Some(config.into()),
            policies,
        }
    }

    /// The record's bytes, without the configuration if they would be too many.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let whole = mgmt_proto::messages::encode(self);
        if whole.len() <= BLOB_MAX {
            return whole;
        }
        let short = Self {
            config: None,
            ..self.clone()
        };
        mgmt_proto::messages::encode(&short)
    }

    /// Reads a record; none if it is not one, or from the future.
    #[must_use]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        versioned::read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Record;
    use hv_abi::control::domain::BLOB_MAX;

    #[test]
    fn a_record_comes_back_as_it_went() {
        let record = Record::new("guest", "name = \"guest\"\n", [0, 1, 2, 3]);
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }

    #[test]
    fn a_long_configuration_is_left_out_and_its_hash_remains() {
        let text = "# a comment\n".repeat(1000);
        let record = Record::new(&"n".repeat(64), &text, [0; 4]);
        let bytes = record.encode();
        assert!(bytes.len() <= BLOB_MAX);
        let back = Record::decode(&bytes).unwrap();
        assert_eq!((back.config, back.config_hash), (None, record.config_hash));
    }

    #[test]
    fn what_is_not_a_record_is_none() {
        let bytes = Record::new("guest", "", [0; 4]).encode();
        for length in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..length]), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let _ = Record::decode(&bad);
        }
        assert_eq!(Record::decode(&[0; 4096]), None);
    }
}
