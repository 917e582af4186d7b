//! Hostile guests: whatever one does, an honest domain's memory and time are its own, and xend answers.

use harness::operator::{Trouble, wait};

use crate::stage::{Board, SOON, Stage, on_machine};

static TWO: Board = Board::new(|machine| machine.cpus = 2);

/// The same in every run, besides one that nobody chose.
const SEED: u64 = 20_260_101;

/// Runs a hostile guest beside the honest one, to its end.
pub(crate) fn attack(stage: &Stage<'_>, guest: &str, options: &str) -> Result<(), Trouble> {
    attack_with(stage, guest, options, "")
}

/// The same with further lines in its configuration.
fn attack_with(stage: &Stage<'_>, guest: &str, options: &str, lines: &str) -> Result<(), Trouble> {
    let more = format!("on_crash = \"preserve\"\nextra = \"{options}\"\n{lines}");
    let domid = stage.create(guest, guest, 16, &more)?;
    let done = format!("(d{domid}) ok {guest}");
    let what = format!("{guest} ({options}) did not come to its end");
    let ended = wait(LONG, &what, || {
        // Whatever happens, xend answers.
        let state = stage.operator.state(guest)?;
        let log = stage.operator.run(&["dmesg"])?;
        Ok(log.contains(&done) || state.is_none_or(|state| state == "crashed"))
    });
    ended.map_err(|trouble| explain(stage, guest, &trouble))?;
    let log = stage.operator.run(&["dmesg"])?;
    if !log.contains(&done) {
        return Err(explain(stage, guest, &Trouble(what)));
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

fn explain(stage: &Stage<'_>, guest: &str, trouble: &Trouble) -> Trouble {
    let said = stage.operator.said(guest).unwrap_or_default();
    let log = stage.operator.run(&["dmesg"]).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    Trouble(format!(
        "{trouble}; it said {said:?}; the log's end, last line first:\n{}",
        lines.join("\n")
    ))
}

fn claim(guest: &str, refused: Option<&str>) {
    on_machine(|stage| held(stage, guest, refused));
}

/// Runs a hostile guest twice beside an honest domain. What it did wrong is counted: `refused` is a word of the log.
pub(crate) fn held(stage: &Stage<'_>, guest: &str, refused: Option<&str>) -> Result<(), Trouble> {
    held_with(stage, guest, refused, "")
}

/// The same with further lines in its configuration.
pub(crate) fn held_with(
    stage: &Stage<'_>,
    guest: &str,
    refused: Option<&str>,
    lines: &str,
) -> Result<(), Trouble> {
    held_for(stage, guest, refused, lines, &[&format!("seed={SEED}"), ""])
}

/// The same for a guest that leaves nothing to chance: once.
pub(crate) fn held_once(
    stage: &Stage<'_>,
    guest: &str,
    refused: Option<&str>,
) -> Result<(), Trouble> {
    held_for(stage, guest, refused, "", &[""])
}

fn held_for(
    stage: &Stage<'_>,
    guest: &str,
    refused: Option<&str>,
    lines: &str,
    runs: &[&str],
) -> Result<(), Trouble> {
    stage.create("honest", "honest", 32, "")?;
    stage.ticks_go_on("honest")?;
    for options in runs {
        attack_with(stage, guest, options, lines)?;
    }
    let log = stage.operator.run(&["dmesg"])?;
    if let Some(word) = refused {
        assert!(log.contains(word), "{word:?} is not in the log:\n{log}");
    }
    assert!(!stage.operator.said("honest")?.contains("FAIL"));
    stage.do_to("destroy", "honest")
}

/// Tests of what a guest of either architecture can try. `$claim` runs one on a machine, with a word of the log.
macro_rules! held_on_any_machine {
    ($claim:path) => {
        #[test]
        fn any_hypercall_with_any_arguments() {
            $claim("hostile_calls", Some("call with a bad pointer"));
        }

        #[test]
        fn event_channels_in_any_order() {
            $claim("hostile_events", None);
        }

        #[test]
        fn grants_of_anybody() {
            $claim("hostile_grants", None);
        }

        #[test]
        fn anything_in_the_rings() {
            $claim("hostile_rings", None);
        }

        #[test]
        fn a_flood_of_interrupts() {
            $claim("hostile_timer", None);
        }
    };
}
pub(crate) use held_on_any_machine;

held_on_any_machine!(claim);

#[test]
fn any_system_register_and_any_hvc() {
    claim("hostile_registers", Some("HVC at pc"));
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
fn vcpus_that_switch_one_another_on_and_off() {
    TWO.run(|stage| {
        stage.create("honest", "honest", 32, "")?;
        for options in [format!("seed={SEED}"), String::new()] {
            attack_with(stage, "hostile_cpus", &options, "vcpus = 4")?;
        }
        assert!(!stage.operator.said("honest")?.contains("FAIL"));
        stage.do_to("destroy", "honest")
    });
}

/// A domain that maps another's frame, and writes it after it has unmapped it.
pub(crate) fn write_after_unmap(stage: &Stage<'_>, more: &str) -> Result<(), Trouble> {
    let honest = stage.create("honest", "honest", 32, "")?;
    // Domains are numbered one after the other.
    let (granter, mapper) = (honest + 1, honest + 2);
    let options = format!("extra = \"peer={mapper} {more}\"");
    assert_eq!(stage.create("granter", "granter", 16, &options)?, granter);
    attack(stage, "hostile_mapper", &format!("peer={granter} {more}"))?;
    let log = stage.operator.run(&["dmesg"])?;
    for words in [
        format!("(d{granter}) ok granter"),
        format!("d{mapper}v0: store at pc"),
    ] {
        assert!(log.contains(&words), "{words:?} is not in the log:\n{log}");
    }
    stage.operator.gone("granter", SOON)?;
    stage.do_to("destroy", "honest")
}

#[test]
fn writes_after_unmap() {
    on_machine(|stage| write_after_unmap(stage, ""));
}

#[test]
fn writes_after_unmap_beside_another_cpu() {
    // Each invalidation makes the emulator's CPUs wait for one another.
    TWO.run(|stage| write_after_unmap(stage, "times=200"));
}

#[test]
fn what_was_refused_is_counted_by_kind() {
    on_machine(|stage| counted_by_kind(stage, 6, "HVC"));
}

/// So many calls of the firmware are among them, and what an instruction is called in the log.
pub(crate) fn counted_by_kind(
    stage: &Stage<'_>,
    firmware_calls: u64,
    instruction: &str,
) -> Result<(), Trouble> {
    stage.create_small("mistaken", "mistaken", "")?;
    stage
        .operator
        .says("mistaken", "mistakes were made", SOON)?;
    let info = stage.operator.json(&["info", "mistaken"])?;
    let counted = [
        "calls",
        "pointers",
        "accesses",
        "instructions",
        "firmware calls",
    ]
    .map(|kind| info["counters"][format!("refused {kind}")].as_u64());
    assert_eq!(counted, [2, 3, 4, 5, firmware_calls].map(Some));
    let top = stage
        .operator
        .json(&["top", "--once", "--interval", "0.1"])?;
    let domains = top["domains"].as_array().expect("there are domains");
    let ours = domains.iter().find(|it| it["name"] == "mistaken");
    assert_eq!(ours.expect("it is there")["refusals"], 14 + firmware_calls);
    let log = stage.operator.run(&["dmesg"])?;
    for word in [
        "call not offered",
        "call not allowed",
        "bad pointer",
        "load",
        instruction,
    ] {
        assert!(log.contains(word), "{word:?} is not in the log:\n{log}");
    }
    stage.do_to("destroy", "mistaken")
}

#[test]
fn nobody_sees_what_was_in_its_memory_before() {
    on_machine(nothing_left_behind);
}

pub(crate) fn nothing_left_behind(stage: &Stage<'_>) -> Result<(), Trouble> {
    // Most of what is free, so that the second gets what the first had.
    let mib = u32::try_from(stage.free_kib / 1024 * 3 / 4).expect("it fits");
    let options = format!("extra = \"paint mib={mib}\"");
    stage.create("painter", "residue", mib, &options)?;
    stage.operator.says("painter", "painted", LONG)?;
    stage.do_to("destroy", "painter")?;
    stage.clean()?;
    stage.create("looker", "residue", mib, &format!("extra = \"mib={mib}\""))?;
    stage.operator.says("looker", "all zero", LONG)?;
    stage.operator.gone("looker", SOON)
}

#[test]
fn a_guest_that_never_yields() {
    on_machine(never_yielding);
}

pub(crate) fn never_yielding(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create("honest", "honest", 32, "")?;
    stage.create_small("runaway", "runaway", "on_crash = \"preserve\"")?;
    stage.operator.says("runaway", "ok runaway", SOON)?;
    for _ in 0..3 {
        stage.ticks_go_on("honest")?;
    }
    stage.do_to("destroy", "runaway")?;
    assert!(!stage.operator.said("honest")?.contains("FAIL"));
    stage.do_to("destroy", "honest")
}
