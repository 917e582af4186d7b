//! Machines with several CPUs, and domains with several vCPUs.

use harness::operator::{Console, Trouble};

use crate::linux::{bundled_with, up};
use crate::stage::{Board, LINUX_BOOT, SOON, Stage, contains, on_machine};

pub(crate) static TWO: Board = Board::new(|machine| machine.cpus = 2);
static GICV2: Board = Board::new(|machine| {
    machine.cpus = 2;
    machine.gic = 2;
});
static FOUR: Board = Board::new(|machine| machine.cpus = 4);
static EIGHT: Board = Board::new(|machine| machine.cpus = 8);

/// Debian with that many vCPUs.
fn debian(stage: &Stage<'_>, name: &str, vcpus: u32) -> Result<Console, Trouble> {
    let lines = format!("vcpus = {vcpus}");
    let mut console = up(stage, name, &bundled_with(stage, name, 128, &lines))?;
    assert_eq!(online(&mut console)?, u64::from(vcpus));
    Ok(console)
}

/// vCPUs that Linux uses.
pub(crate) fn online(console: &mut Console) -> Result<u64, Trouble> {
    console.ask_number("grep -c ^processor /proc/cpuinfo")
}

/// Keeps a vCPU busy in the background.
pub(crate) fn load(console: &mut Console) -> Result<(), Trouble> {
    console.send("while :; do sha256sum /bin/busybox >/dev/null; done &\n")?;
    console.ask_number("echo $!").map(drop)
}

/// Linux found nothing to complain about.
pub(crate) fn is_calm(console: &mut Console) -> Result<(), Trouble> {
    let complaints = console.ask_number(
        "dmesg | grep -c -e 'rcu.*stall' -e 'soft lockup' -e 'WARNING' -e 'Oops' -e 'BUG:'",
    )?;
    assert_eq!(complaints, 0, "{}", console.ask("dmesg | tail -3")?);
    Ok(())
}

/// Saves a domain and restores it while others work.
pub(crate) fn save_and_restore(stage: &Stage<'_>, name: &str, vcpus: u64) -> Result<(), Trouble> {
    let mut console = stage.operator.console(name)?;
    let before = console.ask_number("counter")?;
    let saved = stage.file(&format!("{name}.save"));
    let saved = saved.to_string_lossy();
    let save = ["save", name, &saved];
    stage.operator.run_within(&save, LINUX_BOOT)?;
    stage
        .operator
        .run_within(&["restore", &saved], LINUX_BOOT)?;
    let mut console = stage.operator.console(name)?;
    assert_eq!(online(&mut console)?, vcpus);
    assert!(console.ask_number("counter")? >= before);
    is_calm(&mut console)
}

#[test]
fn linuxes_with_one_and_two_vcpus_live_together_on_two_cpus() {
    TWO.run(one_and_two);
}

pub(crate) fn one_and_two(stage: &Stage<'_>) -> Result<(), Trouble> {
    let mut one = debian(stage, "one", 1)?;
    let mut two = debian(stage, "two", 2)?;
    load(&mut one)?;
    load(&mut two)?;
    save_and_restore(stage, "two", 2)?;
    is_calm(&mut one)?;
    stage.do_to("destroy", "one")?;
    stage.do_to("destroy", "two")
}

#[test]
fn linuxes_with_one_two_and_four_vcpus_live_together_on_four_cpus() {
    FOUR.run(one_two_and_four);
}

pub(crate) fn one_two_and_four(stage: &Stage<'_>) -> Result<(), Trouble> {
    let mut one = debian(stage, "one", 1)?;
    let mut two = debian(stage, "two", 2)?;
    drop(debian(stage, "four", 4)?);
    load(&mut one)?;
    load(&mut two)?;
    save_and_restore(stage, "four", 4)?;
    stage.operator.run(&["reboot", "two"])?;
    two.line("GUEST-UP", LINUX_BOOT)?;
    assert_eq!(online(&mut two)?, 2);
    is_calm(&mut two)?;
    is_calm(&mut one)?;
    for name in ["one", "two", "four"] {
        stage.do_to("destroy", name)?;
    }
    Ok(())
}

#[test]
fn eight_cpus_run() {
    EIGHT.run(eight_cpus);
}

pub(crate) fn eight_cpus(stage: &Stage<'_>) -> Result<(), Trouble> {
    assert_eq!(stage.operator.info("cpus")?, 8);
    every_cpu_runs(stage)
}

fn every_cpu_runs(stage: &Stage<'_>) -> Result<(), Trouble> {
    let cpus = stage.operator.info("cpus")?;
    let mut names = Vec::new();
    for number in 1..=cpus {
        let name = format!("on{number}");
        stage.create_small(&name, "ticker", "")?;
        names.push(name);
    }
    for name in &names {
        stage.ticks_go_on(name)?;
    }
    for name in &names {
        stage.do_to("destroy", name)?;
    }
    stage.create_small("last", "hello", "")?;
    stage.operator.gone("last", SOON)?;
    contains(&stage.operator.said("last")?, &["ok hello"]);
    Ok(())
}

/// A guest that makes claims about its CPUs, on this many.
pub(crate) fn cpus_do_as_told(
    stage: &Stage<'_>,
    counts: &[u32],
    type_of: &str,
) -> Result<(), Trouble> {
    for count in counts {
        let name = format!("cpus{count}");
        let lines = format!("vcpus = {count}\ntype = \"{type_of}\"");
        stage.create_small(&name, "cpus", &lines)?;
        stage.operator.gone(&name, LINUX_BOOT)?;
        contains(&stage.operator.said(&name)?, &["ok cpus"]);
    }
    Ok(())
}

#[test]
fn cpus_of_a_domain_do_as_they_are_told_on_one_cpu() {
    on_machine(|stage| cpus_do_as_told(stage, &[1, 2, 3], "pvh"));
}

#[test]
fn cpus_of_a_domain_do_as_they_are_told_on_two_cpus() {
    TWO.run(|stage| {
        cpus_do_as_told(stage, &[2, 4], "pvh")?;
        cpus_do_as_told(stage, &[4], "hvm")
    });
}

#[test]
fn sixteen_cpus_of_a_domain_do_as_they_are_told_on_four() {
    FOUR.run(|stage| {
        cpus_do_as_told(stage, &[8, 16], "pvh")?;
        let file = stage.small("many", "cpus", "vcpus = 17");
        contains(&stage.operator.refused(&["create", &file])?, &["16"]);
        Ok(())
    });
}

#[test]
fn cpus_of_a_domain_do_as_they_are_told_on_a_gicv2() {
    GICV2.run(|stage| cpus_do_as_told(stage, &[2, 8], "pvh"));
}
