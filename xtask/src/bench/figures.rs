//! Figures, and what the design allows them to be.

use harness::board::Board;

/// What a figure may be.
struct Budget {
    /// The figure's name.
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

pub(super) const IMAGE: &str = "hypervisor image";
pub(super) const KEPT: &str = "memory kept, 2 GiB, two of 512 MiB";
pub(super) const DOM0_MEMORY: &str = "Domain-0, idle, of its 24 MiB";
pub(super) const ENTRY: &str = "entry to Domain-0's first";
/// With Domain-0's own start, so that it says more than the budget for [`START`].
pub(super) const BUILD: &str = "from there to Linux's first, 256 MiB";
pub(super) const QUIET_BOOT: &str = "quiet Linux boot, in the hypervisor";
pub(super) const OUTSIDE: &str = "quiet Linux boot, outside Linux";
pub(super) const UART_LOAD: &str = "uart_fr_read";
pub(super) const UART_STORE: &str = "uart_dr_write";
pub(super) const UART_BOOT: &str = "Linux boot on a UART, in the hypervisor";
pub(super) const IDLE_MACHINE: &str = "idle machine, no domain, a second";
pub(super) const IDLE_LINUX: &str = "one idle Linux, outside it, a second";
pub(super) const SAMPLE: &str = "one statistics sample, 2 domains";
pub(super) const SAMPLE_DOM0: &str = "  Domain-0's share, the reply included";
pub(super) const CHANGE_FLUSHES: &str = "one change of the store: flushes";
pub(super) const CHANGE_WRITES: &str = "  write requests";
pub(super) const LOGGED_FLUSHES: &str = "a change and its log line: flushes";
pub(super) const LOGGED_WRITES: &str = "  write requests, the line's too";
pub(super) const START: &str = "start of 256 MiB Linux in the store";
pub(super) const START_GROWS: &str = "  with 50 domains defined, against 1";
pub(super) const LIST_10: &str = "list, 10 domains";
pub(super) const LIST_GROWS: &str = "list, 50 domains against 10, times";
pub(super) const SAMPLE_GROWS: &str = "refresh, 50 domains against 10, times";
pub(super) const DASHBOARD: &str = "an open dashboard, 50 domains, a second";
pub(super) const WORK: &str = "fork, exec, sha256: against native";
pub(super) const NATIVE_WORK: &str = "  on the bare board, M instructions";

/// The row of something that is done with so many domains.
pub(super) fn of_domains(what: &str, domains: usize) -> String {
    let plural = if domains == 1 { "" } else { "s" };
    format!("{what}, {domains} domain{plural}")
}

/// The rows of the design's table that are measured on each board.
const EVERYWHERE: [Budget; 13] = [
    budget(IMAGE, 512.0, "KiB", true),
    budget(KEPT, 6.0, "MiB", true),
    budget(DOM0_MEMORY, 16.0, "MiB", true),
    budget(ENTRY, 10.0, "M insn", true),
    budget(IDLE_MACHINE, 0.2, "M insn", false),
    budget(IDLE_LINUX, 0.8, "M insn", false),
    // A commit in two phases cannot do with fewer: what is new has to last before the header says so, and the header
    // before the operator is told. The line in the log goes along.
    budget(CHANGE_FLUSHES, 2.0, "", true),
    budget(LOGGED_FLUSHES, 2.0, "", true),
    // Five pages, the file's and those in which redb keeps its tables and what became free; the header, twice; one more.
    budget(CHANGE_WRITES, 8.0, "", false),
    budget(START_GROWS, 1.1, "times", false),
    budget(LIST_10, 0.5, "M insn", true),
    // At most linear.
    budget(LIST_GROWS, 5.0, "times", false),
    budget(SAMPLE_GROWS, 5.0, "times", false),
];

const ARM: [Budget; 12] = [
    budget(START, 30.0, "M insn", false),
    budget("null_hypercall", 200.0, "insn", true),
    budget("gicd_typer_read", 300.0, "insn", true),
    budget(UART_LOAD, 300.0, "insn", true),
    budget(UART_STORE, 300.0, "insn", true),
    budget("vtimer_interrupt", 450.0, "insn", false),
    budget("vtimer_wfi_wake", 1500.0, "insn", false),
    budget("evtchn_send_upcall", 450.0, "insn", false),
    budget("ipi_ping_pong", 4000.0, "insn", false),
    budget(QUIET_BOOT, 0.6, "M insn", true),
    budget(UART_BOOT, 9.5, "M insn", true),
    budget(WORK, 1.0006, "times", false),
];

const X86: [Budget; 12] = [
    budget(START, 60.0, "M insn", false),
    // QEMU's SVM does not say where the next instruction is.
    budget("null_hypercall", 700.0, "insn", true),
    budget("cpuid", 700.0, "insn", true),
    budget("rdmsr", 700.0, "insn", true),
    budget("wrmsr", 700.0, "insn", true),
    budget("port_in", 400.0, "insn", false),
    budget("port_out", 400.0, "insn", false),
    budget("self_ipi", 1200.0, "insn", false),
    budget("vtimer_wfi_wake", 1500.0, "insn", false),
    budget("ipi_ping_pong", 8000.0, "insn", false),
    budget(OUTSIDE, 4.0, "M insn", true),
    budget(WORK, 1.012, "times", false),
];

/// Where the CPU says where the next instruction is.
const X86_NEXT_RIP: [Budget; 9] = [
    budget("null_hypercall", 400.0, "insn", true),
    budget("cpuid", 400.0, "insn", true),
    budget("rdmsr", 400.0, "insn", true),
    budget("wrmsr", 400.0, "insn", true),
    budget("port_in", 400.0, "insn", false),
    budget("port_out", 400.0, "insn", false),
    budget("self_ipi", 1200.0, "insn", false),
    budget("vtimer_wfi_wake", 1500.0, "insn", false),
    budget("ipi_ping_pong", 8000.0, "insn", false),
];

/// What a figure may be on a board.
fn allowed(board: Board, name: &str) -> Option<&'static Budget> {
    let own: &[Budget] = match board {
        Board::QemuVirt => &ARM,
        Board::QemuQ35 => &X86,
        Board::BochsPc => &X86_NEXT_RIP,
    };
    let mut all = EVERYWHERE.iter().chain(own);
    all.find(|budget| budget.name == name)
}

