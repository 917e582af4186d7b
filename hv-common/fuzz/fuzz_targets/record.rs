//! Records of saved state, loaded into a new domain.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hv_common::arch::fake::fuzz::record(data));
