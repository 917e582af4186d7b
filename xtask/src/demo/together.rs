//! Domains with several vCPUs, side by side on several CPUs.

use std::fs;
use std::path::Path;

use harness::board::Board;
use harness::operator::{Console, Trouble, wait};

use super::{BOOT, RAMDISK, SOON, Stage, step, typed};
use crate::Outcome;
use crate::failure::Failure;

const NAMES: [&str; 2] = ["left", "right"];

/// Two domains with as many vCPUs as the machine has CPUs, both at work at once.
pub(super) fn perform(board: Board, stage: &Stage<'_>, folder: &Path, cpus: u32) -> Outcome {
    for name in NAMES {
        let file = folder.join(format!("{name}.cfg"));
        fs::write(&file, configuration(board, name, cpus)).map_err(Failure::file(&file))?;
        step(&format!("create {name} with {cpus} vCPUs"), || {
            stage.show(&["create", &file.to_string_lossy()])
        })?;
    }
    let mut consoles = Vec::new();
    for name in NAMES {
        consoles.push(step(&format!("reach userspace in {name}"), || {
            let console = stage.operator.console(name)?;
            println!("{}", console.line("GUEST-UP", BOOT)?);
            Ok(console)
        })?);
    }
    for (name, console) in NAMES.iter().zip(&mut consoles) {
        step(&format!("put every vCPU of {name} to work"), || {
            put_to_work(console, cpus)
        })?;
    }
    step("see both go on", || {
        consoles.iter_mut().try_for_each(goes_on)
    })?;
    step("list their vCPUs", || stage.show(&["vcpu-list"]))?;
    NAMES.iter().try_for_each(|name| {
        step(&format!("shut {name} down"), || {
            stage.show(&["shutdown", "-w", name])
        })
    })
}

fn configuration(board: Board, name: &str, cpus: u32) -> String {
    let kernel = board.kernel();
    format!(
        "name = \"{name}\"\nmemory = 160\nvcpus = {cpus}\nkernel = \"boot:{kernel}\"\nramdisk = \"boot:{RAMDISK}\"\n\
         extra = \"console=hvc0 quiet\"\n"
    )
}

fn put_to_work(console: &mut Console, cpus: u32) -> Result<(), Trouble> {
    let online = typed(console, "grep -c ^processor /proc/cpuinfo")?;
    if online != u64::from(cpus) {
        return Err(Trouble(format!("Linux uses {online} vCPUs of {cpus}")));
    }
    for _ in 0..cpus {
        console.send("while :; do sha256sum /bin/busybox >/dev/null; done &\n")?;
    }
    Ok(())
}

/// Linux counts processes that it has started: with work to do there are ever more.
fn goes_on(console: &mut Console) -> Result<(), Trouble> {
    const STARTED: &str = "grep ^processes /proc/stat | cut -d' ' -f2";
    let before = typed(console, STARTED)?;
    wait(SOON, "a domain does no work", || {
        Ok(console.ask_number(STARTED)? > before + 4)
    })
}
