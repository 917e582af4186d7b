// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to bytes and back. Decoding looks at the whole message first ([`crate::bound`]), so that
//! nothing a peer sends decides how much is allocated.

use super::{ClientMessage, ErrorCode, Failure, ServerMessage};
use crate::bound::{self, Limits};
use alloc::{format, vec::Vec};
use minicbor::{Decoder, Encode};

/// A message that could not be read, with the request id where that much was readable, so that the
/// sender gets its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The request's id, if the message is a request and has one.
    pub id: Option<u64>,
    /// What to tell the sender.
    pub failure: Failure,
}

/// The bytes of a message.
pub fn encode<T: Encode<()>>(message: &T) -> Vec<u8> {
    // Encoding into a Vec has no error: its Write is infallible and our types have none of their own.
    minicbor::to_vec(message).unwrap_or_default()
}

/// Reads what a client sent. Never panics, never allocates more than a small multiple of the message.
pub fn decode_client(bytes: &[u8]) -> Result<ClientMessage, Rejected> {
    check(bytes).map_err(|failure| Rejected { id: None, failure })?;
    whole(bytes).map_err(|failure| Rejected {
        id: request_id(bytes),
        failure,
    })
}

/// Reads what xend sent, within the same bounds.
pub fn decode_server(bytes: &[u8]) -> Result<ServerMessage, Failure> {
    check(bytes)?;
    whole(bytes)
}

fn check(bytes: &[u8]) -> Result<(), Failure> {
    bound::check(bytes, &Limits::MESSAGE).map_err(|error| {
        let code = match error {
            bound::BoundError::TooLong { .. } => ErrorCode::TOO_LARGE,
            _ => ErrorCode::BAD_REQUEST,
        };
        Failure::new(code, format!("the message is refused: {error}"))
    })
}

fn whole<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Failure> {
    minicbor::decode(bytes).map_err(|error| {
        if error.is_unknown_variant() {
            Failure::new(
                ErrorCode::UNKNOWN_REQUEST,
                "this side does not know that kind of message",
            )
            .with_remedy("use xenman and xend of the same release")
        } else {
            Failure::new(
                ErrorCode::BAD_REQUEST,
                format!("the message cannot be read: {error}"),
            )
        }
    })
}

/// The id in `[1, {0: id, …}]`, whatever the rest is.
fn request_id(bytes: &[u8]) -> Option<u64> {
    let mut decoder = Decoder::new(bytes);
    decoder.array().ok()??;
    (decoder.u32().ok()? == 1).then_some(())?;
    let entries = decoder.map().ok()??;
    for _ in 0..entries {
        if decoder.u32().ok()? == 0 {
            return decoder.u64().ok();
        }
        decoder.skip().ok()?;
    }
    None
}

/// A fuzz body: any bytes at all as every kind of message, and as a manifest. What is read must come
/// back the same from its own encoding.
pub fn fuzz_message(bytes: &[u8]) {
    if let Ok(message) = decode_client(bytes) {
        assert_eq!(decode_client(&encode(&message)), Ok(message));
    }
    if let Ok(message) = decode_server(bytes) {
        assert_eq!(decode_server(&encode(&message)), Ok(message));
    }
    if let Ok(manifest) = crate::snapshot::Manifest::decode(bytes) {
        assert_eq!(
            manifest
                .encode()
                .and_then(|again| crate::snapshot::Manifest::decode(&again)),
            Ok(manifest)
        );
    }
}
