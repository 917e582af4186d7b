//! Rows that only x86 has.
// UNSAFETY: a loop of known length.
#![expect(unsafe_code, reason = "a loop of known length")]

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use core::hint::black_box;

use guests::{interrupts, msr, port, taken};

use crate::rows::Loop;

/// A port that no domain has.
const NOBODYS_PORT: u16 = 0x2F8;
const X2APIC_ID: u32 = msr::X2APIC + 2;
const X2APIC_EOI: u32 = msr::X2APIC + 0xB;
const ROUNDS: u64 = 2000;

/// Measures and prints them.
pub(crate) fn machine_rows(baseline: &Loop) {
    baseline.row("loop_of_1001", ROUNDS, loop_of_1001);
    for (name, leaf) in [("cpuid", 0), ("cpuid_features", 7)] {
        baseline.row(name, ROUNDS, || {
            black_box(__cpuid_count(leaf, 0));
        });
    }
    for (name, number) in [("rdmsr", msr::APIC_BASE), ("x2apic_id", X2APIC_ID)] {
        baseline.row(name, ROUNDS, || {
            black_box(msr::read(number));
        });
    }
    let efer = msr::read(msr::EFER);
    baseline.row("wrmsr", ROUNDS, || msr::write(msr::EFER, efer));
    baseline.row("x2apic_eoi", ROUNDS, || msr::write(X2APIC_EOI, 0));
    baseline.row("port_in", ROUNDS, || {
        black_box(port::read(NOBODYS_PORT));
    });
    baseline.row("port_out", ROUNDS, || port::write(NOBODYS_PORT, 0));
    self_ipi(baseline);
}

/// An interrupt to ourselves: sent, taken, and ended.
fn self_ipi(baseline: &Loop) {
    let before = taken::ipis(0);
    interrupts::unmask();
    baseline.row("self_ipi", ROUNDS, || interrupts::send_to(0, 0));
    interrupts::mask();
    let taken = taken::ipis(0) - before;
    assert_eq!(u64::from(taken), ROUNDS, "every interrupt is taken at once");
}

/// As many instructions, by which whoever reads the rows knows that the counter counts them.
fn loop_of_1001() {
    // SAFETY: counts a register down.
    unsafe {
        asm!(
            "mov {rounds:e}, 500",
            "2:",
            "dec {rounds:e}",
            "jnz 2b",
            rounds = out(reg) _,
            options(nomem, nostack)
        )
    };
}
