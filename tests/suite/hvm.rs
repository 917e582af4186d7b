//! Domains that know nothing of the hypervisor: a serial line, a clock, and Linux on them.

use std::path::Path;

use harness::operator::{Console, Trouble};

use crate::linux::{bundled_with, up};
use crate::smp::{is_calm, load, online, save_and_restore};
use crate::stage::{Board, LINUX_BOOT, SOON, Stage, contains};

static GICV3: Board = Board::new(|machine| machine.cpus = 2);
static GICV2: Board = Board::new(|machine| {
    machine.cpus = 2;
    machine.gic = 2;
});

/// The configuration of a domain with Debian on its serial line; the file's name says the type.
fn bundled(stage: &Stage<'_>, name: &str, lines: &str) -> String {
    let more = format!(
        "{lines}\nmemory = 128\nramdisk = \"boot:initrd.gz\"\nextra = \"console=ttyAMA0 quiet\""
    );
    let file = format!("{name}.hvm");
    stage.configuration_in(&file, name, Path::new("boot:Image"), &more)
}

/// Creates a domain and waits for its shell.
fn debian(stage: &Stage<'_>, name: &str, vcpus: u32) -> Result<Console, Trouble> {
    let file = bundled(stage, name, &format!("vcpus = {vcpus}"));
    stage.operator.run_within(&["create", &file], LINUX_BOOT)?;
    let mut console = stage.operator.console(name)?;
    contains(&console.line("GUEST-UP", LINUX_BOOT)?, &["hypervisor=none"]);
    assert_eq!(online(&mut console)?, u64::from(vcpus));
    Ok(console)
}

fn listed_type(stage: &Stage<'_>, name: &str) -> Result<String, Trouble> {
    let list = stage.operator.json(&["list"])?;
    let domains = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let found = domains.iter().find(|domain| domain["name"] == name);
    let kind = found.and_then(|domain| domain["type"].as_str());
    Ok(kind.unwrap_or_default().to_owned())
}

/// Creates a domain of one of our own guests.
fn create_small(stage: &Stage<'_>, name: &str, guest: &str) -> Result<(), Trouble> {
    let kernel = stage.guest(guest);
    let file = format!("{name}.hvm");
    let file = stage.configuration_in(&file, name, &kernel, "memory = 8");
    stage.operator.run(&["create", &file]).map(drop)
}

fn devices_keep_their_manuals_word(stage: &Stage<'_>) -> Result<(), Trouble> {
    create_small(stage, "serial", "serial")?;
    stage.operator.says("serial", "  type", SOON)?;
    let mut console = stage.operator.console("serial")?;
    console.send("AZ\n")?;
    console.line("2 characters, sum 155", SOON)?;
    // More than the ring, and xend's own store behind it, hold at once.
    let long = "0".repeat(3000);
    console.send(&long)?;
    console.send("\n")?;
    console.line("3000 characters, sum 144000", SOON)?;
    console.send("done\n")?;
    stage.operator.gone("serial", SOON)?;
    contains(&stage.operator.said("serial")?, &["ok serial"]);
    let log = stage.operator.run(&["dmesg"])?;
    contains(&log, &["HVC"]);
    Ok(())
}

#[test]
fn devices_keep_their_manuals_word_on_a_gicv3() {
    GICV3.run(devices_keep_their_manuals_word);
}

#[test]
fn devices_keep_their_manuals_word_on_a_gicv2() {
    GICV2.run(devices_keep_their_manuals_word);
}

#[test]
fn small_guests_do_not_care_of_which_type_they_are() {
    GICV3.run(|stage| {
        for guest in ["hello", "gic"] {
            create_small(stage, guest, guest)?;
            stage.operator.gone(guest, SOON)?;
            contains(&stage.operator.said(guest)?, &["ok "]);
        }
        create_small(stage, "ticker", "ticker")?;
        stage.ticks_go_on("ticker")?;
        assert_eq!(listed_type(stage, "ticker")?, "hvm");
        for label in ["store:one", "store:two"] {
            stage.operator.run(&["save", "ticker", label])?;
            stage.operator.run(&["restore", label])?;
            stage.ticks_go_on("ticker")?;
        }
        stage.do_to("pause", "ticker")?;
        stage.do_to("unpause", "ticker")?;
        stage.ticks_go_on("ticker")?;
        stage.do_to("destroy", "ticker")?;
        for label in ["one", "two"] {
            stage.operator.run(&["snapshot", "delete", label])?;
        }
        Ok(())
    });
}

