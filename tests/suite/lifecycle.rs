//! The lives of domains on a booted machine, through `xenman`: one machine for all of these tests.

use std::fs;
use std::thread;
use std::time::Duration;

use harness::operator::{Trouble, wait};

use crate::stage::{SMALL_MIB, SOON, Stage, contains, on_machine};

#[test]
fn the_parts_of_memory_add_up() {
    on_machine(|stage| {
        memory_adds_up(stage)?;
        assert_eq!(stage.operator.info("cpus")?, 1);
        Ok(())
    });
}

pub(crate) fn memory_adds_up(stage: &Stage<'_>) -> Result<(), Trouble> {
    let info = stage.operator.json(&["info"])?;
    let kib = |key: &str| {
        info[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {info}"))
    };
    let parts = ["free", "hypervisor", "dom0", "boot", "store", "domains"];
    let sum: u64 = parts.iter().map(|part| kib(&format!("{part}_kib"))).sum();
    assert_eq!(sum, kib("total_kib"), "{info}");
    Ok(())
}

#[test]
fn domain_0_is_listed_first_and_cannot_be_destroyed() {
    on_machine(|stage| {
        let list = stage.operator.json(&["list"])?;
        assert_eq!(list[0]["domid"], 0, "{list}");
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        stage.operator.refused(&["destroy", "0"]).map(drop)
    });
}

#[test]
fn a_guest_that_switches_itself_off_is_gone_and_its_console_is_not() {
    on_machine(switches_itself_off);
}

pub(crate) fn switches_itself_off(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("hello", "hello", "")?;
    stage.operator.gone("hello", SOON)?;
    contains(&stage.operator.said("hello")?, &["ok hello"]);
    Ok(())
}

#[test]
fn a_domain_is_listed_as_it_was_configured() {
    on_machine(listed_as_configured);
}

pub(crate) fn listed_as_configured(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("seen", "ticker", "")?;
    let list = stage.operator.json(&["list", "seen"])?;
    assert_eq!(list[0]["memory_kib"], SMALL_MIB * 1024, "{list}");
    assert_eq!(list[0]["vcpus"], 1);
    stage.is("seen", &["running", "blocked"])?;
    assert_eq!(
        stage.operator.json(&["list"])?.as_array().map(Vec::len),
        Some(2)
    );
    stage.do_to("destroy", "seen")
}

#[test]
fn pause_stops_a_guest_and_unpause_lets_it_go_on() {
    on_machine(paused_and_unpaused);
}

pub(crate) fn paused_and_unpaused(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("paused", "ticker", "")?;
    stage.ticks_go_on("paused")?;
    stage.do_to("pause", "paused")?;
    stage.is("paused", &["paused"])?;
    thread::sleep(Duration::from_millis(500));
    let stopped = stage.ticks("paused")?;
    thread::sleep(Duration::from_secs(2));
    assert_eq!(stage.ticks("paused")?, stopped, "a paused guest ran");
    stage.do_to("unpause", "paused")?;
    stage.ticks_go_on("paused")?;
    stage.do_to("destroy", "paused")
}

#[test]
fn a_guest_created_paused_does_not_start_before_it_is_told_to() {
    on_machine(created_paused);
}

pub(crate) fn created_paused(stage: &Stage<'_>) -> Result<(), Trouble> {
    let file = stage.small("early", "ticker", "");
    stage.operator.run(&["create", "-p", &file])?;
    thread::sleep(Duration::from_secs(1));
    assert!(!stage.operator.said("early")?.contains("tick"));
    stage.do_to("unpause", "early")?;
    stage.ticks_go_on("early")?;
    stage.do_to("destroy", "early")
}

#[test]
fn a_saved_guest_ticks_on_from_where_it_was() {
    on_machine(saved_and_restored);
}

pub(crate) fn saved_and_restored(stage: &Stage<'_>) -> Result<(), Trouble> {
    let file = stage.file("ticker.save");
    let file = file.to_string_lossy();
    stage.create_small("saved", "ticker", "")?;
    stage.operator.says("saved", "tick 10\r", SOON)?;
    let before = stage.ticks("saved")?;
    stage.operator.run(&["save", "saved", &file])?;
    assert_eq!(stage.operator.state("saved")?, None);
    stage.clean()?;
    stage.operator.run(&["restore", &file])?;
    stage.ticks_go_on("saved")?;
    let after = stage.ticks("saved")?;
    assert!(after > before, "{after} comes after {before}");
    stage.do_to("destroy", "saved")
}

#[test]
fn a_guest_is_saved_and_restored_twenty_times_in_a_row() {
    on_machine(saved_again_and_again);
}

pub(crate) fn saved_again_and_again(stage: &Stage<'_>) -> Result<(), Trouble> {
    let file = stage.file("again.save");
    let file = file.to_string_lossy();
    stage.create_small("again", "ticker", "")?;
    for _ in 0..20 {
        stage.ticks_go_on("again")?;
        stage.operator.run(&["save", "again", &file])?;
        stage.operator.run(&["restore", &file])?;
    }
    stage.ticks_go_on("again")?;
    stage.do_to("destroy", "again")
}

#[test]
fn what_a_save_was_restored_from_stays_and_a_damaged_copy_is_refused() {
    on_machine(|stage| {
        let (file, damaged) = (stage.file("whole.save"), stage.file("damaged.save"));
        stage.create_small("whole", "ticker", "")?;
        stage.ticks_go_on("whole")?;
        stage
            .operator
            .run(&["save", "whole", &file.to_string_lossy()])?;
        let content = fs::read(&file).expect("the save is a file");
        let half = content.len() / 2;
        let mut changed = content.clone();
        changed[half] ^= 0x10;
        for (what, copy) in [("cut", &content[..half]), ("changed", &changed[..])] {
            fs::write(&damaged, copy).expect("the copy is written");
            let said = stage
                .operator
                .refused(&["restore", &damaged.to_string_lossy()])?;
            assert!(!said.is_empty(), "{what}");
            assert_eq!(stage.operator.state("whole")?, None, "{what}");
            stage.clean()?;
        }
        stage.operator.run(&["restore", &file.to_string_lossy()])?;
        stage.ticks_go_on("whole")?;
        stage.do_to("destroy", "whole")
    });
}

#[test]
fn a_guest_that_asks_for_it_is_started_again() {
    on_machine(started_again);
}

pub(crate) fn started_again(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("rebooter", "rebooter", "")?;
    wait(SOON, "it was not started again", || {
        let said = stage.operator.said("rebooter")?;
        Ok(said.matches("ok rebooter").count() >= 3)
    })?;
    stage.do_to("destroy", "rebooter")
}

#[test]
fn the_policy_for_a_reboot_is_followed() {
    on_machine(|stage| {
        stage.create_small("once", "rebooter", "on_reboot = \"destroy\"")?;
        stage.operator.gone("once", SOON)
    });
}

#[test]
fn a_crashed_guest_is_kept_for_who_asked_to_look_at_it() {
    on_machine(crashed_and_kept);
}

pub(crate) fn crashed_and_kept(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("crasher", "crasher", "on_crash = \"preserve\"")?;
    stage.is("crasher", &["crashed"])?;
    contains(&stage.operator.said("crasher")?, &["ok crasher"]);
    stage.do_to("destroy", "crasher")
}

#[test]
fn a_guest_that_runs_away_harms_itself_alone() {
    on_machine(running_away);
}

pub(crate) fn running_away(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("steady", "ticker", "")?;
    stage.create_small("runaway", "runaway", "on_crash = \"preserve\"")?;
    stage.operator.says("runaway", "ok runaway", SOON)?;
    stage.ticks_go_on("steady")?;
    stage.do_to("destroy", "runaway")?;
    stage.do_to("destroy", "steady")
}

#[test]
fn a_name_is_given_once() {
    on_machine(|stage| {
        stage.create_small("twin", "ticker", "")?;
        let file = stage.small("twin", "ticker", "");
        let said = stage.operator.refused(&["create", &file])?;
        contains(&said, &["twin"]);
        stage.ticks_go_on("twin")?;
        stage.do_to("destroy", "twin")
    });
}

#[test]
fn a_renamed_domain_answers_to_its_new_name_only() {
    on_machine(|stage| {
        stage.create_small("old", "ticker", "")?;
        stage.operator.run(&["rename", "old", "new"])?;
        contains(&stage.operator.refused(&["pause", "old"])?, &["old"]);
        stage.ticks_go_on("new")?;
        stage.do_to("destroy", "new")
    });
}

#[test]
fn a_kernel_that_is_not_there_or_is_none_is_refused_by_name() {
    on_machine(|stage| {
        let missing = stage.file("missing");
        let file = stage.configuration("lost", &missing, "memory = 8");
        contains(&stage.operator.refused(&["create", &file])?, &["missing"]);
        let garbage = stage.file("garbage");
        fs::write(&garbage, [0x5A; 100_000]).expect("the file is written");
        let file = stage.configuration("junk", &garbage, "memory = 8");
        contains(&stage.operator.refused(&["create", &file])?, &["garbage"]);
        let list = stage.operator.json(&["list"])?;
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        Ok(())
    });
}

#[test]
fn more_memory_than_there_is_is_refused() {
    on_machine(|stage| {
        let file = stage.small("huge", "hello", "");
        let said = stage.operator.refused(&["create", &file, "memory=4096"])?;
        contains(&said, &["memory"]);
        assert_eq!(stage.operator.state("huge")?, None);
        Ok(())
    });
}

#[test]
fn twelve_domains_run_side_by_side() {
    on_machine(twelve);
}

pub(crate) fn twelve(stage: &Stage<'_>) -> Result<(), Trouble> {
    let names: Vec<String> = (0..12).map(|number| format!("many{number}")).collect();
    for name in &names {
        stage.create_small(name, "ticker", "")?;
    }
    for name in &names {
        stage.ticks_go_on(name)?;
    }
    names
        .iter()
        .try_for_each(|name| stage.do_to("destroy", name))
}

#[test]
fn domains_that_come_and_go_leave_all_memory_free() {
    on_machine(|stage| come_and_go(stage, 100));
}

/// So many domains one after the other, and half as many that cannot be.
pub(crate) fn come_and_go(stage: &Stage<'_>, count: u32) -> Result<(), Trouble> {
    for _ in 0..count {
        stage.create_small("cycle", "ticker", "")?;
        stage.do_to("destroy", "cycle")?;
    }
    stage.clean()?;
    let file = stage.small("cycle", "hello", "");
    for _ in 0..count / 2 {
        stage.operator.refused(&["create", &file, "memory=4096"])?;
    }
    stage.clean()
}
