//! Domains that come and go, and that become files and come back.

use std::fs;
use std::time::Duration;

use harness::board::Board;
use harness::bundle::Bundle;
use harness::host::Host;
use harness::machine::Machine;
use harness::operator::{Console, Operator, Trouble};

use super::Bed;
use crate::failure::Failure;
use crate::{Outcome, bundle};

/// A machine is ended after this, whatever it does.
const LIMIT: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_secs(120);
/// From `create` to a shell.
const BOOT: Duration = Duration::from_secs(300);
const SAVING: Duration = Duration::from_secs(180);
/// Cycles between two looks at the free memory.
const LOOK: u32 = 10;
/// Name of the domain, and of what it leaves.
const NAME: &str = "soak";

/// A domain of one of our guests is created and destroyed.
pub(super) fn create_destroy(bed: Bed<'_>, cycles: u32) -> Outcome {
    on_host(
        bed,
        |_| {},
        |soaked| {
            let file = soaked.small(bed)?;
            soaked.repeat("create, destroy", cycles, || {
                soaked.operator.run(&["create", &file])?;
                soaked.destroy()
            })
        },
    )
}

/// A domain cannot be created: there is not enough memory, or its kernel is none.
pub(super) fn start_fail(bed: Bed<'_>, cycles: u32) -> Outcome {
    on_host(
        bed,
        |_| {},
        |soaked| {
            let file = soaked.small(bed)?;
            let no_kernel = format!("kernel={file}");
            soaked.repeat("fail to start", cycles, || {
                let too_large = ["create", &file, "memory=1000000"];
                soaked.operator.refused(&too_large)?;
                let not_a_kernel = ["create", &file, &no_kernel];
                soaked.operator.refused(&not_a_kernel).map(drop)
            })
        },
    )
}

/// A kind of Linux domain, and of machine.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    console: &'static str,
    vcpus: u32,
    /// What ARM has.
    gic: u8,
}

const fn kind(name: &'static str, vcpus: u32, gic: u8) -> Kind {
    let console = match name.as_bytes() {
        b"pvh" => "hvc0",
        _ => "ttyAMA0",
    };
    Kind {
        name,
        console,
        vcpus,
        gic,
    }
}

const SMP: Kind = kind("pvh", 4, 3);
const ONE: Kind = kind("pvh", 1, 3);
const OTHERS_ARM: [Kind; 7] = [
    ONE,
    kind("hvm", 1, 3),
    kind("hvm", 4, 3),
    kind("pvh", 1, 2),
    kind("pvh", 4, 2),
    kind("hvm", 1, 2),
    kind("hvm", 4, 2),
];

/// The most demanding kind, most often.
pub(super) fn save_restore_smp(bed: Bed<'_>, cycles: u32) -> Outcome {
    save_and_restore(bed, SMP, cycles)
}

/// Each other kind.
pub(super) fn save_restore(bed: Bed<'_>, cycles: u32) -> Outcome {
    let others: &[Kind] = match bed.board {
        Board::QemuVirt => &OTHERS_ARM,
        Board::QemuQ35 | Board::BochsPc => &[ONE],
    };
    others
        .iter()
        .try_for_each(|kind| save_and_restore(bed, *kind, cycles))
}

fn save_and_restore(bed: Bed<'_>, kind: Kind, cycles: u32) -> Outcome {
    let Kind {
        name, vcpus, gic, ..
    } = kind;
    let on = match bed.board {
        Board::QemuVirt => format!(" on a GICv{gic}"),
        Board::QemuQ35 | Board::BochsPc => String::new(),
    };
    let title = format!("save and restore {name} with {vcpus} vCPUs{on}");
    let shape = |machine: &mut Machine| {
        machine.gic = gic;
        machine.cpus = 2;
    };
    on_host(bed, shape, |soaked| {
        let file = soaked.linux(kind)?;
        soaked.leaves_nothing(&title, cycles, || {
            soaked.save_and_restore_under_load(&file, kind, cycles)
        })
    })
}

/// A host that is soaked.
struct Soaked<'a> {
    kernel: &'static str,
    operator: Operator<'a>,
    host: &'a Host,
}

