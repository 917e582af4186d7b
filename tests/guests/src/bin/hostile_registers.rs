//! Claim: reading any system register, and writing any that could reach beyond us, is allowed, ignored or a fault of ours.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guests::hostile::{ATTEMPTS, Random, execute, faults, tolerate};

/// `MSR name, x0`; the bit above makes it `MRS x0, name`.
#[cfg(target_os = "none")]
const MSR: u32 = 0xD510_0000;
#[cfg(target_os = "none")]
const MRS: u32 = 1 << 21;

/// Whether writing it would only break this guest: translation, exceptions and the stack of EL1 itself.
#[cfg(target_os = "none")]
fn is_our_own(op0: u32, op1: u32, crn: u32, crm: u32) -> bool {
    op0 == 3 && op1 == 0 && (matches!(crn, 1 | 2 | 4..=6 | 10) || crn == 12 && crm == 0)
}

#[cfg(target_os = "none")]
fn attempt(random: &mut Random) {
    let op0 = 2 + random.below(2) as u32;
    let (op1, crn, crm, op2) = (
        random.below(8) as u32,
        random.below(16) as u32,
        random.below(16) as u32,
        random.below(8) as u32,
    );
    let name = op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
    if random.below(2) == 0 || is_our_own(op0, op1, crn, crm) {
        core::hint::black_box(execute(MSR | MRS | name, 0));
    } else {
        core::hint::black_box(execute(MSR | name, random.value()));
    }
}

guests::guest!("hostile_registers", || {
    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    assert!(faults() > ATTEMPTS / 4, "{} faults", faults());
    guests::log!("\nok hostile_registers");
});
