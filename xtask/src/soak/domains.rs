//! Domains that are made, saved, restored and destroyed again and again.

use std::fs;
use std::time::Duration;

use harness::host::Host;
use harness::images::Images;
use harness::machine::Machine;
use harness::operator::{Console, Operator, Trouble};

use super::{LIMIT, SOON};
use crate::bundle;
use crate::failure::Failure;

/// From `create` to a shell, and for a file to be written or read, on a machine that has other things to do.
const SLOW: Duration = Duration::from_secs(300);
/// Cycles between two looks at the free memory.
const LOOK: u32 = 50;
const CREATIONS: u32 = 500;
const FAILURES: u32 = 200;

/// A Linux domain on a machine.
struct Kind {
    domain_type: &'static str,
    vcpus: u32,
    gic: u8,
    /// How often it is saved and restored.
    times: u32,
}

const fn kind(domain_type: &'static str, vcpus: u32, gic: u8, times: u32) -> Kind {
    Kind {
        domain_type,
        vcpus,
        gic,
        times,
    }
}

/// The one that matters most, and the others.
const MAIN: Kind = kind("pvh", 4, 3, 50);
const OTHERS: [Kind; 7] = [
    kind("pvh", 1, 3, 5),
    kind("pvh", 1, 2, 5),
    kind("pvh", 4, 2, 5),
    kind("hvm", 1, 3, 5),
    kind("hvm", 4, 3, 5),
    kind("hvm", 1, 2, 5),
    kind("hvm", 4, 2, 5),
];

fn trouble(failure: Failure) -> Trouble {
    Trouble(failure.to_string())
}

/// Boots a machine with Debian in its bundle and does something there; its free memory ends where it began.
fn on_host(
    images: &Images,
    shape: impl Fn(&mut Machine),
    run: impl FnOnce(&Host) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let folder = tempfile::tempdir().map_err(|error| Trouble(error.to_string()))?;
    let archive = folder.path().join("bundle.cpio");
    let mut content = bundle::with_dom0(images, &[]).map_err(trouble)?;
    for name in ["Image", "initrd.gz"] {
        let file = images.debian().join(name);
        content
            .add(name, &file)
            .map_err(|error| Trouble(error.to_string()))?;
    }
    let written = content.write(&archive);
    written.map_err(|error| Trouble(error.to_string()))?;
    let mut machine = Machine::qemu_virt(images.hypervisor(), archive);
    shape(&mut machine);
    let host = Host::boot(&machine, LIMIT).map_err(|error| Trouble(error.to_string()))?;
    let operator = Operator::new(&host);
    let outcome = operator.info("free_kib").and_then(|free| {
        run(&host)?;
        operator.free_again(free, SOON)?;
        println!("{free} KiB free, as before");
        Ok(())
    });
    if outcome.is_err() {
        host.emulator().keep_log("soak");
    }
    outcome
}

/// Writes a configuration; its path.
fn written(host: &Host, name: &str, text: &str) -> Result<String, Trouble> {
    let file = host.folder().join(name);
    fs::write(&file, text).map_err(|error| Trouble(error.to_string()))?;
    Ok(file.to_string_lossy().into_owned())
}

fn small(host: &Host, images: &Images) -> Result<String, Trouble> {
    let kernel = images.guest("ticker");
    let text = format!(
        "name = \"soak\"\nmemory = 8\nkernel = \"{}\"\n",
        kernel.display()
    );
    written(host, "soak.cfg", &text)
}

