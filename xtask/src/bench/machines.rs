//! The machines that figures are read from.
//!
//! What an operation costs, and where a boot's instructions go, is counted on deterministic machines: nobody talks to
//! them, because time passes at once where they idle. Their guests come from the boot bundle (`auto/`) and report
//! through the hypervisor's log. What memory is used for is asked of an ordinary one.

use std::fs;
use std::time::Duration;

use harness::board::Board;
use harness::bundle::Bundle;
use harness::emulator::Emulator;
use harness::host::Host;
use harness::images::Images;
use harness::machine::{Disk, Machine};
use harness::operator::{Operator, Trouble};
use tempfile::TempDir;

use super::count::{Counted, Counts, Hypervisor, Live};
use super::figures::{self, Figure, guest_row};
use super::profile::Profile;
use crate::failure::Failure;
use crate::{Outcome, bundle};

/// A machine is ended after this, whatever it does.
const LIMIT: Duration = Duration::from_secs(600);
pub(super) const MILLION: f64 = 1e6;
const KIB: f64 = 1024.0;
/// For how long the idle guest idles, in seconds.
pub(super) const IDLE_S: f64 = 10.0;

/// What the bench guest says when it is done.
pub(super) const BENCH_END: &str = "BENCH-END";

pub(super) fn millions(count: u64) -> f64 {
    count as f64 / MILLION
}

/// A bundle in a folder of its own.
struct Written {
    file: std::path::PathBuf,
    _folder: TempDir,
}

fn write(bundle: &Bundle) -> Outcome<Written> {
    let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let file = folder.path().join("bundle.cpio");
    bundle.write(&file)?;
    Ok(Written {
        file,
        _folder: folder,
    })
}

/// A board and what it boots.
#[derive(Clone, Copy)]
pub(super) struct Bed<'a> {
    pub(super) board: Board,
    pub(super) images: &'a Images,
}

/// What Linux does once it is up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Idle,
    Work,
}

impl Then {
    fn options(self) -> &'static str {
        match self {
            Self::Idle => "quiet alcove_then=idle",
            // Without random layouts, which would cost the domain and the bare board differently.
            Self::Work => "quiet nokaslr norandmaps alcove_then=work",
        }
    }
}

