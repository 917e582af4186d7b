//! What outlives the machine: an image, and a domain that is defined from it and starts with the machine.

use std::fs::File;
use std::path::Path;

use harness::board::Board;
use harness::host::Host;
use harness::images::Images;
use harness::machine::Disk;
use harness::operator::{Operator, Trouble, wait};

use super::{BOOT, DOMAIN, LIMIT, RAMDISK, SOON, Stage, step};
use crate::failure::Failure;
use crate::{Outcome, bundle};

/// The image's name.
const IMAGE: &str = "bookworm";
/// Room for a kernel, a ramdisk and a snapshot.
const DISK_BYTES: u64 = 256 << 20;

/// Runs a machine with a disk twice.
pub(super) fn perform(board: Board, images: &Images, cpus: u32) -> Outcome {
    let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let disk = folder.path().join("disk.raw");
    let made = File::create_new(&disk).and_then(|file| file.set_len(DISK_BYTES));
    made.map_err(Failure::file(&disk))?;
    let boot = || boot(board, images, &disk, cpus);

    let host = step_of_machine("boot the board with an empty disk", boot)?;
    judged(&host, define(board, images, &host))?;
    step("switch the machine off, without asking anybody", || {
        drop(host);
        Ok(())
    })?;
    let host = step_of_machine("boot it again with the same disk", boot)?;
    judged(&host, find_again(&host))
}

fn step_of_machine(name: &str, run: impl FnOnce() -> Outcome<Host>) -> Outcome<Host> {
    super::title(name);
    run()
}

/// What became of the demonstration; if it failed, with what the machine said.
fn judged(host: &Host, outcome: Outcome) -> Outcome {
    outcome.inspect_err(|_| super::show_logs(host))
}

fn boot(board: Board, images: &Images, disk: &Path, cpus: u32) -> Outcome<Host> {
    let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let archive = folder.path().join("bundle.cpio");
    bundle::with_dom0(board, images, &[])?.write(&archive)?;
    let mut machine = board.machine(images, archive);
    machine.cpus = cpus;
    machine.disk = Some(Disk::file(disk));
    Ok(Host::boot(&machine, LIMIT)?)
}

fn define(board: Board, images: &Images, host: &Host) -> Outcome {
    let stage = Stage {
        operator: Operator::new(host),
    };
    let debian = board.debian(images);
    let file = |name: &str| debian.join(name).display().to_string();
    let (kernel, ramdisk) = (file(board.kernel()), file(RAMDISK));
    step("add Debian to the host's images", || {
        let parts = ["--kernel", &kernel, "--initrd", &ramdisk];
        let text = ["--description", "Debian's kernel and busybox"];
        let words = [&["image", "add", IMAGE], &parts[..], &text[..]].concat();
        stage.show_within(&words, BOOT)
    })?;
    step("list the images", || stage.show(&["image", "list"]))?;
    step(
        "define a domain from it that starts with the machine",
        || {
            let from = ["--image", IMAGE, "--name", DOMAIN, "--memory", "256"];
            let words = [&["new"], &from[..], &["on_xend_start=\"start\""]].concat();
            stage.show(&words)
        },
    )?;
    step("list the domains", || stage.show(&["list"]))?;
    step("start it", || stage.show(&["start", DOMAIN]))?;
    step("reach userspace", || stage.reach_userspace())?;
    step("see who uses the machine", || {
        stage.show(&["top", "--once"])
    })
}

fn find_again(host: &Host) -> Outcome {
    let stage = Stage {
        operator: Operator::new(host),
    };
    step("find the domain started", || {
        wait(SOON, "the domain is not started", || {
            let state = stage.operator.state(DOMAIN)?;
            Ok(state.is_some_and(|state| state != "off"))
        })
    })?;
    step("reach userspace", || stage.reach_userspace())?;
    step("list the domains", || stage.show(&["list"]))?;
    step("list the images", || stage.show(&["image", "list"]))?;
    step("find its configuration", || {
        stage.show(&["config", "show", DOMAIN])
    })?;
    step("shut the domain down, and have it still", || {
        stage.show(&["shutdown", "-w", DOMAIN])?;
        stage.show(&["list"])?;
        match stage.operator.state(DOMAIN)?.as_deref() {
            Some("off") => Ok(()),
            state => Err(Trouble(format!("it is {state:?}, not off"))),
        }
    })?;
    step("look at the host", || stage.show(&["info"]))
}
