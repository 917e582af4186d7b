//! Guests that sleep and are woken by their timers, tens of thousands of times.

use std::fs;
use std::time::Duration;

use harness::emulator::Emulator;
use harness::host::Host;
use harness::images::Images;
use harness::machine::Machine;
use harness::operator::{Operator, Trouble};

use super::{LIMIT, SOON};
use crate::bundle;

/// Of the guest's time: 10 minutes where it passes at once, 30 seconds where it does not.
const LONG_S: u32 = 600;
const SHORT_S: u32 = 30;
/// How late a wake-up may be, in ms of the guest's time: where instructions are the time, and where an emulator may
/// have to wait for the machine it runs on.
const LATE_MS: u32 = 20;
const LATE_BUSY_MS: u32 = 10_000;
/// Timer guests beside one another, and beside one that never sleeps.
const GUESTS: u32 = 3;

fn trouble(error: impl std::fmt::Display) -> Trouble {
    Trouble(error.to_string())
}

/// One guest on a machine whose time is the instructions it executes, and passes at once where it idles. A wake-up that is
/// lost is the end of it.
pub(super) fn under_icount(images: &Images) -> Result<(), Trouble> {
    let folder = tempfile::tempdir().map_err(trouble)?;
    let archive = folder.path().join("bundle.cpio");
    let mut content = bundle::with_dom0(images, &[]).map_err(trouble)?;
    content
        .add("alarm", &images.guest("alarm"))
        .map_err(trouble)?;
    let text = format!(
        "name = \"alarm\"\nmemory = 16\nkernel = \"boot:alarm\"\nextra = \"seconds={LONG_S} late_ms={LATE_MS} seed=1\"\n"
    );
    let added = content.add_bytes("auto/alarm.cfg", text.into_bytes());
    added.map_err(trouble)?;
    content.write(&archive).map_err(trouble)?;
    let mut machine = Machine::qemu_virt(images.hypervisor(), archive);
    machine.deterministic = true;
    let log = folder.path().join("serial.log");
    let emulator = Emulator::start(&machine, &log, None, LIMIT).map_err(trouble)?;
    let said = emulator.serial().expect_line("ok alarm", SOON * 10);
    println!("{}", said.map_err(trouble)?.trim_end());
    Ok(())
}

/// Several guests that share two CPUs with one that never sleeps.
pub(super) fn on_two_cpus(images: &Images) -> Result<(), Trouble> {
    let folder = tempfile::tempdir().map_err(trouble)?;
    let archive = folder.path().join("bundle.cpio");
    let content = bundle::with_dom0(images, &[]).map_err(trouble)?;
    content.write(&archive).map_err(trouble)?;
    let mut machine = Machine::qemu_virt(images.hypervisor(), archive);
    machine.cpus = 2;
    let host = Host::boot(&machine, LIMIT).map_err(trouble)?;
    let outcome = side_by_side(&host, images);
    if outcome.is_err() {
        host.emulator().keep_log("soak");
    }
    outcome
}

fn side_by_side(host: &Host, images: &Images) -> Result<(), Trouble> {
    let operator = Operator::new(host);
    let free = operator.info("free_kib")?;
    let create = |name: &str, guest: &str, extra: &str| {
        let file = host.folder().join(format!("{name}.cfg"));
        let kernel = images.guest(guest);
        let text = format!(
            "name = \"{name}\"\nmemory = 8\nkernel = \"{}\"\nextra = \"{extra}\"\n",
            kernel.display()
        );
        fs::write(&file, text).map_err(trouble)?;
        operator.run(&["create", &file.to_string_lossy()])
    };
    create("busy", "runaway", "")?;
    let names: Vec<String> = (0..GUESTS).map(|number| format!("alarm{number}")).collect();
    for name in &names {
        let extra = format!("seconds={SHORT_S} late_ms={LATE_BUSY_MS}");
        create(name, "alarm", &extra)?;
    }
    for name in &names {
        operator.gone(name, Duration::from_secs(u64::from(SHORT_S)) + SOON)?;
    }
    let log = operator.run(&["dmesg"])?;
    let done: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("ok alarm"))
        .collect();
    if done.len() != names.len() {
        return Err(Trouble(format!("some did not come to their end:\n{log}")));
    }
    println!("{}", done.join("\n"));
    operator.run(&["destroy", "busy"])?;
    operator.free_again(free, SOON)
}
