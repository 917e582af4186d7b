//! PSCI 1.1 (DEN 0022) and the SMC calling convention (DEN 0028), as a guest sees them behind `HVC #0`.

use hv_abi::control::vcpu::StartContext;
use hv_common::arch::{Power, cpu_on};

/// What a call comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// These values in `x0` to `x3`; the call is done.
    Values([u64; 4]),
    /// This value in `x0`; the call is done.
    Value(u64),
    /// Common code decides; [`Question`] says how its answer is told.
    Ask(Power, Question),
    /// Wait for an interrupt; then the call has succeeded.
    Suspend,
}

/// What was asked, to translate the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// `CPU_ON`.
    CpuOn,
    /// `AFFINITY_INFO`.
    AffinityInfo,
    /// Calls that do not return.
    NoReturn,
}

/// PSCI's return codes.
pub mod code {
    /// Done.
    pub const SUCCESS: u64 = 0;
    /// There is no such call.
    pub const NOT_SUPPORTED: u64 = (-1_i64).cast_unsigned();
    /// An argument is wrong.
    pub const INVALID_PARAMETERS: u64 = (-2_i64).cast_unsigned();
    /// The CPU is on.
    pub const ALREADY_ON: u64 = (-4_i64).cast_unsigned();
    /// The CPU cannot be switched off.
    pub const DENIED: u64 = (-3_i64).cast_unsigned();
}

const PSCI_VERSION: u32 = 0x8400_0000;
const CPU_SUSPEND_32: u32 = 0x8400_0001;
const CPU_SUSPEND: u32 = 0xC400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON_32: u32 = 0x8400_0003;
const CPU_ON: u32 = 0xC400_0003;
const AFFINITY_INFO_32: u32 = 0x8400_0004;
const AFFINITY_INFO: u32 = 0xC400_0004;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const PSCI_FEATURES: u32 = 0x8400_000A;
const SYSTEM_RESET2_32: u32 = 0x8400_0012;
const SYSTEM_RESET2: u32 = 0xC400_0012;
const SMCCC_VERSION: u32 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
const HYPERVISOR_CALL_COUNT: u32 = 0x8600_FF00;
const HYPERVISOR_UID: u32 = 0x8600_FF01;
const HYPERVISOR_REVISION: u32 = 0x8600_FF03;

/// PSCI 1.1.
const VERSION: u64 = 0x1_0001;
/// SMCCC 1.1.
const CONVENTION: u64 = 0x1_0001;
/// No trusted OS that could migrate.
const NOTHING_TO_MIGRATE: u64 = 2;
/// a71812dc-c698-4369-9acf-79d18ddee667, as Xen's public `arch-arm/smccc.h` says, bytes in register order.
const UID: [u64; 4] = [0xDC12_18A7, 0x6943_98C6, 0xD179_CF9A, 0x67E6_DE8D];
const CALLS: u64 = 3;

/// Answers a call. `x` are the first four registers.
#[must_use]
pub fn answer(x: [u64; 4], hypervisor_visible: bool) -> Answer {
    let [function, first, second, third] = x;
    let function = function as u32;
    match function {
        PSCI_VERSION => Answer::Value(VERSION),
        PSCI_FEATURES => Answer::Value(feature(first as u32)),
        CPU_SUSPEND | CPU_SUSPEND_32 => Answer::Suspend,
        CPU_OFF => Answer::Ask(Power::CpuOff, Question::NoReturn),
        CPU_ON => start(first, second, third),
        CPU_ON_32 => start(low(first), low(second), low(third)),
        AFFINITY_INFO => affinity_info(first, second),
        AFFINITY_INFO_32 => affinity_info(low(first), low(second)),
        MIGRATE_INFO_TYPE => Answer::Value(NOTHING_TO_MIGRATE),
        SYSTEM_OFF => Answer::Ask(Power::SystemOff, Question::NoReturn),
        SYSTEM_RESET | SYSTEM_RESET2 | SYSTEM_RESET2_32 => {
            Answer::Ask(Power::SystemReset, Question::NoReturn)
        }
        SMCCC_VERSION => Answer::Value(CONVENTION),
        SMCCC_ARCH_FEATURES => Answer::Value(match first as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => code::SUCCESS,
            _ => code::NOT_SUPPORTED,
        }),
        HYPERVISOR_CALL_COUNT if hypervisor_visible => Answer::Value(CALLS),
        HYPERVISOR_UID if hypervisor_visible => Answer::Values(UID),
        HYPERVISOR_REVISION if hypervisor_visible => Answer::Values([0, 1, 0, 0]),
        _ => Answer::Value(code::NOT_SUPPORTED),
    }
}

/// What a guest is told for common code's answer.
#[must_use]
pub fn translate(question: Question, answer: u64) -> u64 {
    match (question, answer) {
        (Question::CpuOn, cpu_on::DONE) => code::SUCCESS,
        (Question::CpuOn, cpu_on::ALREADY_ON) => code::ALREADY_ON,
        (Question::CpuOn, _) => code::INVALID_PARAMETERS,
        (Question::AffinityInfo, 1) => 0,
        (Question::AffinityInfo, 0) => 1,
        (Question::AffinityInfo, _) => code::INVALID_PARAMETERS,
        (Question::NoReturn, _) => code::DENIED,
    }
}

