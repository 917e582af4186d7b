//! Bytes on the link, at both ends.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mgmt_proto::link::fuzz_link_bytes(data));
