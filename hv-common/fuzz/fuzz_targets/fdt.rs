//! Device trees, read in full.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hv_common::arch::fake::fuzz::fdt(data));
