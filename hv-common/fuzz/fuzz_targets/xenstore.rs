//! Two guests at their xenstore rings.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend::xenstore::fuzz_xenstore(data));
