//! States of x86 vCPUs, saved or wanted by a guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| arch_x86_64::vcpu::fuzz_vcpu_state(data));
