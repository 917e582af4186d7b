//! `cargo xtask test`: every test, with the minutes per part.
//!
//! A part that fails does not keep the others from running; the last line says how many tests passed and failed, a
//! check without tests of its own counting as one.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use argh::FromArgs;
use harness::board::{self, Board};
use harness::images::workspace_root;

use crate::failure::Failure;
use crate::toolchain::{AARCH64, Toolchain, X86_64};
use crate::{Outcome, build, check_deps, command, guest, packages};

/// Run every test; the last line counts them.
#[derive(FromArgs)]
#[argh(subcommand, name = "test")]
pub(crate) struct Test {
    /// only what runs on this machine, without an emulator
    #[argh(switch)]
    quick: bool,

    /// the board of the emulated tests: qemu-virt, qemu-q35 or bochs-pc (default: all)
    #[argh(option, arg_name = "NAME")]
    board: Option<String>,

    /// also what takes minutes: Linux on bochs-pc
    #[argh(switch)]
    slow: bool,
}

/// The packages that only mean something on bare metal, linted for it too.
const BARE_METAL: [(&str, &str); 6] = [
    ("arch-aarch64", AARCH64),
    ("dom0-mini", AARCH64),
    ("guests", AARCH64),
    ("arch-x86_64", X86_64),
    ("dom0-mini", X86_64),
    ("guests", X86_64),
];

impl Test {
    pub(crate) fn run(self) -> Outcome {
        let boards = match &self.board {
            Some(name) => vec![Board::named(name).map_err(Failure::new)?],
            None => board::ALL.to_vec(),
        };
        let mut report = Report::default();
        let toolchain = Toolchain::find()?;
        host_parts(toolchain, &mut report);
        if !self.quick {
            emulated_parts(toolchain, &boards, self.slow, &mut report);
        }
        report.print();
        match report.failed() {
            0 => Ok(()),
            _ => Err(Failure::new("not everything passed")),
        }
    }
}

fn host_parts(toolchain: Toolchain, report: &mut Report) {
    let cargo = |arguments: &[&str]| {
        let mut cargo = toolchain.cargo();
        cargo.args(arguments).current_dir(workspace_root());
        cargo
    };
    report.check("format", || {
        command::run(&mut cargo(&["fmt", "--all", "--check"]))
    });
    report.check("dependency law", check_deps::check);
    report.check("lints", || {
        // The emulated suite is no test target of plain cargo, so that `--all-targets` leaves it out.
        let all = ["--workspace", "--all-targets"];
        let suite = ["-p", "hv-tests", "--test", "suite"];
        [&all[..], &suite[..]].into_iter().try_for_each(|what| {
            let words = [&["clippy", "-q"], what, &["--", "-D", "warnings"]].concat();
            command::run(&mut cargo(&words))
        })
    });
    report.tests("host tests", || {
        // They judge the device trees and ACPI tables that we generate.
        packages::need(&[&packages::DTC, &packages::IASL])?;
        count_tests(&mut cargo(&["test", "--workspace", "--no-fail-fast"]), "")
    });
    report.tests("interleavings", || {
        let words = ["test", "-p", "hv-common", "--features", "loom", "--lib"];
        // Apart from the others: the atomics are loom's, for these tests only.
        count_tests(cargo(&words).args(["loom"]), "")
    });
}

