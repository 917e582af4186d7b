//! Managed domains: defined, started, stopped, edited, deleted; and what can go wrong meanwhile.

mod crashes;
mod renames;
mod starts;
mod totals;

use super::store::Machine;
use super::world::{World, by_name, config, files, kernel, ramdisk};
use crate::Event;
use crate::fake::Fake;
use crate::store::simulated::SimulatedDisk;
use hv_abi::control::domain::ShutdownReason;
use hv_abi::layout::arm::RAM0_BASE;
use mgmt_proto::blob::Digest;
use mgmt_proto::messages::{
    Define, Definition, DomainFlags, DomainState, DomainSummary, ErrorCode, Failure, NamedBlob,
    Redefine, Rename, Reply, RequestBody, Start,
};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

fn define(text: String, files: Vec<NamedBlob>) -> RequestBody {
    RequestBody::New(Define {
        config: text,
        origin: "test.cfg".into(),
        files,
    })
}

/// A domain with a kernel of the boot bundle.
fn bundled(name: &str) -> String {
    format!("# of {name}\nname = '{name}'\nmemory = 2\nkernel = 'boot:Image'")
}

fn new(name: &str) -> RequestBody {
    define(bundled(name), Vec::new())
}

fn start(name: &str) -> RequestBody {
    RequestBody::Start(Start {
        name: name.into(),
        paused: false,
    })
}

fn delete(name: &str) -> RequestBody {
    RequestBody::Delete(name.into())
}

fn edit(definition: &Definition, text: String) -> RequestBody {
    RequestBody::DefinitionSet(Redefine {
        name: definition.name.clone(),
        was: Digest::of_chunk(definition.config.as_bytes()),
        config: text,
        files: Vec::new(),
    })
}

fn fake() -> Fake {
    let fake = Fake::new();
    let image: &'static [u8] = Vec::leak(kernel());
    fake.0.borrow_mut().bundle.insert("Image", image);
    fake
}

fn world() -> World {
    World::over(fake())
}

fn uploaded(world: &mut World) -> Result<Reply, Failure> {
    world.upload(1, &kernel())?;
    world.upload(1, &ramdisk())?;
    world.ask(define(config("web"), files()))
}

fn definition(reply: Result<Reply, Failure>) -> Definition {
    match reply {
        Ok(Reply::Definition(definition)) => definition,
        other => panic!("{other:?}"),
    }
}

fn show(name: &str) -> RequestBody {
    RequestBody::DefinitionShow(name.into())
}

