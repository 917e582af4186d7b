//! `cargo xtask bench`: what things cost, beside the budgets of the design.
//!
//! Figures are instructions, not times: the emulator counts them (`-icount shift=0`), so they are the same in every
//! run and on every machine. Only one CPU can be counted that way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use argh::FromArgs;
use harness::host::Host;
use harness::images::Images;
use harness::machine::{Machine, check_emulated};
use harness::operator::{Operator, Trouble};
use serde_json::Value;

use crate::failure::Failure;
use crate::{Outcome, build, bundle, packages};

/// The machine is ended after this, whatever it does.
const LIMIT: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(120);
/// A nanosecond of counted time is one instruction.
const INSTRUCTIONS_PER_NS: u64 = 1;
const KIB: f64 = 1024.0;
const MILLION: f64 = 1e6;

/// What a row may cost.
struct Budget {
    /// The row's name, as the guest or this program gives it.
    name: &'static str,
    most: f64,
    unit: &'static str,
    /// Must hold; the others may miss by a quarter, with a reason.
    hard: bool,
}

const fn budget(name: &'static str, most: f64, unit: &'static str, hard: bool) -> Budget {
    Budget {
        name,
        most,
        unit,
        hard,
    }
}

/// The rows of the design's table that are measured here.
const BUDGETS: [Budget; 9] = [
    budget("hypervisor image", 512.0, "KiB", true),
    budget("Domain-0, its heap in use", 16.0, "MiB", true),
    budget("hypervisor entry to Domain-0", 10.0, "M insn", true),
    budget("memory kept, one small domain", 6.0, "MiB", true),
    budget("null_hypercall", 200.0, "insn", true),
    budget("gicd_typer_read", 300.0, "insn", true),
    budget("vtimer_interrupt", 450.0, "insn", false),
    budget("vtimer_wfi_wake", 1500.0, "insn", false),
    budget("evtchn_send_upcall", 450.0, "insn", false),
];

/// Count instructions per operation and phase, and print them beside the budgets.
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub(crate) struct Bench {
    /// the board: qemu-virt (others come later)
    #[argh(option, default = "\"qemu-virt\".to_owned()", arg_name = "NAME")]
    board: String,
}

impl Bench {
    pub(crate) fn run(self) -> Outcome {
        check_emulated(&self.board).map_err(Failure::new)?;
        packages::need(&[&packages::QEMU_ARM])?;
        let images = build::build()?;
        let mut rows = vec![Row::new(
            "hypervisor image",
            size(&images.hypervisor())? as f64 / KIB,
        )];
        let host = boot(&images)?;
        let measured = measure(&host, &images);
        if measured.is_err() {
            host.emulator().keep_log("bench");
        }
        rows.extend(measured.map_err(|trouble| Failure::new(trouble.to_string()))?);
        println!("{:<34} {:>10} {:>10}", "figure", "measured", "budget");
        rows.iter().for_each(Row::print);
        Ok(())
    }
}

fn size(file: &Path) -> Outcome<u64> {
    Ok(fs::metadata(file).map_err(Failure::file(file))?.len())
}

fn boot(images: &Images) -> Outcome<Host> {
    let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let archive = folder.path().join("bundle.cpio");
    bundle::with_dom0(images, &[])?.write(&archive)?;
    let mut machine = Machine::qemu_virt(images.hypervisor(), archive);
    machine.memory_mib = 2048;
    machine.deterministic = true;
    Ok(Host::boot(&machine, LIMIT)?)
}

/// Boots, runs the bench guest and reads what both say.
fn measure(host: &Host, images: &Images) -> Result<Vec<Row>, Trouble> {
    let operator = Operator::new(host);
    let mut rows = phases(&operator.json(&["info"])?);
    let file = host.folder().join("bench.cfg");
    let text = format!(
        "name = \"bench\"\nmemory = 16\nkernel = \"{}\"\n",
        images.guest("bench").display()
    );
    fs::write(&file, text).map_err(|error| Trouble(error.to_string()))?;
    operator.run(&["create", "-p", &file.to_string_lossy()])?;
    rows.extend(memory(&operator.json(&["info"])?));
    operator.run(&["unpause", "bench"])?;
    operator.gone("bench", SOON)?;
    let said = operator.said("bench")?;
    rows.extend(said.lines().filter_map(guest_row));
    match said.contains("ok bench") {
        true => Ok(rows),
        false => Err(Trouble(format!("the bench guest said:\n{said}"))),
    }
}

/// From reset to xend, as the hypervisor noted it.
fn phases(info: &Value) -> Vec<Row> {
    let phases = info["boot_phases"].as_array();
    let phases = phases.map(Vec::as_slice).unwrap_or_default();
    let in_millions = |ns: u64| (ns * INSTRUCTIONS_PER_NS) as f64 / MILLION;
    let each = phases.iter().filter_map(|phase| {
        let (name, ns) = (phase["name"].as_str()?, phase["duration_ns"].as_u64()?);
        Some(Row::new(&format!("start: {name}"), in_millions(ns)))
    });
    each.collect()
}

fn memory(info: &Value) -> Vec<Row> {
    let kib = |key: &str| info[key].as_u64().unwrap_or_default() as f64;
    vec![
        Row::new("Domain-0, its heap in use", kib("heap_used") / (KIB * KIB)),
        Row::new("memory kept, one small domain", kib("hypervisor_kib") / KIB),
    ]
}

/// A figure.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    value: f64,
}

impl Row {
    fn new(name: &str, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            value,
        }
    }

    fn print(&self) {
        let Self { name, value } = self;
        match BUDGETS.iter().find(|budget| budget.name == name) {
            Some(budget) => {
                let Budget { most, unit, .. } = budget;
                let verdict = budget.verdict(*value);
                println!("{name:<34} {value:>10.1} {most:>10} {unit:<7} {verdict}");
            }
            None => println!("{name:<34} {value:>10.1}"),
        }
    }
}

impl Budget {
    fn verdict(&self, value: f64) -> &'static str {
        match (value <= self.most, self.hard) {
            (true, _) => "ok",
            (false, true) => "MISSED (hard)",
            (false, false) if value <= self.most * 1.25 => "missed by less than a quarter",
            (false, false) => "MISSED",
        }
    }
}

/// `BENCH name iters=N insn/op=X`.
fn guest_row(line: &str) -> Option<Row> {
    let (name, figures) = line.trim_end().strip_prefix("BENCH ")?.split_once(' ')?;
    let (_, value) = figures.rsplit_once("insn/op=")?;
    Some(Row::new(name, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_guest_are_read() {
        let row = guest_row("BENCH null_hypercall iters=2000 insn/op=187.5\r");
        assert_eq!(row, Some(Row::new("null_hypercall", 187.5)));
        assert_eq!(guest_row("ok bench"), None);
    }

    #[test]
    fn a_hard_budget_has_no_leeway() {
        let hard = budget("a", 100.0, "insn", true);
        let soft = budget("b", 100.0, "insn", false);
        assert_eq!(hard.verdict(100.0), "ok");
        assert_eq!(hard.verdict(101.0), "MISSED (hard)");
        assert_eq!(soft.verdict(125.0), "missed by less than a quarter");
        assert_eq!(soft.verdict(126.0), "MISSED");
    }

    #[test]
    fn phases_are_millions_of_instructions() {
        let info = serde_json::json!({
            "boot_phases": [{ "name": "memory", "duration_ns": 2_500_000 }]
        });
        assert_eq!(phases(&info), [Row::new("start: memory", 2.5)]);
    }
}
