//! A fuzz body: what is read of a saved vCPU, and of the state that a guest wants another of its vCPUs in.
//!
//! The input is what differs from a state that is good, so that most of it is.

use hv_abi::record::x86::XSAVE_SIZE;
use hv_abi::xen::vcpu::HVM_CONTEXT_SIZE;
use zerocopy::{FromBytes, IntoBytes};

use super::machine_state::{after_reset, from_hvm_context};
use super::records::check_cpu;
use crate::apic::Apic;
use crate::hw::extended;

/// Reads one record, or one context, and again what was made of it.
///
/// # Panics
/// If what was taken is not taken again as it is.
pub fn fuzz_vcpu_state(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => cpu(data),
        1 => apic(data),
        2 => extended_state(data),
        _ => context(data),
    }
}

fn differ(good: &mut [u8], data: &[u8]) {
    for (byte, difference) in good.iter_mut().zip(data) {
        *byte ^= difference;
    }
}

fn cpu(data: &[u8]) {
    let mut record = after_reset();
    differ(record.as_mut_bytes(), data);
    if let Ok(state) = check_cpu(&record) {
        assert_eq!(check_cpu(&state), Ok(state));
    }
}

fn apic(data: &[u8]) {
    let mut record = Apic::new(0).save();
    differ(record.as_mut_bytes(), data);
    if let Ok(apic) = Apic::restore(0, &record) {
        let again = Apic::restore(0, &apic.save());
        assert_eq!(again.map(|again| again.save()), Ok(apic.save()));
    }
}

fn extended_state(data: &[u8]) {
    let _one_of_another_size = extended::check(data);
    let mut area = [0; XSAVE_SIZE];
    differ(&mut area, data);
    if let Ok(state) = extended::check(&area) {
        assert_eq!(state.bytes(), area);
    }
}

/// A mode, and registers: anything.
fn context(data: &[u8]) {
    let mut bytes = [0; HVM_CONTEXT_SIZE];
    differ(&mut bytes, data);
    // A mode that there is, mostly.
    if let Ok((mode, _)) = u32::mut_from_prefix(&mut bytes) {
        *mode %= 3;
    }
    if let Ok(state) = from_hvm_context(&bytes) {
        assert_eq!(check_cpu(&state), Ok(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn seeded_inputs() {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
        };
        for _ in 0..20_000 {
            // Few bits differ: most of what is read stays good.
            let length = next() % 700;
            let sparse = |word: u64| if word & 0xFF00 == 0 { word as u8 } else { 0 };
            let mut input: Vec<u8> = (0..length).map(|_| sparse(next())).collect();
            if let Some(kind) = input.first_mut() {
                *kind = next() as u8;
            }
            fuzz_vcpu_state(&input);
        }
    }
}