fn on_host(
    bed: Bed<'_>,
    shape: impl Fn(&mut Machine),
    soak: impl Fn(&Soaked<'_>) -> Result<(), Trouble>,
) -> Outcome {
    let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let archive = folder.path().join("bundle.cpio");
    let mut content: Bundle = bundle::with_dom0(bed.board, bed.images, &[])?;
    for name in [bed.board.kernel(), "initrd.gz"] {
        content.add(name, &bed.board.debian(bed.images).join(name))?;
    }
    content.write(&archive)?;
    let mut machine = bed.board.machine(bed.images, archive);
    shape(&mut machine);
    let host = Host::boot(&machine, LIMIT)?;
    let soaked = Soaked {
        kernel: bed.board.kernel(),
        operator: Operator::new(&host),
        host: &host,
    };
    let outcome = soak(&soaked);
    if outcome.is_err() {
        host.emulator().keep_log("soak");
    }
    outcome.map_err(|trouble| Failure::new(trouble.to_string()))
}

impl Soaked<'_> {
    fn write(&self, text: &str) -> Result<String, Trouble> {
        let file = self.host.folder().join("soak.cfg");
        fs::write(&file, text).map_err(|error| Trouble(error.to_string()))?;
        Ok(file.to_string_lossy().into_owned())
    }

    fn small(&self, bed: Bed<'_>) -> Result<String, Trouble> {
        let kernel = bed.board.guest(bed.images, "ticker");
        self.write(&format!(
            "name = \"{NAME}\"\nmemory = 8\nkernel = \"{}\"\n",
            kernel.display()
        ))
    }

    fn linux(&self, kind: Kind) -> Result<String, Trouble> {
        let Kind {
            name,
            console,
            vcpus,
            ..
        } = kind;
        let kernel = self.kernel;
        self.write(&format!(
            "name = \"{NAME}\"\ntype = \"{name}\"\nmemory = 128\nvcpus = {vcpus}\nkernel = \"boot:{kernel}\"\n\
             ramdisk = \"boot:initrd.gz\"\nextra = \"console={console} quiet\"\n"
        ))
    }

    fn destroy(&self) -> Result<(), Trouble> {
        self.operator.run(&["destroy", NAME]).map(drop)
    }

    /// One life of a Linux that is saved and restored again and again while all of its vCPUs work.
    fn save_and_restore_under_load(
        &self,
        file: &str,
        kind: Kind,
        cycles: u32,
    ) -> Result<(), Trouble> {
        self.operator.run_within(&["create", file], BOOT)?;
        let mut console = self.operator.console(NAME)?;
        console.line("GUEST-UP", BOOT)?;
        for _ in 0..kind.vcpus {
            console.send("while :; do sha256sum /bin/busybox >/dev/null; done &\n")?;
        }
        let mut before = console.ask_number("counter")?;
        drop(console);
        let saved = self.host.folder().join("soak.save");
        let saved = saved.to_string_lossy();
        for cycle in 1..=cycles {
            self.operator.run_within(&["save", NAME, &saved], SAVING)?;
            self.operator.run_within(&["restore", &saved], SAVING)?;
            before = self
                .is_well(kind, before)
                .map_err(|trouble| Trouble(format!("cycle {cycle}: {trouble}")))?;
        }
        self.destroy()
    }

    /// Linux is the same and calm; its counter.
    fn is_well(&self, kind: Kind, before: u64) -> Result<u64, Trouble> {
        let mut console = self.operator.console(NAME)?;
        let counter = console.ask_number("counter")?;
        let vcpus = console.ask_number("grep -c ^processor /proc/cpuinfo")?;
        let complaints = complaints(&mut console)?;
        if counter < before || vcpus != u64::from(kind.vcpus) || complaints != 0 {
            return Err(Trouble(format!(
                "the counter went from {before} to {counter}, {vcpus} vCPUs, {complaints} complaints in its log"
            )));
        }
        Ok(counter)
    }

    /// Does something again and again; the free memory is the same every now and then, and after it.
    fn repeat(
        &self,
        name: &str,
        cycles: u32,
        cycle: impl Fn() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let free = self.operator.info("free_kib")?;
        self.leaves_nothing(name, cycles, || {
            for number in 1..=cycles {
                cycle().map_err(|trouble| Trouble(format!("{name}, cycle {number}: {trouble}")))?;
                if number % LOOK == 0 {
                    self.operator.free_again(free, SOON)?;
                }
            }
            Ok(())
        })
    }

    /// Does something that leaves the free memory as it was, and says how often it was done.
    fn leaves_nothing(
        &self,
        name: &str,
        times: u32,
        what: impl FnOnce() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let free = self.operator.info("free_kib")?;
        what()?;
        self.operator.free_again(free, SOON)?;
        println!("{name}: {times} times, {free} KiB free as before");
        Ok(())
    }
}

fn complaints(console: &mut Console) -> Result<u64, Trouble> {
    console.ask_number(
        "dmesg | grep -c -e 'rcu.*stall' -e 'soft lockup' -e 'WARNING' -e 'Oops' -e 'BUG:'",
    )
}
