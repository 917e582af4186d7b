//! The demonstration on Bochs: everything crosses a serial line, so what is large stays in the boot bundle.

use std::fs;
use std::path::Path;

use harness::board::Board;
use harness::host::Host;
use harness::images::Images;
use harness::operator::{Operator, Trouble, wait};

use super::{BOOT, RAMDISK, SOON, Stage, boot_with, step};
use crate::failure::Failure;
use crate::{Outcome, bundle};

const BOARD: Board = Board::BochsPc;
/// The small guest that says that it is there.
const HELLO: &str = "hello";
/// The small guest that is saved: it counts aloud.
const TICKER: &str = "ticker";

/// Boots the default machine; its bundle has Debian's files and the small guests.
pub(super) fn boot(images: &Images, cpus: u32) -> Outcome<Host> {
    let mut content = bundle::with_dom0(BOARD, images, &[])?;
    for name in [BOARD.kernel(), RAMDISK] {
        content.add(name, &BOARD.debian(images).join(name))?;
    }
    for name in [HELLO, TICKER] {
        content.add(name, &BOARD.guest(images, name))?;
    }
    boot_with(BOARD, images, &content, cpus)
}

pub(super) fn perform(host: &Host) -> Outcome {
    let stage = Stage {
        operator: Operator::new(host),
    };
    step("look at the host", || stage.show(&["info"]))?;
    let free = step("note the free memory", || stage.operator.info("free_kib"))?;
    short(host, &stage)?;
    small(host, &stage)?;
    let file = write(host.folder(), &super::configuration(BOARD), "debian.cfg")?;
    step("create a domain with Linux", || {
        stage.show(&["create", &file])
    })?;
    step("reach userspace", || stage.reach_userspace())?;
    step("answer typed commands", || stage.look_inside())?;
    step("list the domains", || stage.show(&["list"]))?;
    step("destroy the domain", || {
        stage.show(&["destroy", super::DOMAIN])
    })?;
    step("have all memory back", || {
        stage.operator.free_again(free, SOON)
    })?;
    step("look at the host again", || stage.show(&["info"]))
}

/// A domain that says a word and switches itself off.
fn short(host: &Host, stage: &Stage<'_>) -> Outcome {
    let file = write_small(host, HELLO)?;
    step("create a domain that ends by itself", || {
        stage.show(&["create", &file])
    })?;
    step("read what it said", || {
        stage.operator.gone(HELLO, SOON)?;
        stage.show(&["console", HELLO, "--dump"])
    })
}

/// A small domain's life, over the wire.
fn small(host: &Host, stage: &Stage<'_>) -> Outcome {
    let file = write_small(host, TICKER)?;
    step("create a domain that counts", || {
        stage.show(&["create", &file])
    })?;
    let before = step("hear it count", || counted(stage, 0))?;
    let saved = host.folder().join("ticker.save");
    let saved = saved.to_string_lossy();
    step("save it over the serial line", || {
        stage.show_within(&["save", TICKER, &saved], BOOT)
    })?;
    step("restore it", || {
        stage.show_within(&["restore", &saved], BOOT)
    })?;
    step("hear it count on", || counted(stage, before))?;
    step("destroy it", || stage.show(&["destroy", TICKER]))
}

/// The number that it has come to, once that is more than `before`.
fn counted(stage: &Stage<'_>, before: u64) -> Result<u64, Trouble> {
    let mut tick = 0;
    wait(SOON, "it does not count", || {
        let said = stage.operator.said(TICKER)?;
        let ticks = said.lines().filter_map(|line| line.strip_prefix("tick "));
        tick = ticks
            .filter_map(|n| n.trim().parse().ok())
            .max()
            .unwrap_or(0);
        Ok(tick > before)
    })?;
    println!("tick {tick}");
    Ok(tick)
}

fn write_small(host: &Host, name: &str) -> Outcome<String> {
    let text = format!("name = \"{name}\"\nmemory = 8\nkernel = \"boot:{name}\"\n");
    write(host.folder(), &text, &format!("{name}.cfg"))
}

fn write(folder: &Path, text: &str, name: &str) -> Outcome<String> {
    let file = folder.join(name);
    print!("\n{name}:\n{text}");
    fs::write(&file, text).map_err(Failure::file(&file))?;
    Ok(file.to_string_lossy().into_owned())
}