/// A figure, and the peer's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) peer: Option<f64>,
}

impl Figure {
    pub(super) fn new(name: &str, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            value,
            peer: None,
        }
    }

    fn line(&self, board: Board) -> String {
        let Self { name, value, peer } = self;
        let allowed = allowed(board, name).map_or_else(String::new, |budget| {
            let Budget { most, unit, .. } = budget;
            format!("{most:>9} {unit:<7} {}", budget.verdict(*value))
        });
        let beside = peer.map_or_else(String::new, |peer| {
            format!("{peer:>12.1} {:>6.2}", value / peer)
        });
        format!(
            "{name:<37} {value:>11.digits$} {beside:<20} {allowed}",
            digits = digits(*value)
        )
        .trim_end()
        .to_owned()
    }
}

/// Ratios near 1 need more digits than counts do.
fn digits(value: f64) -> usize {
    if value < 10.0 { 4 } else { 1 }
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

/// Prints the table; the names of hard budgets that were missed.
pub(super) fn print(board: Board, figures: &[Figure], peer: Option<&str>) -> Vec<String> {
    let beside = peer.map_or_else(String::new, |peer| format!("{peer:>12} {:>6}", "ratio"));
    println!(
        "{:<37} {:>11} {beside:<20} {:>9}",
        "figure", "measured", "budget"
    );
    figures
        .iter()
        .for_each(|figure| println!("{}", figure.line(board)));
    let missed = |figure: &&Figure| {
        let budget = allowed(board, &figure.name).filter(|budget| budget.hard);
        budget.is_some_and(|budget| figure.value > budget.most)
    };
    let missed = figures.iter().filter(missed);
    missed.map(|figure| figure.name.clone()).collect()
}

/// A row of the bench guest: `BENCH name iters=N insn/op=X`, anywhere in a line.
pub(super) fn guest_row(line: &str) -> Option<Figure> {
    let (_, row) = line.trim_end().split_once("BENCH ")?;
    let (name, figures) = row.split_once(' ')?;
    let (_, value) = figures.rsplit_once("insn/op=")?;
    Some(Figure::new(name, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_guest_are_read() {
        let row = guest_row("(HV) [ 1.0] (d1) BENCH null_hypercall iters=2000 insn/op=187.5\r");
        assert_eq!(row, Some(Figure::new("null_hypercall", 187.5)));
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
    fn a_hard_budget_that_is_missed_is_named() {
        let figures = [
            Figure::new("null_hypercall", 201.0),
            Figure::new(IMAGE, 262.0),
        ];
        assert_eq!(print(Board::QemuVirt, &figures, None), ["null_hypercall"]);
        assert!(print(Board::QemuQ35, &figures, None).is_empty());
        let figures = [Figure::new("null_hypercall", 401.0)];
        assert_eq!(print(Board::BochsPc, &figures, None), ["null_hypercall"]);
    }

    #[test]
    fn a_line_has_the_peer_and_the_verdict() {
        let mut figure = Figure::new("null_hypercall", 100.0);
        figure.peer = Some(400.0);
        let line = figure.line(Board::QemuVirt);
        assert!(
            line.contains("400.0   0.25") && line.ends_with("200 insn    ok"),
            "{line}"
        );
    }
}
