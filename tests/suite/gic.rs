//! Both interrupt controllers: a machine with a GICv2 beside the usual one with a GICv3.

use std::path::Path;

use crate::linux::{bundled, up};
use crate::stage::{Board, LINUX_BOOT, QEMU_VIRT, SOON, contains};

/// A machine with a GICv2.
static GICV2: Board = Board::new(|machine| machine.gic = 2);

#[test]
fn small_guests_live_on_a_gicv2() {
    GICV2.run(|stage| {
        stage.create_small("hello", "hello", "")?;
        stage.operator.gone("hello", SOON)?;
        contains(&stage.operator.said("hello")?, &["ok hello"]);
        stage.create_small("ticker", "ticker", "")?;
        stage.ticks_go_on("ticker")?;
        stage.do_to("pause", "ticker")?;
        stage.do_to("unpause", "ticker")?;
        stage.ticks_go_on("ticker")?;
        stage.do_to("destroy", "ticker")
    });
}

#[test]
fn debian_on_a_gicv2_is_saved_restored_and_rebooted() {
    GICV2.run(|stage| {
        let mut console = up(stage, "debian", &bundled(stage, "debian", 192))?;
        let controller = console.ask("grep -c GIC-0 /proc/interrupts")?;
        assert_ne!(controller, "0", "Linux uses another controller");
        let before = console.ask_number("counter")?;
        drop(console);
        let saved = stage.file("debian.save");
        let saved = saved.to_string_lossy();
        let save = ["save", "debian", &saved];
        stage.operator.run_within(&save, LINUX_BOOT)?;
        let restore = ["restore", &saved];
        stage.operator.run_within(&restore, LINUX_BOOT)?;
        let mut console = stage.operator.console("debian")?;
        assert!(console.ask_number("counter")? >= before);
        stage.operator.run(&["reboot", "debian"])?;
        console.line("GUEST-UP", LINUX_BOOT)?;
        let shutdown = ["shutdown", "-w", "debian"];
        stage.operator.run_within(&shutdown, LINUX_BOOT)?;
        stage.operator.gone("debian", SOON)
    });
}

#[test]
fn a_gicv2_serves_eight_vcpus_and_no_more() {
    GICV2.run(|stage| {
        let file = stage.small("many", "hello", "vcpus = 9");
        let refusal = stage.operator.refused(&["create", &file])?;
        contains(&refusal, &["at most 8 vCPUs", "GICv2"]);
        stage.create_small("eight", "hello", "vcpus = 8")?;
        stage.operator.gone("eight", SOON)
    });
}

/// Saves a ticker of one machine and has another one refuse it.
fn refused_elsewhere(here: &Board, other: &Board, file: &Path, words: &[&str]) {
    here.run(|stage| {
        stage.create_small("traveller", "ticker", "")?;
        stage.ticks_go_on("traveller")?;
        let file = file.to_string_lossy();
        stage.operator.run(&["save", "traveller", &file]).map(drop)
    });
    other.run(|stage| {
        let refusal = stage
            .operator
            .refused(&["restore", &file.to_string_lossy()])?;
        contains(&refusal, words);
        Ok(())
    });
    here.run(|stage| {
        let file = file.to_string_lossy();
        stage.operator.run(&["restore", &file])?;
        stage.ticks_go_on("traveller")?;
        stage.do_to("destroy", "traveller")
    });
}

#[test]
fn a_domain_saved_on_one_controller_is_refused_on_the_other() {
    let folder = tempfile::tempdir().expect("there is room for two snapshots");
    let saved = |name: &str| folder.path().join(name);
    let (v2, v3) = (saved("v2.save"), saved("v3.save"));
    let words = ["is of a machine with a GICv2", "this one has a GICv3"];
    refused_elsewhere(&GICV2, &QEMU_VIRT, &v2, &words);
    let words = ["is of a machine with a GICv3", "this one has a GICv2"];
    refused_elsewhere(&QEMU_VIRT, &GICV2, &v3, &words);
}

/// Has the small guest that tests its interrupt controller do so.
fn tested(board: &Board, version: &str) {
    board.run(|stage| {
        stage.create_small("gic", "gic", "")?;
        stage.operator.gone("gic", SOON)?;
        contains(&stage.operator.said("gic")?, &[version, "ok gic"]);
        Ok(())
    });
}

#[test]
fn a_gicv2_does_what_its_manual_says() {
    tested(&GICV2, "a GICv2");
}

#[test]
fn a_gicv3_does_what_its_manual_says() {
    tested(&QEMU_VIRT, "a GICv3");
}