#[test]
fn debian_lives_a_whole_life_on_its_serial_line() {
    GICV3.run(|stage| {
        let mut console = debian(stage, "debian", 1)?;
        assert_eq!(console.ask("expr 6 \\* 7")?, "42");
        let warnings = console.ask_number("dmesg -r | grep -c '^<[0-4]>'")?;
        assert_eq!(warnings, 0, "a warning that a bare board does not get");
        let clock = console.ask_number("cat /sys/class/rtc/rtc0/since_epoch")?;
        assert!(console.ask_number("date +%s")?.abs_diff(clock) < 600);
        // Output faster than anybody reads it: nothing is lost.
        console.send("seq 10000 13000\n")?;
        assert_eq!(console.ask("expr 20 + 1")?, "21");
        let said = stage.operator.said("debian")?;
        let numbers = said.lines().filter_map(|line| line.trim().parse().ok());
        let lost = (10_000..=13_000_u32).zip(numbers.chain([0]));
        let first_lost = lost.into_iter().find(|(sent, seen)| sent != seen);
        assert_eq!(first_lost, None);
        // No line is low or high for ever.
        let interrupts = "sed -n 's/^.*: *\\([0-9]*\\) .*uart-pl011.*/\\1/p' /proc/interrupts";
        let before = console.ask_number(interrupts)?;
        assert!((1..5000).contains(&before), "{before} interrupts");
        save_and_restore(stage, "debian", 1)?;
        let refusal = stage.operator.refused(&["shutdown", "debian"])?;
        contains(&refusal, &["type hvm", "console"]);
        let mut console = stage.operator.console("debian")?;
        stage.do_to("reboot", "debian")?;
        console.line("GUEST-UP", LINUX_BOOT)?;
        console.send("reboot -f\n")?;
        console.line("GUEST-UP", LINUX_BOOT)?;
        console.send("poweroff -f\n")?;
        stage.operator.gone("debian", SOON)
    });
}

/// Four vCPUs under load are saved and restored.
fn four_vcpus(stage: &Stage<'_>) -> Result<(), Trouble> {
    let mut console = debian(stage, "four", 4)?;
    load(&mut console)?;
    load(&mut console)?;
    drop(console);
    save_and_restore(stage, "four", 4)?;
    stage.do_to("destroy", "four")
}

#[test]
fn four_vcpus_under_load_are_saved_and_restored_on_a_gicv3() {
    GICV3.run(four_vcpus);
}

#[test]
fn four_vcpus_under_load_are_saved_and_restored_on_a_gicv2() {
    GICV2.run(four_vcpus);
}

/// Both types at once through everything that is done to domains.
fn side_by_side(stage: &Stage<'_>) -> Result<(), Trouble> {
    let mut pvh = up(stage, "pvh", &bundled_with(stage, "pvh", 128, "vcpus = 2"))?;
    drop(debian(stage, "hvm", 1)?);
    load(&mut pvh)?;
    for (name, vcpus) in [("hvm", 1), ("pvh", 2)] {
        stage.do_to("pause", name)?;
        stage.is(name, &["paused"])?;
        stage.do_to("unpause", name)?;
        save_and_restore(stage, name, vcpus)?;
        assert_eq!(listed_type(stage, name)?, name);
        let mut console = stage.operator.console(name)?;
        stage.do_to("reboot", name)?;
        console.line("GUEST-UP", LINUX_BOOT)?;
        is_calm(&mut console)?;
    }
    let list = stage.operator.json(&["list"])?;
    assert_eq!(list.as_array().map(Vec::len), Some(3), "{list}");
    stage.do_to("destroy", "pvh")?;
    stage.do_to("destroy", "hvm")
}

#[test]
fn both_types_live_side_by_side_on_a_gicv3() {
    GICV3.run(side_by_side);
}

#[test]
fn both_types_live_side_by_side_on_a_gicv2() {
    GICV2.run(side_by_side);
}
