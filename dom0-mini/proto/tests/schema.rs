// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages as they are on the wire: every kind has a committed file, is encoded to exactly its
//! bytes, decoded from them, and valid by the published schema.
//!
//! `ALCOVE_BLESS=1` writes the files of kinds that have none; a committed one is never changed, for
//! peers out there speak it.

mod samples;

use mgmt_proto::{
    messages::{
        ClientMessage, ErrorCode, Outcome, PROTOCOL_VERSION, Request, Response, ServerMessage,
        decode_client, decode_server, encode, fuzz_message,
    },
    snapshot::Manifest,
};
use samples::{clients, manifest, replies, requests, servers};
use std::{collections::BTreeSet, fs, path::PathBuf, sync::Once};

const SCHEMA: &str = include_str!("../protocol.cddl");

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(format!("{name}.cbor"))
}

/// Writes the files of the kinds that have none, once and before any is read, if that is wanted.
fn bless() {
    static BLESSED: Once = Once::new();
    BLESSED.call_once(|| {
        if std::env::var_os("ALCOVE_BLESS").is_some() {
            let new = all()
                .into_iter()
                .map(|(name, bytes)| (fixture(&name), bytes));
            new.filter(|(path, _)| !path.exists())
                .for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        }
    });
}

/// Everything that has a file, by its name.
fn all() -> Vec<(String, Vec<u8>)> {
    let clients = all_clients().into_iter();
    let clients = clients.map(|(name, message)| (name, encode(&message)));
    let servers = all_servers().into_iter();
    let servers = servers.map(|(name, message)| (name, encode(&message)));
    let manifest = ("manifest".to_owned(), manifest().encode().unwrap());
    clients.chain(servers).chain([manifest]).collect()
}

/// The committed bytes of `name`, which must be `encoded` and valid as `rule`.
fn golden(name: &str, rule: &str, encoded: &[u8]) -> Vec<u8> {
    bless();
    let path = fixture(name);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(bytes, encoded, "{name} is no longer encoded as it was");
    cddl_cat::validate_cbor_bytes(rule, SCHEMA, &bytes)
        .unwrap_or_else(|error| panic!("{name} is not valid by the schema: {error}"));
    bytes
}

/// All messages of this release, with the names of their files.
fn all_clients() -> Vec<(String, ClientMessage)> {
    let requests = requests().into_iter().zip(1..).map(|((name, body), id)| {
        (
            format!("request-{name}"),
            ClientMessage::Request(Request {
                id,
                body,
                token: None,
            }),
        )
    });
    let clients = clients()
        .into_iter()
        .map(|(name, message)| (name.to_owned(), message));
    clients.chain(requests).collect()
}

fn all_servers() -> Vec<(String, ServerMessage)> {
    let replies = replies().into_iter().zip(1..).map(|((name, reply), id)| {
        let response = Response {
            id,
            outcome: Outcome::Done(reply),
        };
        (format!("reply-{name}"), ServerMessage::Response(response))
    });
    let servers = servers()
        .into_iter()
        .map(|(name, message)| (name.to_owned(), message));
    servers.chain(replies).collect()
}

#[test]
fn client_messages_are_as_committed() {
    for (name, message) in all_clients() {
        let bytes = golden(&name, "client-message", &encode(&message));
        assert_eq!(decode_client(&bytes).unwrap(), message, "{name}");
    }
}

#[test]
fn server_messages_are_as_committed() {
    for (name, message) in all_servers() {
        let bytes = golden(&name, "server-message", &encode(&message));
        assert_eq!(decode_server(&bytes).unwrap(), message, "{name}");
    }
}

#[test]
fn manifests_are_as_committed() {
    let manifest = manifest();
    let bytes = golden("manifest", "manifest", &manifest.encode().unwrap());
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
}

#[test]
fn every_committed_file_is_read() {
    bless();
    let expected: BTreeSet<_> = all().iter().map(|(name, _)| fixture(name)).collect();
    let folder = fixture("x").parent().unwrap().to_owned();
    let found: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_alternative_of_the_schema_has_a_file() {
    let alternatives = |rule: &str| -> BTreeSet<u64> {
        let start = SCHEMA.find(&format!("\n{rule} =")).unwrap() + 1;
        let text = SCHEMA[start..].split("\n\n").next().unwrap();
        text.lines()
            .filter_map(|line| line.trim_start().strip_prefix('['))
            .map(|rest| rest.split([',', ']']).next().unwrap().parse().unwrap())
            .collect()
    };
    let number = |bytes: Vec<u8>| {
        let mut decoder = minicbor::Decoder::new(&bytes);
        decoder.array().unwrap();
        decoder.u64().unwrap()
    };
    let sampled: BTreeSet<u64> = requests()
        .iter()
        .map(|(_, body)| number(encode(body)))
        .collect();
    assert_eq!(sampled, alternatives("request-body"));
    let sampled: BTreeSet<u64> = replies()
        .iter()
        .map(|(_, reply)| number(encode(reply)))
        .collect();
    assert_eq!(sampled, alternatives("reply"));
}

#[test]
fn the_schema_refuses_what_is_no_message() {
    for bytes in [
        &b"\x82\x00\xa1\x00\x01"[..],
        b"\x81\x63",
        b"\x82\x01\xa2\x00\x01\x01\x81\x18\x62",
        b"\x00",
    ] {
        assert!(
            cddl_cat::validate_cbor_bytes("client-message", SCHEMA, bytes).is_err(),
            "{bytes:02x?}"
        );
        assert!(decode_client(bytes).is_err(), "{bytes:02x?}");
    }
}

#[test]
fn a_request_from_the_future_is_answered_with_its_id() {
    // [1, {0: 77, 1: [500, {0: "later"}]}]
    let rejected = decode_client(b"\x82\x01\xa2\x00\x18\x4d\x01\x82\x19\x01\xf4\xa1\x00\x65later")
        .unwrap_err();
    assert_eq!(
        (rejected.id, rejected.failure.code),
        (Some(77), ErrorCode::UNKNOWN_REQUEST)
    );
    assert!(rejected.failure.remedy.is_some());
}

#[test]
fn a_malformed_request_is_answered_with_its_id() {
    // [1, {0: 77, 1: [17, "no domain"]}]
    let rejected = decode_client(b"\x82\x01\xa2\x00\x18\x4d\x01\x82\x11\x61x").unwrap_err();
    assert_eq!(
        (rejected.id, rejected.failure.code),
        (Some(77), ErrorCode::BAD_REQUEST)
    );
    let oversized = decode_client(&vec![0; mgmt_proto::MAX_MESSAGE + 1]).unwrap_err();
    assert_eq!(
        (oversized.id, oversized.failure.code),
        (None, ErrorCode::TOO_LARGE)
    );
}

#[test]
fn keys_added_later_are_ignored() {
    // Hello with a third key.
    let hello = b"\x82\x00\xa3\x00\x01\x01\x61c\x02\x82\x01\x02";
    let ClientMessage::Hello(hello) = decode_client(hello).unwrap() else {
        panic!("not a hello")
    };
    assert_eq!(
        (hello.version, hello.client.as_str()),
        (PROTOCOL_VERSION, "c")
    );
}

#[test]
fn damaged_messages_are_read_or_refused() {
    for (_, bytes) in all() {
        for length in 0..=bytes.len() {
            fuzz_message(&bytes[..length]);
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fuzz_message(&bad);
        }
    }
}
