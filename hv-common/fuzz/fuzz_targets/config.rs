//! Configuration files of domains.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mgmt_proto::config::fuzz_config(data));
