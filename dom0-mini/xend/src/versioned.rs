//! Records that xend leaves in the store or with the hypervisor: CBOR maps with integer keys, their version among them.
//!
//! They are read as if anybody had written them.

use mgmt_proto::bound::{self, Limits};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// The version of a record: no other one than `N` is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version<const N: u8>;

impl<C, const N: u8> Encode<C> for Version<N> {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.u8(N)?.ok()
    }
}

impl<'b, C, const N: u8> Decode<'b, C> for Version<N> {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let version = decoder.u8()?;
        let is_known = version == N;
        is_known
            .then_some(Self)
            .ok_or_else(|| DecodeError::message("a version that is not known"))
    }
}

/// Reads a record; none if it is not one, or from the future.
pub(crate) fn read<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    bound::check(bytes, &Limits::MESSAGE).ok()?;
    minicbor::decode(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mgmt_proto::messages::encode;

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Record<const N: u8> {
        #[n(0)]
        version: Version<N>,
        #[n(1)]
        value: u32,
    }

    fn record<const N: u8>() -> Record<N> {
        Record {
            version: Version,
            value: 7,
        }
    }

    #[test]
    fn a_record_is_read_by_its_own_version_only() {
        let bytes = encode(&record::<2>());
        assert_eq!(bytes, [0xa2, 0, 2, 1, 7]);
        assert_eq!(read(&bytes), Some(record::<2>()));
        assert_eq!(read::<Record<1>>(&bytes), None);
        assert_eq!(read::<Record<3>>(&bytes), None);
    }
}