fn low(value: u64) -> u64 {
    value & 0xFFFF_FFFF
}

fn feature(function: u32) -> u64 {
    let offered = matches!(
        function,
        PSCI_VERSION
            | PSCI_FEATURES
            | CPU_SUSPEND
            | CPU_SUSPEND_32
            | CPU_OFF
            | CPU_ON
            | CPU_ON_32
            | AFFINITY_INFO
            | AFFINITY_INFO_32
            | MIGRATE_INFO_TYPE
            | SYSTEM_OFF
            | SYSTEM_RESET
            | SYSTEM_RESET2
            | SYSTEM_RESET2_32
            | SMCCC_VERSION
    );
    if offered {
        code::SUCCESS
    } else {
        code::NOT_SUPPORTED
    }
}

fn start(target: u64, entry: u64, argument: u64) -> Answer {
    let Some(vcpu) = vcpu_of(target) else {
        return Answer::Value(code::INVALID_PARAMETERS);
    };
    let context = StartContext { entry, argument };
    Answer::Ask(Power::CpuOn { vcpu, context }, Question::CpuOn)
}

fn affinity_info(target: u64, level: u64) -> Answer {
    match vcpu_of(target) {
        Some(vcpu) if level == 0 => Answer::Ask(Power::IsOn { vcpu }, Question::AffinityInfo),
        _ => Answer::Value(code::INVALID_PARAMETERS),
    }
}

/// The vCPU with this affinity. Guests have at most 16, all in Aff0.
#[must_use]
pub const fn vcpu_of(affinity: u64) -> Option<u32> {
    const AFFINITY: u64 = 0xFF_00FF_FFFF;
    let affinity = affinity & AFFINITY;
    if affinity < 16 {
        Some(affinity as u32)
    } else {
        None
    }
}

/// MPIDR_EL1 of a vCPU.
#[must_use]
pub const fn mpidr_of(vcpu: u32) -> u64 {
    const RES1: u64 = 1 << 31;
    RES1 | vcpu as u64 & 0xF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_finds_psci_one_point_one() {
        assert_eq!(answer([0x8400_0000, 0, 0, 0], true), Answer::Value(0x10001));
        assert_eq!(
            answer([0x8400_000A, 0xC400_0003, 0, 0], true),
            Answer::Value(0)
        );
        let stolen_time = answer([0x8000_0001, 0xC500_0020, 0, 0], true);
        assert_eq!(stolen_time, Answer::Value(u64::MAX));
    }

    #[test]
    fn cpu_on_asks_for_the_vcpu_with_that_affinity() {
        let context = StartContext {
            entry: 0x4020_0000,
            argument: 7,
        };
        let wanted = Answer::Ask(Power::CpuOn { vcpu: 1, context }, Question::CpuOn);
        assert_eq!(answer([0xC400_0003, 1, 0x4020_0000, 7], true), wanted);
        let nowhere = answer([0xC400_0003, 0x100, 0, 0], true);
        assert_eq!(nowhere, Answer::Value(code::INVALID_PARAMETERS));
        assert_eq!(translate(Question::CpuOn, cpu_on::DONE), 0);
        let twice = translate(Question::CpuOn, cpu_on::ALREADY_ON);
        assert_eq!(twice, code::ALREADY_ON);
    }

    #[test]
    fn affinity_info_says_zero_for_on() {
        let power = Power::IsOn { vcpu: 3 };
        let wanted = Answer::Ask(power, Question::AffinityInfo);
        assert_eq!(answer([0x8400_0004, 3, 0, 0], true), wanted);
        assert_eq!(translate(Question::AffinityInfo, 1), 0);
        assert_eq!(translate(Question::AffinityInfo, 0), 1);
        let nobody = translate(Question::AffinityInfo, u64::MAX);
        assert_eq!(nobody, code::INVALID_PARAMETERS);
    }

    #[test]
    fn only_a_guest_that_may_know_is_told_about_the_hypervisor() {
        let uid = [0x8600_FF01, 0, 0, 0];
        let Answer::Values(values) = answer(uid, true) else {
            panic!("no UID");
        };
        let bytes: std::vec::Vec<u8> = values
            .iter()
            .flat_map(|word| (*word as u32).to_le_bytes())
            .collect();
        assert_eq!(bytes[..6], [0xA7, 0x18, 0x12, 0xDC, 0xC6, 0x98]);
        assert_eq!(bytes[14..], [0xE6, 0x67]);
        assert_eq!(answer(uid, false), Answer::Value(code::NOT_SUPPORTED));
    }

    #[test]
    fn affinities_round_trip() {
        for vcpu in 0..16 {
            assert_eq!(vcpu_of(mpidr_of(vcpu)), Some(vcpu));
        }
    }
}
