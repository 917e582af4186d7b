//! xend-config.sxp.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend::sxp::fuzz_sxp(data));