fn line(world: &mut World, name: &str) -> DomainSummary {
    match world.ask(RequestBody::List) {
        Ok(Reply::List(list)) => list.into_iter().find(|line| line.name == name).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn domid(world: &World) -> u16 {
    *world.machine().domains.keys().next().unwrap()
}

#[test]
fn a_defined_domain_is_started_and_stopped_as_often_as_wanted() {
    let mut world = world();
    let Ok(Reply::Defined(defined)) = uploaded(&mut world) else {
        panic!("not defined")
    };
    assert_eq!((defined.name.as_str(), defined.running), ("web", false));
    assert!(world.machine().domains.is_empty());
    // Its files are its own: the session may go.
    world.event(Event::SessionClosed(1));
    world.connect(1);
    for _ in 0..2 {
        let off = line(&mut world, "web");
        assert_eq!((off.state, off.number()), (DomainState::OFF, None));
        assert_eq!(off.flags, DomainFlags::MANAGED);
        assert_eq!(off.memory_kib, 2048);
        assert!(
            matches!(world.ask(start("web")), Ok(Reply::Created(created)) if created.name == "web")
        );
        let domid = domid(&world);
        let on = line(&mut world, "web");
        assert_eq!((on.state, on.number()), (DomainState::BLOCKED, Some(domid)));
        assert_eq!((on.flags, on.uuid), (DomainFlags::MANAGED, defined.uuid));
        assert_eq!(world.code(start("web")), ErrorCode::WRONG_STATE);
        world.stop(domid, ShutdownReason::POWEROFF);
        assert!(world.machine().domains.is_empty());
    }
    assert_eq!(world.ask(delete("web")), Ok(Reply::Done));
    assert_eq!(world.list(), []);
    world.assert_clean("after it was deleted");
}

#[test]
fn a_domain_that_is_off_is_told_from_one_that_is_unknown() {
    let mut world = world();
    world.ask(new("web")).unwrap();
    let refused = world.ask(RequestBody::Pause(by_name("web"))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::WRONG_STATE);
    assert_eq!(
        refused.to_string(),
        "domain 'web' is not running ('xenman start web' starts it)"
    );
    assert_eq!(
        world.code(RequestBody::Pause(by_name("wbe"))),
        ErrorCode::UNKNOWN_DOMAIN
    );
    assert_eq!(world.code(start("wbe")), ErrorCode::UNKNOWN_DOMAIN);
    assert_eq!(world.code(delete("wbe")), ErrorCode::UNKNOWN_DOMAIN);
    let Ok(Reply::Domain(detail)) = world.ask(RequestBody::Show(by_name("web"))) else {
        panic!("not shown")
    };
    assert_eq!(detail.config, bundled("web"));
    assert_eq!(detail.summary.state, DomainState::OFF);
}

#[test]
fn names_and_uuids_have_one_owner() {
    let uuid = "uuid = '00000000-0000-0000-0000-000000000007'\n";
    let mut world = world();
    world.create(config("running")).unwrap();
    assert_eq!(world.code(new("running")), ErrorCode::NAME_IN_USE);
    assert_eq!(world.code(delete("running")), ErrorCode::REFUSED);
    world
        .ask(define(format!("{uuid}{}", bundled("web")), Vec::new()))
        .unwrap();
    let refused = world.ask(new("web")).unwrap_err();
    assert!(
        refused.to_string().contains("'xenman config edit web'"),
        "{refused}"
    );
    let again = define(format!("{uuid}{}", bundled("other")), Vec::new());
    assert!(
        world
            .ask(again)
            .unwrap_err()
            .message
            .contains("the same UUID")
    );
    let refused = world.create(config("web")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NAME_IN_USE);
    assert!(
        refused.to_string().contains("'xenman start web'"),
        "{refused}"
    );
    let refused = world.create(config("third") + uuid).unwrap_err();
    assert!(refused.message.contains("the same UUID"), "{refused}");
}

#[test]
fn what_runs_is_not_deleted() {
    let mut world = world();
    world.ask(new("web")).unwrap();
    world.ask(start("web")).unwrap();
    let refused = world.ask(delete("web")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::WRONG_STATE);
    assert!(
        refused.to_string().contains("'xenman destroy web'"),
        "{refused}"
    );
    world.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    assert_eq!(world.list(), [("web".into(), "off")]);
    world.ask(delete("web")).unwrap();
}

#[test]
fn what_could_not_be_built_is_not_defined() {
    let mut world = world();
    let lost = bundled("web").replace("boot:Image", "boot:lost");
    for (text, code) in [
        (lost, ErrorCode::BAD_IMAGE),
        ("name = ".to_string(), ErrorCode::BAD_CONFIG),
        (config("web"), ErrorCode::BAD_BLOB),
    ] {
        assert_eq!(world.code(define(text, files())), code);
    }
    assert_eq!(world.list(), []);
}

#[test]
fn a_definition_outlives_a_restart_byte_for_byte() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    let Ok(Reply::Defined(defined)) = machine.ask(new("web")) else {
        panic!("not defined")
    };
    drop(machine);
    let mut machine = Machine::over(fake(), Some(&disk));
    let shown = definition(machine.ask(show("web")));
    assert_eq!(shown.config, bundled("web"));
    assert_eq!(shown.path, "/etc/xen/web.cfg");
    assert_eq!(shown.changed_by.as_deref(), Some("test"));
    machine.ask(start("web")).unwrap();
    assert_eq!(line(&mut machine.world, "web").uuid, defined.uuid);
    let domid = domid(&machine.world);
    machine.world.stop(domid, ShutdownReason::POWEROFF);
    machine.ask(delete("web")).unwrap();
    drop(machine);
    assert_eq!(Machine::over(fake(), Some(&disk)).world.list(), []);
}

#[test]
fn a_xend_that_starts_anew_knows_whose_the_running_domains_are() {
    let disk = SimulatedDisk::new(16);
    let fake = fake();
    let mut machine = Machine::over(fake.clone(), Some(&disk));
    machine.ask(new("web")).unwrap();
    machine.ask(start("web")).unwrap();
    drop(machine);
    let mut machine = Machine::over(fake, Some(&disk));
    let on = line(&mut machine.world, "web");
    assert_eq!(
        (on.state, on.flags),
        (DomainState::BLOCKED, DomainFlags::MANAGED)
    );
    assert_eq!(machine.world.list().len(), 1);
    assert_eq!(machine.world.code(start("web")), ErrorCode::WRONG_STATE);
    machine.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    machine.ask(start("web")).unwrap();
}

#[test]
fn nobody_sees_a_definition_before_it_is_kept_nor_changes_it() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.world.connect(2);
    let id = machine.world.post(1, new("web"));
    assert_eq!(machine.world.list(), []);
    for other in [new("web"), World::create_request(bundled("web"), false)] {
        let refused = machine.world.ask_as(2, other).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BUSY);
        assert!(
            refused.message.contains("is being changed by test"),
            "{refused}"
        );
    }
    machine.keep();
    assert!(machine.world.answer(1, id).unwrap().is_ok());
    let id = machine.world.post(1, delete("web"));
    assert_eq!(
        machine.world.ask_as(2, start("web")).unwrap_err().code,
        ErrorCode::BUSY
    );
    machine.keep();
    assert_eq!(machine.world.answer(1, id), Some(Ok(Reply::Done)));
}

