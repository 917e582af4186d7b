//! Domains of type `hvm`.

use super::world::{World, by_name, config};
use crate::Now;
use hv_abi::control::domain::DomainKind;
use mgmt_proto::messages::{
    DomainKind as Shown, ErrorCode, Reply, RequestBody, RestoreFromStore, SaveToStore, Shutdown,
};
use std::string::String;

fn world() -> (World, u16) {
    let mut world = World::new();
    let text = config("guest") + "type = 'hvm'\n";
    let domid = world.create(text).unwrap();
    (world, domid)
}

fn asked() -> Shutdown {
    Shutdown {
        domain: by_name("guest"),
        wait_ms: 0,
    }
}

fn said(world: &mut World) -> String {
    world.console("guest").unwrap().0
}

#[test]
fn its_type_is_the_hypervisors_and_is_shown() {
    let (mut world, domid) = world();
    assert_eq!(world.machine().domain(domid).create.kind, DomainKind::HVM);
    let Ok(Reply::List(list)) = world.ask(RequestBody::List) else {
        panic!("no list");
    };
    assert_eq!(list[1].kind, Shown::HVM);
}

#[test]
fn its_serial_line_is_looked_at_again_until_it_is_silent() {
    let (mut world, domid) = world();
    world.pass(20);
    world.pass(20);
    assert_eq!(world.xend.next_deadline(), None, "it says nothing");
    world.print(domid, "one");
    assert_eq!(said(&mut world), "one");
    let due = world.now.mono_ns + 10_000_000;
    assert_eq!(world.xend.next_deadline(), Some(due));
    world.print_quietly(domid, " two");
    world.pass(9);
    assert_eq!(said(&mut world), "one");
    world.pass(1);
    assert_eq!(said(&mut world), "one two");
    world.print_quietly(domid, " three");
    world.pass(10);
    assert_eq!(said(&mut world), "one two three");
    world.pass(10);
    assert_eq!(world.xend.next_deadline(), None);
}

#[test]
fn a_guest_that_tells_of_everything_is_not_looked_at_again() {
    let mut world = World::new();
    let domid = world.create(config("guest")).unwrap();
    world.print(domid, "one");
    assert_eq!(world.xend.next_deadline(), None);
}

#[test]
fn it_cannot_be_asked_to_shut_down_and_has_a_reset_button() {
    let (mut world, domid) = world();
    let refusal = world.ask(RequestBody::Shutdown(asked())).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::GUEST);
    assert!(refusal.message.contains("type hvm"), "{refusal}");
    assert!(world.ask(RequestBody::Reboot(asked())).is_ok());
    world.finish();
    assert_eq!(world.list(), [("guest".into(), "blocked")]);
    let made = world.machine().made();
    assert_eq!(made, domid + 1, "another machine");
    assert_eq!(world.machine().domain(made).create.kind, DomainKind::HVM);
    world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
    world.assert_clean("after it was destroyed");
}

#[test]
fn it_keeps_its_type_through_save_restore_and_a_restart_of_xend() {
    let (mut world, _) = world();
    let save = SaveToStore {
        domain: by_name("guest"),
        label: "kept".into(),
    };
    world.ask(RequestBody::SaveToStore(save)).unwrap();
    let restore = RestoreFromStore {
        label: "kept".into(),
        paused: false,
        name: None,
    };
    world.ask(RequestBody::RestoreFromStore(restore)).unwrap();
    let domid = world.machine().made();
    assert_eq!(world.machine().domain(domid).create.kind, DomainKind::HVM);
    let now = world.now;
    let mut world = World::over(world.fake.clone());
    world.now = Now { ..now };
    world.pass(10);
    world.print_quietly(domid, "still here");
    world.pass(10);
    let Ok(Reply::List(list)) = world.ask(RequestBody::List) else {
        panic!("no list");
    };
    assert_eq!(list[1].kind, Shown::HVM);
}
