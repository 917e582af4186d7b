//! What the toolstack costs: lists, samples and starts, with few and with many domains.
//!
//! Instructions are Domain-0's, with those of the hypervisor that serve it, as they were counted when the machine was idle
//! again. Bytes are those that xend sent. A `list` is counted as an operator has it: a session, its greeting and its end
//! included.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::relay::Relay;

use super::count::Live;
use super::figures::{self, Figure};
use super::machines::{Bed, MILLION, sampling};
use crate::Outcome;
use crate::failure::Failure;

/// With how many domains; the first and the last are compared.
const DOMAINS: [usize; 3] = [1, 10, 50];
/// Memory of each, in MiB: as little as may be.
const SMALL_MIB: u32 = 4;
/// Memory of the machine, in MiB.
const MACHINE_MIB: u32 = 2048;
/// How many commands, or samples, one is averaged over.
const TIMES: u32 = 20;
/// Time between two samples, in seconds.
const INTERVAL_S: f64 = 0.1;
/// How long an open dashboard is looked at, in seconds.
const OPEN_S: f64 = 5.0;
/// The start that is measured: a Linux with this much memory, in MiB.
const LINUX_MIB: u32 = 256;

/// What something cost.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    /// Instructions of Domain-0, and of the hypervisor for it.
    instructions: f64,
    bytes: f64,
}

impl Bed<'_> {
    /// Lists and samples with few and many domains, an open dashboard, starts with few and many domains defined.
    pub(super) fn toolstack(&self) -> Outcome<Vec<Figure>> {
        let live = self.live_of(MACHINE_MIB)?;
        let measured = Measured::on(&live).and_then(|it| it.all(self));
        if measured.is_err() {
            live.host.emulator().keep_log("bench");
        }
        measured
    }
}

struct Measured<'a> {
    live: &'a Live,
    relay: Relay,
}

impl<'a> Measured<'a> {
    fn on(live: &'a Live) -> Outcome<Self> {
        let socket = live.host.folder().join("counted.sock");
        let relay = Relay::start(&socket, &live.host.socket()).map_err(Failure::file(&socket))?;
        Ok(Self { live, relay })
    }

    fn all(&self, bed: &Bed<'_>) -> Outcome<Vec<Figure>> {
        let starts = self.starts(bed)?;
        let ticker = bed.board.guest(bed.images, "ticker");
        let (mut lists, mut samples, mut there) = (Vec::new(), Vec::new(), 0);
        for wanted in DOMAINS {
            while there < wanted {
                self.create_paused(&ticker, there)?;
                there += 1;
            }
            lists.push(self.list()?);
            samples.push(self.sample()?);
        }
        let dashboard = self.open_dashboard()?;
        Ok(rows(starts, &lists, &samples, dashboard))
    }

    /// Runs a command, with its answers counted.
    fn run(&self, words: &[&str]) -> Outcome {
        let told = self.live.host.xenman_through(&self.relay.address(), words);
        let told = told.map_err(|error| Failure::new(error.to_string()))?;
        if told.success() {
            return Ok(());
        }
        let (words, said) = (words.join(" "), told.stderr);
        Err(Failure::new(format!("xenman {words} failed: {said}")))
    }

    fn create_paused(&self, kernel: &Path, number: usize) -> Outcome {
        let file = self.config(kernel, SMALL_MIB, "")?;
        self.run(&["create", "-p", &file, &format!("name=paused{number}")])
    }

    /// A configuration's file.
    fn config(&self, kernel: &Path, memory_mib: u32, more: &str) -> Outcome<String> {
        let file = self.live.host.folder().join("bench.cfg");
        let kernel = kernel.display();
        let text = format!("memory = {memory_mib}\nkernel = \"{kernel}\"\n{more}");
        fs::write(&file, text).map_err(Failure::file(&file))?;
        Ok(file.to_string_lossy().into_owned())
    }

    /// What it costs each time, of so many times. A machine that nobody asks for anything executes next to nothing by itself,
    /// as another row shows.
    fn cost(&self, times: u32, happens: impl FnOnce() -> Outcome) -> Outcome<Cost> {
        let before = (self.live.idle()?, self.relay.answered());
        happens()?;
        let (after, bytes) = (self.live.idle()?, self.relay.answered());
        let counts = after.since(before.0);
        Ok(Cost {
            instructions: (counts.hyp + counts.dom0) as f64 / f64::from(times),
            bytes: (bytes - before.1) as f64 / f64::from(times),
        })
    }

    fn list(&self) -> Outcome<Cost> {
        self.cost(TIMES, || (0..TIMES).try_for_each(|_| self.run(&["list"])))
    }

    /// One sample: what many cost more than one.
    fn sample(&self) -> Outcome<Cost> {
        let interval = INTERVAL_S.to_string();
        let during = |intervals: u32| {
            let intervals = intervals.to_string();
            self.cost(TIMES, || self.run(&sampling(&interval, &intervals)))
        };
        let (one, many) = (during(1)?, during(TIMES + 1)?);
        Ok(Cost {
            instructions: many.instructions - one.instructions,
            bytes: many.bytes - one.bytes,
        })
    }

