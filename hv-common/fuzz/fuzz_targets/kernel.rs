//! Kernels of domains.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xend::fuzz_kernel(data));
