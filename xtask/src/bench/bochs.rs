//! Bochs: VMX, and SVM that says where the next instruction is.
//!
//! No plugin counts there. With one CPU a tick of the TSC is an instruction, which a loop of known length has to confirm,
//! so the guests count by themselves. A CPU that halts goes on in steps of ten ticks: what a wake-up takes is as exact
//! as that.

use super::figures::{self, Figure};
use super::machines::Bed;
use crate::Outcome;
use crate::failure::Failure;

/// A CPU model, and what Xen 4.17 took there once, which is too slow to be measured beside us.
struct Cpu {
    name: &'static str,
    recorded: [(&'static str, f64); 10],
}

const VMX: Cpu = Cpu {
    name: "corei7_skylake_x",
    recorded: [
        ("null_hypercall", 1083.0),
        ("cpuid", 1014.0),
        ("rdmsr", 913.0),
        ("x2apic_eoi", 5.0),
        ("port_in", 1400.0),
        ("port_out", 1471.0),
        ("self_ipi", 1872.0),
        ("vtimer_wfi_wake", 8000.0),
        ("evtchn_send_upcall", 8046.0),
        ("ipi_ping_pong", 15_700.0),
    ],
};
const SVM: Cpu = Cpu {
    name: "ryzen",
    recorded: [
        ("null_hypercall", 844.0),
        ("cpuid", 832.0),
        ("rdmsr", 750.0),
        ("x2apic_eoi", 898.0),
        ("port_in", 1218.0),
        ("port_out", 1253.0),
        ("self_ipi", 3128.0),
        ("vtimer_wfi_wake", 7100.0),
        ("evtchn_send_upcall", 6567.0),
        ("ipi_ping_pong", 15_700.0),
    ],
};
/// What the guest's loop is to show.
const KNOWN: (&str, f64) = ("loop_of_1001", 1001.0);

/// Measures and prints everything; the hard budgets that were missed.
pub(super) fn measure(bed: Bed<'_>, peer: Option<&str>) -> Outcome<Vec<String>> {
    let mut missed = Vec::new();
    for Cpu { name, recorded } in [VMX, SVM] {
        let mut figures = bed.told(name, "bench", "")?;
        figures.extend(bed.told(name, "bench_ipi", "vcpus = 2")?);
        check(&figures)?;
        println!("\n{name}");
        if peer.is_some() {
            println!("Xen 4.17's figures are recorded ones");
            add(&mut figures, &recorded);
        }
        let of_cpu = figures::print(bed.board, &figures, peer.map(|_| "recorded")).into_iter();
        missed.extend(of_cpu.map(|row| format!("{row} ({name})")));
    }
    Ok(missed)
}

/// Puts what was recorded beside the figures.
fn add(figures: &mut [Figure], recorded: &[(&str, f64)]) {
    for figure in figures {
        let found = recorded.iter().find(|(name, _)| figure.name == *name);
        figure.peer = found.map(|(_, value)| *value);
    }
}

/// Whether ticks are instructions.
fn check(figures: &[Figure]) -> Outcome {
    let (name, expected) = KNOWN;
    let found = figures.iter().find(|figure| figure.name == name);
    match found {
        Some(figure) if (figure.value - expected).abs() < 1.0 => Ok(()),
        Some(figure) => Err(Failure::new(format!(
            "a tick of the TSC is no instruction: {expected} of them took {}",
            figure.value
        ))),
        None => Err(Failure::new(format!("the guest has no row {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_have_to_be_instructions() {
        let row = |value| check(&[Figure::new("loop_of_1001", value)]);
        assert!(row(1001.2).is_ok() && row(500.5).is_err());
        assert!(check(&[]).is_err());
    }
}