    /// A dashboard that is open, with what it begins with left out, per second.
    fn open_dashboard(&self) -> Outcome<Cost> {
        let during = |seconds: f64| self.cost(1, || self.look_at_dashboard(seconds));
        let (short, long) = (during(OPEN_S)?, during(3.0 * OPEN_S)?);
        Ok(Cost {
            instructions: (long.instructions - short.instructions) / (2.0 * OPEN_S),
            bytes: (long.bytes - short.bytes) / (2.0 * OPEN_S),
        })
    }

    fn look_at_dashboard(&self, seconds: f64) -> Outcome {
        let mut open = Command::new("script");
        let xenman = self.live.host.xenman_program().display();
        let dashboard = format!("{xenman} -H {} top", self.relay.address());
        open.args(["--quiet", "--command", &dashboard, "/dev/null"]);
        open.env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut open = open.spawn().map_err(|error| {
            Failure::new(format!(
                "script, of Debian's bsdutils, does not start: {error}"
            ))
        })?;
        thread::sleep(Duration::from_secs_f64(seconds));
        let mut keys = open.stdin.take();
        let quit = keys.as_mut().map(|keys| keys.write_all(b"q"));
        quit.transpose()
            .map_err(|error| Failure::new(format!("the dashboard ended: {error}")))?;
        let end = open
            .wait()
            .map_err(|error| Failure::new(error.to_string()))?;
        let ended = || Failure::new(format!("the dashboard ended with {end}"));
        end.success().then_some(()).ok_or_else(ended)
    }

    /// What a start costs until the domain could run, with few and with many domains defined.
    fn starts(&self, bed: &Bed<'_>) -> Outcome<[f64; 2]> {
        let debian = bed.board.debian(bed.images);
        let initrd = debian.join("initrd.gz");
        let more = format!("ramdisk = \"{}\"\n", initrd.display());
        let file = self.config(&debian.join(bed.board.kernel()), LINUX_MIB, &more)?;
        let define = |number: usize| self.run(&["new", &file, &format!("name=defined{number}")]);
        define(0)?;
        let few = self.start()?;
        let [_, .., many] = DOMAINS;
        (1..many).try_for_each(define)?;
        let with_many = self.start()?;
        (0..many).try_for_each(|number| self.run(&["delete", &format!("defined{number}")]))?;
        Ok([few, with_many])
    }

    fn start(&self) -> Outcome<f64> {
        let cost = self.cost(1, || self.run(&["start", "-p", "defined0"]))?;
        self.run(&["destroy", "defined0"])?;
        Ok(cost.instructions)
    }
}

/// The rows. Starts are with few and with many domains defined; a dashboard is per second.
fn rows(starts: [f64; 2], lists: &[Cost], samples: &[Cost], dashboard: Cost) -> Vec<Figure> {
    let mut rows = vec![
        Figure::new(figures::START, starts[0] / MILLION),
        Figure::new(figures::START_GROWS, starts[1] / starts[0]),
    ];
    for (what, costs) in [("list", lists), ("dashboard refresh", samples)] {
        for (domains, cost) in DOMAINS.iter().zip(costs) {
            let (name, bytes) = (figures::of_domains(what, *domains), cost.bytes);
            rows.push(Figure::new(&name, cost.instructions / MILLION));
            rows.push(Figure::new("  bytes from xend", bytes));
        }
    }
    if let ([.., few, many], [.., few_samples, many_samples]) = (lists, samples) {
        let grow = |few: &Cost, many: &Cost| {
            (many.instructions / few.instructions).max(many.bytes / few.bytes)
        };
        rows.push(Figure::new(figures::LIST_GROWS, grow(few, many)));
        rows.push(Figure::new(
            figures::SAMPLE_GROWS,
            grow(few_samples, many_samples),
        ));
    }
    rows.push(Figure::new(
        figures::DASHBOARD,
        dashboard.instructions / MILLION,
    ));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_most_says_how_much() {
        let cost = |instructions, bytes| Cost {
            instructions,
            bytes,
        };
        let lists = [cost(1e5, 100.0), cost(2e5, 1000.0), cost(8e5, 4500.0)];
        let samples = [cost(1e5, 100.0), cost(3e5, 1000.0), cost(6e5, 2500.0)];
        let rows = rows([2e7, 2.1e7], &lists, &samples, cost(5e4, 0.0));
        let value = |name: &str| rows.iter().find(|row| row.name == name).unwrap().value;
        assert!((value(figures::START_GROWS) - 1.05).abs() < 1e-9);
        assert!((value("list, 10 domains") - 0.2).abs() < 1e-9);
        assert!((value(figures::LIST_GROWS) - 4.5).abs() < 1e-9, "its bytes");
        assert!((value(figures::SAMPLE_GROWS) - 2.5).abs() < 1e-9);
        assert!((value(figures::DASHBOARD) - 0.05).abs() < 1e-9);
    }
}