impl Bed<'_> {
    fn bundle(&self) -> Outcome<Bundle> {
        bundle::with_dom0(self.board, self.images, &[])
    }

    /// Starts a counted machine of the board with a bundle.
    fn count(&self, bundle: &Bundle) -> Outcome<(Counted, Written)> {
        let written = write(bundle)?;
        let machine = self.board.machine(self.images, &written.file);
        let counted = Counted::start(machine, &Hypervisor::Ours, self.images, LIMIT)?;
        Ok((counted, written))
    }

    /// The same with one of our own guests in it.
    fn small(&self, guest: &str, file: &str, more: &str) -> Outcome<(Counted, Written)> {
        self.count(&self.with_guest(guest, file, more)?)
    }

    /// A bundle with one of our own guests, which is started at once.
    fn with_guest(&self, guest: &str, file: &str, more: &str) -> Outcome<Bundle> {
        let mut bundle = self.bundle()?;
        bundle.add(guest, &self.board.guest(self.images, guest))?;
        let config =
            format!("name = \"{guest}\"\nmemory = 16\nkernel = \"boot:{guest}\"\n{more}\n");
        bundle.add_bytes(&format!("auto/{file}"), config.into_bytes())?;
        Ok(bundle)
    }

    /// Instructions per operation, as the bench guest sees them.
    pub(super) fn operations(&self) -> Outcome<(Vec<Figure>, Profile)> {
        let (counted, _written) = self.small("bench", "bench.cfg", "")?;
        let said = counted.said(BENCH_END, LIMIT)?;
        let figures = said.lines().filter_map(guest_row).collect();
        Ok((figures, counted.profile(self.images)?))
    }

    fn linux(&self, memory_mib: u32, then: Then) -> Outcome<(Counted, Written)> {
        let options = format!("console=hvc0 {}", then.options());
        self.linux_with(memory_mib, &options, "pvh")
    }

    fn linux_with(
        &self,
        memory_mib: u32,
        options: &str,
        kind: &str,
    ) -> Outcome<(Counted, Written)> {
        let mut bundle = self.bundle()?;
        let (kernel, debian) = (self.board.kernel(), self.board.debian(self.images));
        for name in [kernel, "initrd.gz"] {
            bundle.add(name, &debian.join(name))?;
        }
        let config = format!(
            "name = \"linux\"\nmemory = {memory_mib}\nkernel = \"boot:{kernel}\"\n\
             ramdisk = \"boot:initrd.gz\"\ntype = \"{kind}\"\nextra = \"{options}\"\n",
        );
        bundle.add_bytes("auto/linux.cfg", config.into_bytes())?;
        self.count(&bundle)
    }

    /// From the hypervisor's first instruction through a quiet boot of Linux to an idle one.
    pub(super) fn boot(&self) -> Outcome<(Vec<Figure>, Profile)> {
        let (counted, _written) = self.linux(256, Then::Idle)?;
        let (dom0, guest) = (counted.at("dom0", LIMIT)?, counted.at("guest", LIMIT)?);
        let up = counted.at("up", LIMIT)?;
        let (begin, end) = (counted.at("begin", LIMIT)?, counted.at("end", LIMIT)?);
        let build = guest.since(dom0);
        let boot = up.since(guest);
        let idle = end.since(begin);
        let mut figures = vec![Figure::new(figures::ENTRY, millions(dom0.hyp - dom0.apart))];
        if self.board != Board::QemuVirt {
            figures.push(Figure::new(
                "  time calibration, not in it",
                millions(dom0.apart),
            ));
        }
        figures.extend([
            Figure::new(figures::BUILD, millions(build.hyp + build.dom0)),
            Figure::new("  of it in the hypervisor", millions(build.hyp)),
            Figure::new(figures::QUIET_BOOT, millions(boot.hyp)),
            Figure::new(
                "  of it after exits of Linux",
                millions(boot.hyp - boot.hyp_dom0),
            ),
            Figure::new("  Domain-0's own share of the boot", millions(boot.dom0)),
            Figure::new(figures::OUTSIDE, millions(boot.hyp + boot.dom0)),
            Figure::new("  Linux's own", millions(boot.guest)),
            Figure::new("  exits", boot.exits as f64),
            Figure::new(figures::IDLE_LINUX, millions(idle.hyp + idle.dom0) / IDLE_S),
        ]);
        Ok((figures, counted.profile(self.images)?))
    }

    /// Interrupts between two vCPUs on one CPU.
    pub(super) fn ipi(&self) -> Outcome<Vec<Figure>> {
        let (counted, _written) = self.small("bench_ipi", "ipi.cfg", "vcpus = 2")?;
        let said = counted.said(BENCH_END, LIMIT)?;
        Ok(said.lines().filter_map(guest_row).collect())
    }

    /// The rows of a guest on an emulator whose time is instructions, with this CPU.
    pub(super) fn told(&self, cpu: &'static str, guest: &str, more: &str) -> Outcome<Vec<Figure>> {
        let written = write(&self.with_guest(guest, "bench.cfg", more)?)?;
        let mut machine = self.board.machine(self.images, &written.file);
        machine.cpu = cpu;
        machine.deterministic = true;
        let log = written.file.with_file_name("serial.log");
        let emulator = Emulator::start(&machine, &log, None, LIMIT)
            .map_err(|error| Failure::new(error.to_string()))?;
        let seen = emulator.serial().expect_line(BENCH_END, LIMIT);
        seen.map_err(|missing| {
            emulator.keep_log("bench");
            Failure::new(missing.to_string())
        })?;
        let said = emulator.serial().text();
        Ok(said.lines().filter_map(guest_row).collect())
    }

    /// Accesses to an emulated UART, one by one.
    pub(super) fn uart(&self) -> Outcome<Vec<Figure>> {
        let (counted, _written) = self.small("bench_uart", "uart.hvm", "")?;
        let per_exit = |nth| -> Outcome<f64> {
            let begin = counted.nth("begin", nth, LIMIT)?;
            let phase = counted.nth("end", nth, LIMIT)?.since(begin);
            Ok(phase.hyp as f64 / phase.exits as f64)
        };
        Ok(vec![
            Figure::new(figures::UART_LOAD, per_exit(0)?),
            Figure::new(figures::UART_STORE, per_exit(1)?),
        ])
    }

    /// A boot of Linux that tells everything on an emulated UART.
    pub(super) fn uart_boot(&self) -> Outcome<Vec<Figure>> {
        let options = "console=ttyAMA0 alcove_then=idle";
        let (counted, _written) = self.linux_with(256, options, "hvm")?;
        let up = counted.at("up", LIMIT)?;
        let boot = up.since(counted.at("guest", LIMIT)?);
        Ok(vec![
            Figure::new(figures::UART_BOOT, millions(boot.hyp)),
            Figure::new(
                "  of it after its exits",
                millions(boot.hyp - boot.hyp_dom0),
            ),
            Figure::new("  Domain-0's own share of it", millions(boot.dom0)),
            Figure::new("  its exits", boot.exits as f64),
        ])
    }

    /// The same work in a domain and on the bare board.
    pub(super) fn work(&self) -> Outcome<Vec<Figure>> {
        let (counted, _written) = self.linux(512, Then::Work)?;
        let ours = phase(&counted)?;
        drop(counted);
        let native = self.native_work()?;
        let ratio = ours.total() as f64 / native.total() as f64;
        Ok(vec![
            Figure::new(figures::WORK, ratio),
            Figure::new(figures::NATIVE_WORK, millions(native.total())),
            Figure::new("  in the hypervisor", millions(ours.hyp)),
            Figure::new("  exits in it", ours.exits as f64),
        ])
    }

    /// The work on the bare board.
    pub(super) fn native_work(&self) -> Outcome<Counts> {
        let debian = self.board.debian(self.images);
        let (kernel, initrd) = (debian.join(self.board.kernel()), debian.join("initrd.gz"));
        let mut machine = Machine::native_linux(self.board, kernel, initrd);
        machine.options = format!("{} {}", machine.options, Then::Work.options());
        let native = Counted::start(machine, &Hypervisor::None, self.images, LIMIT)?;
        phase(&native)
    }

    /// One sample for the dashboard: the control hypercall in the hypervisor, the reply in Domain-0. What the machine
    /// does by itself in the meantime is measured and left out.
    pub(super) fn sample(&self) -> Outcome<[Figure; 2]> {
        let live = self.live()?;
        let operator = Operator::new(&live.host);
        let said = |trouble: Trouble| Failure::new(trouble.to_string());
        self.two_paused(&live.host, 8).map_err(said)?;
        let (samples, seconds) = SAMPLES;
        let interval = seconds.to_string();
        let during = |intervals: u32| {
            let (before, intervals) = (live.idle()?, intervals.to_string());
            let words = sampling(&interval, &intervals);
            operator.run(&words).map_err(said)?;
            Ok::<Counts, Failure>(live.idle()?.since(before))
        };
        let (one, many) = (during(1)?, during(samples + 1)?);
        let rest = live.rest(seconds * f64::from(samples))?;
        let each = |of: fn(&Counts) -> u64| {
            (of(&many) as f64 - of(&one) as f64 - of(&rest) as f64) / f64::from(samples)
        };
        Ok([
            Figure::new(figures::SAMPLE, each(|counts| counts.hyp + counts.dom0)),
            Figure::new(figures::SAMPLE_DOM0, each(|counts| counts.dom0)),
        ])
    }

    fn live(&self) -> Outcome<Live> {
        self.live_with(None)
    }

    /// A machine with this much memory that somebody talks to.
    pub(super) fn live_of(&self, memory_mib: u32) -> Outcome<Live> {
        let written = write(&self.bundle()?)?;
        let mut machine = self.board.machine(self.images, &written.file);
        machine.memory_mib = memory_mib;
        Live::boot(machine, self.images, LIMIT)
    }

    /// A machine that somebody talks to, with this disk.
    pub(super) fn live_with(&self, disk: Option<Disk>) -> Outcome<Live> {
        let written = write(&self.bundle()?)?;
        let mut machine = self.board.machine(self.images, &written.file);
        machine.disk = disk;
        Live::boot(machine, self.images, LIMIT)
    }

    /// A machine without a domain that nobody asks for anything.
    pub(super) fn idle(&self) -> Outcome<Figure> {
        let rest = self.live()?.rest(IDLE_S)?;
        let all = millions(rest.hyp + rest.dom0);
        Ok(Figure::new(figures::IDLE_MACHINE, all / IDLE_S))
    }

    /// What memory is used for, with two domains on a machine of 2 GiB.
    pub(super) fn memory(&self) -> Outcome<Vec<Figure>> {
        let written = write(&self.bundle()?)?;
        let mut machine = self.board.machine(self.images, &written.file);
        machine.memory_mib = 2048;
        let host = Host::boot(&machine, LIMIT)?;
        let measured = self.two_domains(&host);
        if measured.is_err() {
            host.emulator().keep_log("bench");
        }
        measured.map_err(|trouble| Failure::new(trouble.to_string()))
    }

    /// Two domains that do nothing.
    fn two_paused(&self, host: &Host, memory_mib: u32) -> Result<(), Trouble> {
        let operator = Operator::new(host);
        let file = host.folder().join("paused.cfg");
        let kernel = self.board.guest(self.images, "ticker");
        let text = format!("memory = {memory_mib}\nkernel = \"{}\"\n", kernel.display());
        fs::write(&file, text).map_err(|error| Trouble(error.to_string()))?;
        let file = file.to_string_lossy();
        for name in ["name=first", "name=second"] {
            operator.run(&["create", "-p", &file, name])?;
        }
        Ok(())
    }

    fn two_domains(&self, host: &Host) -> Result<Vec<Figure>, Trouble> {
        self.two_paused(host, 512)?;
        let operator = Operator::new(host);
        let info = operator.json(&["info"])?;
        let bytes = |key: &str, unit: f64| info[key].as_f64().unwrap_or(f64::NAN) * unit;
        let used = bytes("dom0_kib", KIB) - bytes("heap_size", 1.0) + bytes("heap_used", 1.0);
        Ok(vec![
            Figure::new(figures::KEPT, bytes("hypervisor_kib", 1.0 / KIB)),
            Figure::new(figures::DOM0_MEMORY, used / (KIB * KIB)),
        ])
    }
}

/// What xenman is told to take a sample before and after each of so many intervals.
pub(super) const fn sampling<'a>(interval: &'a str, intervals: &'a str) -> [&'a str; 6] {
    [
        "top",
        "--once",
        "--interval",
        interval,
        "--intervals",
        intervals,
    ]
}

pub(super) fn phase(counted: &Counted) -> Outcome<Counts> {
    let (begin, end) = (counted.at("begin", LIMIT)?, counted.at("end", LIMIT)?);
    Ok(end.since(begin))
}

/// How many samples one is averaged over, and the time between two of them in seconds.
const SAMPLES: (u32, f64) = (100, 0.1);
