//! Messages of the protocol, and manifests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mgmt_proto::messages::fuzz_message(data));
