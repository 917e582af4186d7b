//! Hypercalls of two guests, with random pointers and arguments.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hv_common::arch::fake::fuzz::calls(data));
