//! Managed domains that get another name.

use super::*;

fn rename(from: &str, to: &str) -> RequestBody {
    RequestBody::Rename(Rename {
        domain: by_name(from),
        name: to.into(),
    })
}

#[test]
fn a_domain_that_is_off_has_its_new_name_beyond_a_restart() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    let uuid = line(&mut machine.world, "web").uuid;
    assert_eq!(machine.ask(rename("web", "db")), Ok(Reply::Done));
    drop(machine);
    let mut machine = Machine::over(fake(), Some(&disk));
    assert_eq!(machine.world.list(), [("db".into(), "off")]);
    let shown = definition(machine.ask(show("db")));
    assert_eq!(
        (shown.path.as_str(), shown.broken),
        ("/etc/xen/db.cfg", None)
    );
    let written = bundled("web").replace("name = 'web'", "name = \"db\"");
    assert_eq!(shown.config, written, "all but the name is as it was");
    machine.ask(start("db")).unwrap();
    assert_eq!(line(&mut machine.world, "db").uuid, uuid);
    assert_eq!(
        machine.ask(start("web")).unwrap_err().code,
        ErrorCode::UNKNOWN_DOMAIN
    );
    machine.ask(new("web")).unwrap();
}

#[test]
fn a_domain_that_runs_runs_on_under_its_new_name() {
    let mut world = world();
    uploaded(&mut world).unwrap();
    world.event(Event::SessionClosed(1));
    world.connect(1);
    world.ask(start("web")).unwrap();
    let before = line(&mut world, "web");
    world.ask(rename("web", "db")).unwrap();
    let after = line(&mut world, "db");
    assert_eq!(
        (after.domid, after.state, after.uuid),
        (before.domid, DomainState::BLOCKED, before.uuid)
    );
    assert_eq!(after.flags, DomainFlags::MANAGED);
    let node = format!("/local/domain/{}/name", after.domid);
    assert_eq!(world.xend.xenstore.read_text(&node), Some("db"));
    assert_eq!(world.list().len(), 1);
    // It is built again of the same files.
    world.stop(after.domid, ShutdownReason::REBOOT);
    assert_eq!(world.list(), [("db".into(), "blocked")]);
    world.ask(RequestBody::Destroy(by_name("db"))).unwrap();
    world.ask(start("db")).unwrap();
    assert_eq!(line(&mut world, "db").uuid, before.uuid);
}

#[test]
fn a_name_that_is_not_free_is_refused() {
    let mut world = world();
    world.create(config("running")).unwrap();
    world.ask(new("web")).unwrap();
    world.ask(new("db")).unwrap();
    for (from, to, code) in [
        ("web", "running", ErrorCode::NAME_IN_USE),
        ("web", "db", ErrorCode::NAME_IN_USE),
        ("running", "db", ErrorCode::NAME_IN_USE),
        ("web", "a/b", ErrorCode::BAD_REQUEST),
        ("nobody", "new", ErrorCode::UNKNOWN_DOMAIN),
    ] {
        assert_eq!(world.code(rename(from, to)), code, "{from} to {to}");
    }
    world.ask(rename("web", "web")).unwrap();
    assert_eq!(definition(world.ask(show("web"))).config, bundled("web"));
}

#[test]
fn nobody_takes_either_name_meanwhile() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    machine.world.connect(2);
    let id = machine.world.post(1, rename("web", "db"));
    for other in [
        start("web"),
        delete("web"),
        new("db"),
        World::create_request(bundled("db"), false),
        rename("web", "other"),
    ] {
        let refused = machine.world.ask_as(2, other).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BUSY, "{refused}");
    }
    machine.keep();
    assert_eq!(machine.world.answer(1, id), Some(Ok(Reply::Done)));
    machine.ask(new("web")).unwrap();
    machine.ask(start("db")).unwrap();
}

#[test]
fn a_store_that_cannot_keep_it_renames_nothing() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    machine.ask(start("web")).unwrap();
    disk.cut_after(3);
    let refused = machine.ask(rename("web", "db")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::STORE);
    assert_eq!(machine.world.list(), [("web".into(), "blocked")]);
    machine.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    machine.ask(start("web")).unwrap();
}

/// One that was saved under its old name comes back under that, and can have the new one.
#[test]
fn a_domain_that_was_saved_before_follows() {
    let mut world = world();
    world.ask(new("web")).unwrap();
    world.ask(start("web")).unwrap();
    let file = crate::tests::snapshots::save(&mut world, "web").unwrap();
    world.ask(rename("web", "db")).unwrap();
    crate::tests::snapshots::restore(&mut world, &file, None).unwrap();
    assert_eq!(world.code(start("db")), ErrorCode::WRONG_STATE);
    world.ask(rename("web", "db")).unwrap();
    let on = line(&mut world, "db");
    assert_eq!(
        (on.state, on.flags),
        (DomainState::BLOCKED, DomainFlags::MANAGED)
    );
    assert_eq!(world.list().len(), 1);
}

#[test]
fn a_domain_that_waits_for_its_start_with_xend_is_started_under_its_new_name() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    let text = bundled("web") + "\non_xend_start = 'start'\nautostart_delay = 5\n";
    machine.ask(define(text, Vec::new())).unwrap();
    drop(machine);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(rename("web", "db")).unwrap();
    machine.world.pass(5000);
    machine.world.finish();
    assert_eq!(machine.world.list(), [("db".into(), "blocked")]);
}
