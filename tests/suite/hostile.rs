//! Hostile guests: whatever one does, an honest domain's memory and time are its own, and xend answers.

use harness::operator::{Trouble, wait};

use crate::stage::{SOON, Stage, on_machine};

/// The same in every run, besides one that nobody chose.
const SEED: u64 = 20_260_101;

/// Runs a hostile guest beside the honest one, to its end.
fn attack(stage: &Stage<'_>, guest: &str, options: &str) -> Result<(), Trouble> {
    let more = format!("on_crash = \"preserve\"\nextra = \"{options}\"");
    let domid = stage.create(guest, guest, 16, &more)?;
    let done = format!("(d{domid}) ok {guest}");
    let what = format!("{guest} ({options}) did not come to its end");
    let ended = wait(LONG, &what, || {
        // Whatever happens, xend answers.
        let state = stage.operator.state(guest)?;
        let log = stage.operator.run(&["dmesg"])?;
        Ok(log.contains(&done) || state.is_none_or(|state| state == "crashed"))
    });
    ended.map_err(|trouble| explain(stage, &trouble))?;
    let log = stage.operator.run(&["dmesg"])?;
    if !log.contains(&done) {
        return Err(explain(stage, &Trouble(what)));
    }
    stage.ticks_go_on("honest")?;
    if stage.operator.state(guest)?.is_some() {
        // It may be switching itself off right now.
        let _gone_already = stage.host.xenman(["destroy", guest]);
    }
    stage.operator.gone(guest, SOON)
}

/// For 100,000 exits on an emulator that has other things to do.
const LONG: std::time::Duration = std::time::Duration::from_secs(300);

fn explain(stage: &Stage<'_>, trouble: &Trouble) -> Trouble {
    let log = stage.operator.run(&["dmesg"]).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    Trouble(format!(
        "{trouble}; the log's end, last line first:\n{}",
        lines.join("\n")
    ))
}

/// Runs a hostile guest twice beside an honest domain. What it did wrong is counted: `refused` is a word of the log.
fn claim(guest: &str, refused: Option<&str>) {
    on_machine(|stage| {
        stage.create("honest", "honest", 32, "")?;
        stage.ticks_go_on("honest")?;
        for options in [format!("seed={SEED}"), String::new()] {
            attack(stage, guest, &options)?;
        }
        let log = stage.operator.run(&["dmesg"])?;
        if let Some(word) = refused {
            assert!(log.contains(word), "{word:?} is not in the log:\n{log}");
        }
        assert!(!stage.operator.said("honest")?.contains("FAIL"));
        stage.do_to("destroy", "honest")
    });
}

#[test]
fn event_channels_in_any_order() {
    claim("hostile_events", None);
}

#[test]
fn loads_and_stores_anywhere() {
    claim("hostile_mmio", Some("load at pc"));
}

#[test]
fn any_register_of_the_interrupt_controller() {
    claim("hostile_gic", None);
}

#[test]
fn any_call_of_the_firmware() {
    claim("hostile_firmware", None);
}

#[test]
fn anything_in_the_rings() {
    claim("hostile_rings", None);
}

#[test]
fn a_flood_of_interrupts() {
    claim("hostile_timer", None);
}

#[test]
fn a_guest_that_never_yields() {
    on_machine(|stage| {
        stage.create("honest", "honest", 32, "")?;
        stage.create_small("runaway", "runaway", "on_crash = \"preserve\"")?;
        stage.operator.says("runaway", "ok runaway", SOON)?;
        for _ in 0..3 {
            stage.ticks_go_on("honest")?;
        }
        stage.do_to("destroy", "runaway")?;
        assert!(!stage.operator.said("honest")?.contains("FAIL"));
        stage.do_to("destroy", "honest")
    });
}
