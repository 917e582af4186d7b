//! What the runs of managed domains used, beyond those runs and beyond xend's own.

use super::*;
use hv_abi::control::vcpu::{ExitCounts, Usage};
use mgmt_proto::messages::Totals;

fn used() -> Usage {
    Usage {
        cpu_ns: 500,
        runs: 9,
        exits: ExitCounts {
            hypercalls: 20,
            idle: 4,
            ..ExitCounts::default()
        },
        interrupts: 7,
        events: 3,
        ..Usage::default()
    }
}

fn totals(world: &mut World, name: &str) -> Option<Totals> {
    match world.ask(RequestBody::Show(by_name(name))) {
        Ok(Reply::Domain(detail)) => detail.totals,
        other => panic!("{other:?}"),
    }
}

/// It runs, uses that, and stops.
fn run(world: &mut World, name: &str, reason: ShutdownReason) {
    let domid = line(world, name).number().expect("it runs");
    world.machine().domain(domid).usage = used();
    world.stop(domid, reason);
    world.finish();
}

#[test]
fn what_runs_used_adds_up() {
    let mut world = world();
    world.ask(new("web")).unwrap();
    assert_eq!(totals(&mut world, "web"), None);
    world.ask(start("web")).unwrap();
    assert_eq!(totals(&mut world, "web"), None, "it is not over");
    run(&mut world, "web", ShutdownReason::REBOOT);
    let once = totals(&mut world, "web").unwrap();
    assert_eq!((once.runs, once.crashes, once.cpu_ns), (1, 0, 500));
    assert_eq!((once.exits, once.interrupts, once.events), (24, 7, 3));
    run(&mut world, "web", ShutdownReason::POWEROFF);
    let twice = totals(&mut world, "web").unwrap();
    assert_eq!((twice.runs, twice.exits), (2, 48));
}

#[test]
fn a_domain_that_never_ran_has_used_nothing() {
    let mut world = world();
    world.ask(new("web")).unwrap();
    world.ask(start("web")).unwrap();
    world.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    assert_eq!(totals(&mut world, "web"), None);
}

#[test]
fn they_outlive_xend_and_a_new_name() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    machine.ask(start("web")).unwrap();
    run(&mut machine.world, "web", ShutdownReason::POWEROFF);
    machine.keep();
    drop(machine);
    let mut machine = Machine::over(fake(), Some(&disk));
    let kept = totals(&mut machine.world, "web").expect("the disk has it");
    assert_eq!((kept.runs, kept.exits), (1, 24));
    let rename = RequestBody::Rename(Rename {
        domain: by_name("web"),
        name: "shop".into(),
    });
    machine.ask(rename).unwrap();
    assert_eq!(totals(&mut machine.world, "shop"), Some(kept));
    machine.ask(delete("shop")).unwrap();
    machine.ask(new("shop")).unwrap();
    assert_eq!(totals(&mut machine.world, "shop"), None, "another domain");
}

/// What is on its way to the disk does not undo it.
#[test]
fn a_run_that_ends_during_an_edit_counts() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    machine.ask(start("web")).unwrap();
    let shown = definition(machine.ask(RequestBody::DefinitionShow("web".into())));
    let text = shown.config.replace("memory = 2", "memory = 3");
    machine.world.post(1, edit(&shown, text));
    run(&mut machine.world, "web", ShutdownReason::POWEROFF);
    machine.keep();
    drop(machine);
    let mut machine = Machine::over(fake(), Some(&disk));
    let shown = definition(machine.ask(RequestBody::DefinitionShow("web".into())));
    assert!(shown.config.contains("memory = 3"), "{}", shown.config);
    let kept = totals(&mut machine.world, "web").expect("the disk has it");
    assert_eq!(kept.runs, 1);
}