fn emulated_parts(toolchain: Toolchain, boards: &[Board], slow: bool, report: &mut Report) {
    report.check("lints, bare metal", || {
        BARE_METAL
            .iter()
            .try_for_each(|(package, target)| lint_bare_metal(toolchain, package, target))
    });
    let mut ready = report.check("images", || build::build().map(drop));
    ready &= report.check("Debian guests", || {
        boards.iter().try_for_each(|board| guest::fetch(*board))
    });
    let shows_board = boards.len() > 1;
    let emulated = |board: &Board| {
        measure(part_name(*board), || {
            if !ready {
                return Err(Failure::new("nothing to run the emulated tests with"));
            }
            packages::need(&packages::emulator(*board))?;
            let prefix = if shows_board { board.name() } else { "" };
            count_tests(&mut suite(toolchain, *board, slow), prefix)
        })
    };
    for group in together(boards) {
        std::thread::scope(|scope| {
            let running: Vec<_> = group
                .iter()
                .map(|board| scope.spawn(|| emulated(board)))
                .collect();
            for part in running {
                match part.join() {
                    Ok(part) => report.parts.push(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
}

/// The boards, those together whose tests run side by side: QEMU is busy with one CPU most of the time. Bochs has the machine
/// to itself: it is slow, and its clock is not this machine's.
fn together(boards: &[Board]) -> Vec<Vec<Board>> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (bochs, qemu): (Vec<_>, Vec<_>) = boards
        .iter()
        .partition(|board| **board == Board::BochsPc || cpus == 1);
    let alone = bochs.into_iter().map(|board| vec![board]);
    let groups = std::iter::once(qemu).chain(alone);
    groups.filter(|group| !group.is_empty()).collect()
}

/// The emulated tests of a board.
fn suite(toolchain: Toolchain, board: Board, slow: bool) -> Command {
    let mut cargo = toolchain.cargo();
    cargo.args(["test", "-p", "hv-tests", "--test", "suite", "--"]);
    // More machines than CPUs only time out.
    cargo.args(["--test-threads=1"]).args(filter(board));
    if !slow {
        cargo.args(["--skip", SLOW]);
    }
    cargo.current_dir(workspace_root());
    cargo
}

const fn part_name(board: Board) -> &'static str {
    match board {
        Board::QemuVirt => "emulated tests, qemu-virt",
        Board::QemuQ35 => "emulated tests, qemu-q35",
        Board::BochsPc => "emulated tests, bochs-pc",
    }
}

/// Which of the suite's tests are a board's: what is not in the module of another one is qemu-virt's.
const fn filter(board: Board) -> &'static [&'static str] {
    match board {
        Board::QemuVirt => &["--skip", "q35::", "--skip", "bochs::"],
        Board::QemuQ35 => &["q35::", "--show-output"],
        Board::BochsPc => &["bochs::", "--show-output"],
    }
}

/// The module of tests that only run when asked for.
const SLOW: &str = "::slow::";

/// One package at a time: together they would share features, and the hypervisor has no heap.
fn lint_bare_metal(toolchain: Toolchain, package: &str, target: &str) -> Outcome {
    let mut cargo = toolchain.cargo();
    cargo.args(["clippy", "-q", "--profile", "image", "--target", target]);
    cargo.args(["-p", package, "--", "-D", "warnings"]);
    command::run(cargo.current_dir(workspace_root()))
}

/// Runs a `cargo test` and adds up what its test binaries report. Its lines are shown behind a prefix, if there is one.
fn count_tests(cargo: &mut Command, prefix: &str) -> Outcome<Count> {
    cargo.stdout(Stdio::piped());
    let mut child = cargo
        .spawn()
        .map_err(|error| Failure::Start("cargo test".to_owned(), error))?;
    let mut count = Count::default();
    for line in child
        .stdout
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufRead::lines)
    {
        let Ok(line) = line else { break };
        match prefix {
            "" => println!("{line}"),
            prefix => println!("{prefix}: {line}"),
        }
        count.add(counted(&line).unwrap_or_default());
    }
    let status = child
        .wait()
        .map_err(|error| Failure::Start("cargo test".to_owned(), error))?;
    if !status.success() && count.failed == 0 {
        // It did not even compile, or a test binary died before it could count.
        count.failed = 1;
    }
    Ok(count)
}

/// What a line such as `test result: ok. 3 passed; 0 failed; …` says.
fn counted(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = counts
            .split("; ")
            .find_map(|part| part.strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Count {
        passed: number("passed")?,
        failed: number("failed")?,
    })
}

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// A part that was run: its name, what its tests said, how long it took.
type Part = (&'static str, Count, Duration);

/// Runs a part.
fn measure(name: &'static str, part: impl FnOnce() -> Outcome<Count>) -> Part {
    println!("== {name}");
    let started = Instant::now();
    let count = part().unwrap_or_else(|failure| {
        eprintln!("{name}: {failure}");
        Count {
            passed: 0,
            failed: 1,
        }
    });
    (name, count, started.elapsed())
}

/// What was run so far.
#[derive(Default)]
struct Report {
    parts: Vec<Part>,
}

impl Report {
    /// Runs a part that either holds or does not; says which.
    fn check(&mut self, name: &'static str, part: impl FnOnce() -> Outcome) -> bool {
        self.tests(name, || {
            part().map(|()| Count {
                passed: 1,
                failed: 0,
            })
        })
    }

    /// Runs a part that counts its tests; says whether all passed.
    fn tests(&mut self, name: &'static str, part: impl FnOnce() -> Outcome<Count>) -> bool {
        let part = measure(name, part);
        let (_, count, _) = part;
        self.parts.push(part);
        count.failed == 0
    }

    fn total(&self) -> Count {
        let mut total = Count::default();
        self.parts
            .iter()
            .for_each(|(_, count, _)| total.add(*count));
        total
    }

    fn failed(&self) -> usize {
        self.total().failed
    }

    fn print(&self) {
        println!(
            "\n{:<20} {:>7} {:>7} {:>8}",
            "part", "passed", "failed", "minutes"
        );
        for (name, count, time) in &self.parts {
            let minutes = time.as_secs_f64() / 60.0;
            println!(
                "{name:<20} {:>7} {:>7} {minutes:>8.1}",
                count.passed, count.failed
            );
        }
        let Count { passed, failed } = self.total();
        println!("{passed} passed, {failed} failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_binaries_are_read() {
        let line = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            counted(line),
            Some(Count {
                passed: 3,
                failed: 1
            })
        );
        assert_eq!(counted("test some::test ... ok"), None);
    }

    #[test]
    fn every_board_has_its_turn_and_bochs_is_alone() {
        for boards in [&board::ALL[..], &board::ALL[..1]] {
            let groups = together(boards);
            assert_eq!(groups.concat(), boards);
            let is_alone = |group: &Vec<Board>| group.len() == 1;
            let mut with_bochs = groups.iter().filter(|it| it.contains(&Board::BochsPc));
            assert!(with_bochs.all(is_alone));
        }
    }

    #[test]
    fn a_failure_counts_and_does_not_stop_the_rest() {
        let mut report = Report::default();
        assert!(!report.check("bad", || Err(Failure::new("no"))));
        assert!(report.tests("good", || Ok(Count {
            passed: 5,
            failed: 0
        })));
        assert_eq!(
            report.total(),
            Count {
                passed: 5,
                failed: 1
            }
        );
        assert_eq!(report.failed(), 1);
    }
}