fn repeat(
    host: &Host,
    times: u32,
    cycle: impl Fn(Operator<'_>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let operator = Operator::new(host);
    let free = operator.info("free_kib")?;
    for number in 1..=times {
        let done = cycle(operator);
        done.map_err(|trouble| Trouble(format!("cycle {number}: {trouble}")))?;
        if number % LOOK == 0 {
            operator.free_again(free, SOON)?;
            println!("{number} of {times}");
        }
    }
    Ok(())
}

/// A small guest is created and destroyed.
pub(super) fn create_and_destroy(images: &Images) -> Result<(), Trouble> {
    on_host(
        images,
        |_| {},
        |host| {
            let file = small(host, images)?;
            repeat(host, CREATIONS, |operator| {
                operator.run(&["create", &file])?;
                operator.run(&["destroy", "soak"]).map(drop)
            })
        },
    )
}

/// A guest that is too large is refused, with all that was made for it until then.
pub(super) fn fail_to_start(images: &Images) -> Result<(), Trouble> {
    on_host(
        images,
        |_| {},
        |host| {
            let file = small(host, images)?;
            repeat(host, FAILURES, |operator| {
                let create = ["create", &file, "memory=1000000"];
                operator.refused(&create).map(drop)
            })
        },
    )
}

/// The kind of domain that matters most, under load.
pub(super) fn save_and_restore(images: &Images) -> Result<(), Trouble> {
    live(images, &MAIN)
}

/// Each other kind, under load.
pub(super) fn save_and_restore_other_kinds(images: &Images) -> Result<(), Trouble> {
    OTHERS.iter().try_for_each(|kind| live(images, kind))
}

/// Boots a Linux of that kind, makes all of its vCPUs busy, and saves and restores it again and again.
fn live(images: &Images, kind: &Kind) -> Result<(), Trouble> {
    let Kind {
        domain_type,
        vcpus,
        gic,
        times,
    } = *kind;
    println!("{domain_type}, {vcpus} vCPUs, GICv{gic}: saved and restored {times} times");
    let shape = |machine: &mut Machine| {
        machine.cpus = 2;
        machine.gic = gic;
    };
    on_host(images, shape, |host| {
        let operator = Operator::new(host);
        let console = if domain_type == "hvm" {
            "ttyAMA0"
        } else {
            "hvc0"
        };
        let text = format!(
            "name = \"soak\"\ntype = \"{domain_type}\"\nmemory = 128\nvcpus = {vcpus}\nkernel = \"boot:Image\"\n\
             ramdisk = \"boot:initrd.gz\"\nextra = \"console={console} quiet\"\n"
        );
        let file = written(host, "linux.cfg", &text)?;
        operator.run_within(&["create", &file], SLOW)?;
        let mut console = operator.console("soak")?;
        console.line("GUEST-UP", SLOW)?;
        load(&mut console, vcpus)?;
        drop(console);
        let saved = host.folder().join("soak.save");
        let saved = saved.to_string_lossy();
        for number in 1..=times {
            let done = there_and_back(operator, &saved, vcpus);
            done.map_err(|trouble| Trouble(format!("cycle {number}: {trouble}")))?;
        }
        operator.run(&["destroy", "soak"]).map(drop)
    })
}

/// Keeps all vCPUs busy in the background.
fn load(console: &mut Console, vcpus: u32) -> Result<(), Trouble> {
    for _ in 0..vcpus {
        console.send("while :; do sha256sum /bin/busybox >/dev/null; done &\n")?;
    }
    console.ask_number("echo $!").map(drop)
}

/// Saves the domain, restores it, and looks whether it goes on and has nothing to complain about.
fn there_and_back(operator: Operator<'_>, file: &str, vcpus: u32) -> Result<(), Trouble> {
    let before = operator.console("soak")?.ask_number("counter")?;
    operator.run_within(&["save", "soak", file], SLOW)?;
    operator.run_within(&["restore", file], SLOW)?;
    let mut console = operator.console("soak")?;
    let after = console.ask_number("counter")?;
    let online = console.ask_number("grep -c ^processor /proc/cpuinfo")?;
    let complaints = console.ask_number(
        "dmesg | grep -c -e 'rcu.*stall' -e 'soft lockup' -e 'WARNING' -e 'Oops' -e 'BUG:'",
    )?;
    if after < before || online != u64::from(vcpus) || complaints != 0 {
        let last = console.ask("dmesg | tail -1")?;
        return Err(Trouble(format!(
            "counter {before} to {after}, {online} vCPUs, {complaints} complaints, the last line {last:?}"
        )));
    }
    Ok(())
}
