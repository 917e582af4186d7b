//! Fuzz bodies: ordinary functions of bytes, replayed over seeded inputs by `cargo test` and driven by cargo-fuzz.
//!
//! Each panics if the hypervisor does, and checks afterwards that no frame was lost.

use std::vec::Vec;

use hv_abi::control::state::RESTORE;
use hv_abi::record::Kind;
use hv_abi::{CallNumber, DomId};

use super::Fake;
use super::machine::{Machine, RAM};
use crate::domain::DomainRef;

/// Bytes, used up from the front; zero when there are none left.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Frames of the machine.
const FRAMES: usize = 900;
/// Frames of each guest.
const GUEST_FRAMES: u64 = 8;

/// Two guests make calls that `data` describes, with good and bad pointers to arguments that it describes too; then they
/// end.
///
/// # Panics
/// If a frame is lost.
pub fn calls(data: &[u8]) {
    let machine = Machine::new(FRAMES);
    let before = machine.usage();
    let guests = [
        machine.domain(GUEST_FRAMES, 2),
        machine.domain(GUEST_FRAMES, 1),
    ];
    let mut input = Input(data);
    while !input.is_empty() {
        let choice = input.byte();
        let (Some(guest), vcpu) = (
            guests.get(usize::from(choice & 1)),
            u32::from(choice >> 1 & 1),
        ) else {
            continue;
        };
        let vcpu = if guest.vcpu(vcpu).is_some() { vcpu } else { 0 };
        call(&machine, guest, vcpu, choice >> 2, &mut input);
        let _adds_up = machine.usage();
    }
    for guest in guests {
        machine.destroy(guest);
    }
    assert_eq!(machine.usage(), before);
}

const NUMBERS: [CallNumber; 16] = [
    CallNumber::EVENT_CHANNEL_OP,
    CallNumber::EVENT_CHANNEL_OP,
    CallNumber::GRANT_TABLE_OP,
    CallNumber::GRANT_TABLE_OP,
    CallNumber::MEMORY_OP,
    CallNumber::MEMORY_OP,
    CallNumber::SCHED_OP,
    CallNumber::VCPU_OP,
    CallNumber::HVM_OP,
    CallNumber::XEN_VERSION,
    CallNumber::VM_ASSIST,
    CallNumber::CONSOLE_IO,
    CallNumber::SET_TIMER_OP,
    CallNumber::CONTROL_DOMAIN,
    CallNumber::CONTROL_STATE,
    CallNumber::MULTICALL,
];

fn call(machine: &Machine, guest: &DomainRef<Fake>, vcpu: u32, choice: u8, input: &mut Input<'_>) {
    let number = NUMBERS
        .get(usize::from(choice % 16))
        .map_or(0, |number| number.0);
    // Eight words of arguments in the guest's first page, if it is still there.
    let words: Vec<u64> = (0..8).map(|_| value(input, guest)).collect();
    let memory = machine.hypervisor.memory(guest);
    let _may_be_gone = memory.write(
        crate::arch::Gpa(RAM),
        zerocopy::IntoBytes::as_bytes(words.as_slice()),
    );
    let command = match input.byte() {
        byte @ 0..=0xEF => u64::from(byte % 16),
        byte @ 0xF0..=0xF7 => 23 | u64::from(byte & 1) << 6,
        byte => u64::from(byte) << 4,
    };
    let args = [
        command,
        pointer(input),
        value(input, guest),
        value(input, guest),
        0,
    ];
    let _result = machine.call_then(guest, vcpu, number, args);
}

/// A word that may mean something: domain numbers, small numbers, guest frames, pointers, or anything.
fn value(input: &mut Input<'_>, guest: &DomainRef<Fake>) -> u64 {
    match input.byte() % 16 {
        0 | 10..=13 => u64::from(DomId::SELF.0) | input.number(2) << 32,
        1 | 14 => u64::from(guest.id.0 ^ 3) | input.number(1) << 32,
        2 | 3 => input.number(1),
        4 => (RAM >> 12) + input.number(1) % 16,
        5 => RAM + input.number(2),
        6 | 15 => input.number(1) << 32 | input.number(1),
        7 => 1 << (input.byte() % 64),
        8 => u64::MAX - input.number(1),
        _ => input.number(8),
    }
}

fn pointer(input: &mut Input<'_>) -> u64 {
    match input.byte() % 8 {
        0..=4 => RAM,
        5 => RAM + input.number(2),
        6 => RAM + GUEST_FRAMES * 4096 - input.number(1),
        _ => input.number(8),
    }
}

/// Kinds that a restore knows.
const KINDS: [Kind; 9] = [
    Kind::DOMAIN,
    Kind::EVENTS,
    Kind::GRANTS,
    Kind::PLATFORM,
    Kind::VCPU,
    Kind::CLOCK,
    super::CPU_KIND,
    super::PLATFORM_KIND,
    Kind(0x7FFF),
];

/// Domain-0 loads one record with `data` for a body into a new domain: header right, body anything.
///
/// # Panics
/// If a frame is lost.
pub fn record(data: &[u8]) {
    let machine = Machine::new(FRAMES);
    let before = machine.usage();
    let guest = machine.domain(GUEST_FRAMES, 2);
    let mut input = Input(data);
    let kind = KINDS.get(usize::from(input.byte()) % KINDS.len()).copied();
    let kind = kind.unwrap_or_default();
    let vcpu = u32::from(input.byte() % 3);
    let body = &input.0[..input.0.len().min(8192)];
    let header = hv_abi::record::Header {
        kind,
        version: 1,
        vcpu: if kind.is_per_vcpu() { vcpu } else { 0 },
        length: body.len() as u64,
    };
    let at = machine.dom0_ram;
    machine.write(&machine.dom0, at, &header);
    machine.write(&machine.dom0, at + 16, body);
    let length = 16 + body.len() as u64;
    let args = [RESTORE, u64::from(guest.id.0), at, length];
    let _result = machine.call(&machine.dom0, CallNumber::CONTROL_STATE, &args);
    machine.destroy(guest);
    assert_eq!(machine.usage(), before);
}

/// A device tree, read in full.
pub fn fdt(data: &[u8]) {
    let _accepted = crate::fdt::survives(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    /// `ALCOVE_FUZZ_RUNS` asks for more of them.
    fn runs(default: u64) -> u64 {
        let wanted = std::env::var("ALCOVE_FUZZ_RUNS").ok();
        wanted.and_then(|n| n.parse().ok()).unwrap_or(default)
    }

    #[test]
    fn no_sequence_of_calls_brings_the_hypervisor_down() {
        for seed in 0..runs(40) {
            calls(&noise(seed, 6_000));
        }
    }

    /// Bodies of the right length, mostly zero: most fields pass, and a few are wild.
    #[test]
    fn no_record_brings_the_hypervisor_down() {
        let sizes = [
            size_of::<hv_abi::record::Domain>(),
            16 * 5,
            size_of::<hv_abi::record::Grants>(),
            size_of::<hv_abi::record::Platform>(),
            size_of::<hv_abi::record::Vcpu>(),
            24,
            16,
            64,
        ];
        for seed in 0..runs(160) {
            let kind = (seed % 8) as u8;
            let mut data = noise(seed, 2 + sizes[usize::from(kind)]);
            for (index, byte) in data.iter_mut().enumerate() {
                let keep = seed % 16 < 4 || (index as u64 * 7 + seed).is_multiple_of(61);
                *byte = if keep { *byte } else { 0 };
            }
            data[0] = kind;
            record(&data);
        }
    }
}