#[test]
fn a_client_that_is_gone_has_defined_it_all_the_same() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.world.post(1, new("web"));
    machine.world.event(Event::SessionClosed(1));
    machine.world.connect(1);
    machine.keep();
    assert_eq!(machine.world.list(), [("web".into(), "off")]);
}

#[test]
fn a_store_that_cannot_keep_it_defines_nothing_and_blocks_nobody() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    disk.cut_after(3);
    assert_eq!(machine.ask(new("db")).unwrap_err().code, ErrorCode::STORE);
    let refused = machine.ask(delete("web")).unwrap_err();
    assert!(
        refused.message.contains("the store is read-only"),
        "{refused}"
    );
    assert_eq!(machine.world.list(), [("web".into(), "off")]);
    machine.ask(start("web")).unwrap();
}

#[test]
fn a_full_store_keeps_what_it_has() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    let padding = format!("#{}\n", "x".repeat(31_000));
    let long = |number| {
        define(
            padding.clone() + &bundled(&format!("web{number}")),
            Vec::new(),
        )
    };
    let full = (0..128)
        .map(|number| machine.ask(long(number)))
        .position(|result| result.is_err())
        .expect("128 domains of 31 KB fit");
    let refused = machine.ask(long(full)).unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (ErrorCode::STORE, "the store is full")
    );
    assert_eq!(machine.world.list().len(), full);
    machine.ask(delete("web0")).unwrap();
    machine.ask(long(full)).unwrap();
}

#[test]
fn a_new_store_has_no_definitions() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    machine.ask(RequestBody::HostInit(true)).unwrap();
    assert_eq!(machine.world.list(), []);
    machine.ask(new("web")).unwrap();
}

