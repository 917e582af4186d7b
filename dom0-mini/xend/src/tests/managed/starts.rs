//! Managed domains that start with xend, and what they are built from.

use super::*;

/// A domain that starts with xend.
fn auto(name: &str, order: u32, delay: u32) -> RequestBody {
    let text = format!(
        "{}\non_xend_start = 'start'\nautostart_order = {order}\nautostart_delay = {delay}\n",
        bundled(name)
    );
    define(text, Vec::new())
}

fn running(machine: &mut Machine) -> Vec<String> {
    machine.world.finish();
    let list = machine.world.list();
    let on = list.into_iter().filter(|(_, state)| *state != "off");
    on.map(|(name, _)| name).collect()
}

#[test]
fn domains_start_with_xend_in_their_order() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    for request in [
        auto("late", 200, 5),
        auto("first", 1, 0),
        auto("second", 100, 3),
        new("idle"),
    ] {
        machine.ask(request).unwrap();
    }
    assert_eq!(running(&mut machine), [""; 0], "xend runs already");
    drop(machine);
    let mut machine = Machine::over(fake(), Some(&disk));
    assert_eq!(running(&mut machine), ["first"]);
    machine.world.pass(1000);
    machine.keep();
    assert_eq!(machine.world.xend.next_deadline(), Some(3_000_000_000));
    machine.world.now.mono_ns = 2_999_000_000;
    machine.world.pass(0);
    assert_eq!(running(&mut machine), ["first"]);
    machine.world.now.mono_ns = 3_000_000_000;
    machine.world.pass(0);
    assert_eq!(running(&mut machine), ["first", "second"]);
    machine.world.pass(5000);
    assert_eq!(running(&mut machine), ["first", "second", "late"]);
}

/// What a domain is built from is on the disk with its definition, and read from there.
#[test]
fn uploaded_files_outlive_a_restart() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    machine.world.upload(1, &kernel()).unwrap();
    machine.world.upload(1, &ramdisk()).unwrap();
    machine
        .ask(define(config("web") + "on_xend_start = 'start'\n", files()))
        .unwrap();
    machine
        .world
        .assert_clean("its files are on the disk, and nowhere else");
    drop(machine);
    let mut machine = Machine::start(Some(&disk));
    assert_eq!(running(&mut machine), [""; 0], "they are read first");
    machine.keep();
    assert_eq!(running(&mut machine), ["web"]);
    let domid = domid(&machine.world);
    let image = machine
        .world
        .machine()
        .domain(domid)
        .read(RAM0_BASE, 70_000);
    assert_eq!(image, kernel());
    machine.world.stop(domid, ShutdownReason::POWEROFF);
    machine.ask(start("web")).unwrap();
    let seen = definition(machine.ask(show("web")));
    let edited = seen.config.replace("memory = 2", "memory = 3");
    machine.ask(edit(&seen, edited)).unwrap();
    machine.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    machine.ask(start("web")).unwrap();
    assert_eq!(line(&mut machine.world, "web").memory_kib, 3072);
    machine.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    machine.ask(delete("web")).unwrap();
    machine.world.assert_clean("it is deleted");
}

/// What a domain that is taken over was built from is found by its definition.
#[test]
fn a_domain_that_is_taken_over_can_reboot() {
    let disk = SimulatedDisk::new(16);
    let before = fake();
    let mut machine = Machine::over(before.clone(), Some(&disk));
    machine.world.upload(1, &kernel()).unwrap();
    machine.world.upload(1, &ramdisk()).unwrap();
    machine.ask(define(config("web"), files())).unwrap();
    machine.ask(start("web")).unwrap();
    drop(machine);
    let mut machine = Machine::over(before, Some(&disk));
    let domid = domid(&machine.world);
    machine.world.stop(domid, ShutdownReason::REBOOT);
    machine.keep();
    assert_eq!(running(&mut machine), ["web"]);
}

#[test]
fn what_runs_already_is_not_started_and_what_cannot_holds_nobody_up() {
    let disk = SimulatedDisk::new(16);
    let before = fake();
    let mut machine = Machine::over(before.clone(), Some(&disk));
    for (name, order) in [("runs", 1), ("lost", 2), ("last", 3)] {
        machine.ask(auto(name, order, 0)).unwrap();
    }
    let big = format!(
        "{}\nmemory = 4000\non_xend_start = 'start'\nautostart_order = 2",
        bundled("big")
    );
    machine.ask(define(big, Vec::new())).unwrap();
    machine.ask(start("runs")).unwrap();
    drop(machine);
    let mut machine = Machine::over(before, Some(&disk));
    assert_eq!(running(&mut machine), ["runs", "lost", "last"]);
    let log = machine.log();
    assert!(log.contains("the domain needs 4000 MiB"), "{log}");
    drop(machine);
    let mut machine = Machine::start(Some(&disk));
    assert_eq!(running(&mut machine), [""; 0]);
    let log = machine.log();
    assert!(
        log.contains("domain 'last' is not started with xend: 'boot:Image' of domain 'last' is not on this host"),
        "{log}"
    );
}