#[test]
fn an_edit_counts_if_nobody_was_faster() {
    let mut world = world();
    world.ask(new("web")).unwrap();
    let seen = definition(world.ask(show("web")));
    let bigger = bundled("web").replace("memory = 2", "memory = 3");
    world.ask(start("web")).unwrap();
    let Ok(Reply::Defined(defined)) = world.ask(edit(&seen, bigger.clone())) else {
        panic!("not edited")
    };
    assert!(defined.running);
    assert_eq!(
        line(&mut world, "web").memory_kib,
        2048,
        "it runs as it was"
    );
    let refused = world.ask(edit(&seen, bundled("web"))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::BUSY);
    assert!(
        refused.message.contains("changed meanwhile, by test"),
        "{refused}"
    );
    assert_eq!(definition(world.ask(show("web"))).config, bigger);
    world.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    world.ask(start("web")).unwrap();
    assert_eq!(line(&mut world, "web").memory_kib, 3072);
}

#[test]
fn an_edit_keeps_name_uuid_and_files() {
    let mut world = world();
    uploaded(&mut world).unwrap();
    let before = line(&mut world, "web").uuid;
    let seen = definition(world.ask(show("web")));
    let text = config("web").replace("memory = 2", "memory = 3");
    world.ask(edit(&seen, text)).unwrap();
    let seen = definition(world.ask(show("web")));
    world.ask(start("web")).unwrap();
    assert_eq!(line(&mut world, "web").uuid, before);
    let other = "uuid = '00000000-0000-0000-0000-000000000007'\n";
    for (text, code) in [
        (config("other"), ErrorCode::REFUSED),
        (config("web") + other, ErrorCode::REFUSED),
        (config("web").replace("/k", "/k2"), ErrorCode::BAD_BLOB),
        ("name = ".into(), ErrorCode::BAD_CONFIG),
    ] {
        assert_eq!(world.code(edit(&seen, text)), code);
    }
    // Without a ramdisk its file is not needed any more.
    let text = config("web").replace("ramdisk = '/r'\n", "");
    world.ask(edit(&seen, text)).unwrap();
    world.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    let Ok(Reply::Blobs(blobs)) = world.ask(RequestBody::BlobList) else {
        panic!("no list")
    };
    assert_eq!(blobs.len(), 1);
}

#[test]
fn a_saved_managed_domain_comes_back_as_itself() {
    let mut world = world();
    world.ask(new("web")).unwrap();
    world.ask(start("web")).unwrap();
    let uuid = line(&mut world, "web").uuid;
    let file = super::snapshots::save(&mut world, "web").unwrap();
    assert_eq!(world.list(), [("web".into(), "off")]);
    super::snapshots::restore(&mut world, &file, None).unwrap();
    let on = line(&mut world, "web");
    assert_eq!((on.uuid, on.flags), (uuid, DomainFlags::MANAGED));
    world.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    world.ask(delete("web")).unwrap();
    world.ask(new("web")).unwrap();
    let refused = super::snapshots::restore(&mut world, &file, None).unwrap_err();
    assert!(
        refused.message.contains("is defined, and is another one"),
        "{refused}"
    );
    super::snapshots::restore(&mut world, &file, Some("copy")).unwrap();
}

#[test]
fn a_broken_definition_is_listed_and_mended_by_an_edit() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::over(fake(), Some(&disk));
    machine.ask(new("web")).unwrap();
    let record = "/var/lib/xend/domains/web";
    machine.tamper(record, b"nonsense");
    drop(machine);
    let mut machine = Machine::over(fake(), Some(&disk));
    let off = line(&mut machine.world, "web");
    assert_eq!(off.flags, DomainFlags::MANAGED.with(DomainFlags::BROKEN));
    let refused = machine.ask(start("web")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the definition of 'web' cannot be used: its record is damaged ('xenman config edit web' mends it)"
    );
    let seen = definition(machine.ask(show("web")));
    assert_eq!(seen.broken.as_deref(), Some("its record is damaged"));
    machine.ask(edit(&seen, bundled("web") + "\n")).unwrap();
    machine.ask(start("web")).unwrap();
    assert_ne!(line(&mut machine.world, "web").uuid, [0; 16]);
}
