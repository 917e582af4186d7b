use super::{Guest, store_with_guest};
use crate::xenstore::wire::Kind;
use crate::xenstore::{Access, Change, Permissions, Xenstore};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

#[test]
fn a_new_watch_fires_once_after_its_reply() {
    let (mut store, mut guest) = store_with_guest();
    guest.send(&mut store, Kind::WATCH, 0, b"data/x\0token\0");
    let (reply, _) = guest.wait(&mut store).unwrap();
    assert_eq!(reply.kind, Kind::WATCH);
    assert_eq!(guest.events(&mut store), ["data/x token"]);
}

#[test]
fn events_say_the_path_as_the_watch_did() {
    let mut store = Xenstore::default();
    let mut guest = Guest::introduce(&mut store, 9, 5);
    guest
        .ask(&mut store, Kind::WATCH, "data\0relative\0")
        .unwrap();
    guest
        .ask(&mut store, Kind::WATCH, "/local/domain/5/data\0absolute\0")
        .unwrap();
    assert_eq!(
        guest.events(&mut store),
        ["data relative", "/local/domain/5/data absolute"]
    );
    guest.write(&mut store, "data/a", "").unwrap();
    assert_eq!(
        guest.events(&mut store),
        ["data/a relative", "/local/domain/5/data/a absolute"]
    );
    store.write("/local/domain/9/data/b", b"").unwrap();
    assert_eq!(
        guest.events(&mut store),
        ["data/b relative", "/local/domain/5/data/b absolute"]
    );
}

#[test]
fn what_fires_and_what_does_not() {
    let table: &[(&str, Kind, &str, &[&str])] = &[
        ("the node", Kind::WRITE, "data/d\0", &["data/d t"]),
        (
            "a node below",
            Kind::WRITE,
            "data/d/e/f/g\0",
            &["data/d/e/f/g t"],
        ),
        (
            "a new node with new parents",
            Kind::WRITE,
            "data/d/n/m\0",
            &["data/d/n/m t"],
        ),
        (
            "a sibling with a longer name",
            Kind::WRITE,
            "data/dd\0",
            &[],
        ),
        ("the parent's value", Kind::WRITE, "data\0", &[]),
        ("an existing directory", Kind::MKDIR, "data/d\0", &[]),
        (
            "a new directory",
            Kind::MKDIR,
            "data/d/n\0",
            &["data/d/n t"],
        ),
        (
            "permissions",
            Kind::SET_PERMS,
            "data/d\0r5\0",
            &["data/d t"],
        ),
        ("removal", Kind::RM, "data/d\0", &["data/d t"]),
        ("removal below", Kind::RM, "data/d/e\0", &["data/d/e t"]),
        ("removal above", Kind::RM, "data\0", &["data/d t"]),
        (
            "removal of what is not there",
            Kind::RM,
            "data/d/none\0",
            &[],
        ),
        ("reading", Kind::READ, "data/d\0", &[]),
    ];
    for (name, kind, payload, expected) in table {
        let (mut store, mut guest) = store_with_guest();
        guest.write(&mut store, "data/d/e/f", "").unwrap();
        guest.ask(&mut store, Kind::WATCH, "data/d\0t\0").unwrap();
        guest.events(&mut store);
        guest.ask(&mut store, *kind, payload).unwrap();
        assert_eq!(guest.events(&mut store), *expected, "{name}");
    }
}

#[test]
fn watches_fire_in_the_order_they_were_made_for_each_change_in_turn() {
    let (mut store, mut guest) = store_with_guest();
    for payload in ["data/a\x001\0", "data\x002\0", "data/a\x003\0"] {
        guest.ask(&mut store, Kind::WATCH, payload).unwrap();
    }
    guest.events(&mut store);
    guest.write(&mut store, "data/a", "").unwrap();
    guest.write(&mut store, "data/b", "").unwrap();
    assert_eq!(
        guest.events(&mut store),
        ["data/a 1", "data/a 2", "data/a 3", "data/b 2"]
    );
}

#[test]
fn a_removed_watch_is_silent() {
    let (mut store, mut guest) = store_with_guest();
    guest.ask(&mut store, Kind::WATCH, "data\0a\0").unwrap();
    guest.ask(&mut store, Kind::WATCH, "data\0b\0").unwrap();
    guest.events(&mut store);
    guest.ask(&mut store, Kind::UNWATCH, "data\0a\0").unwrap();
    guest.write(&mut store, "data/x", "").unwrap();
    assert_eq!(guest.events(&mut store), ["data/x b"]);
}

#[test]
fn nobody_hears_of_what_it_may_not_read() {
    let mut store = Xenstore::default();
    let mut spy = Guest::introduce(&mut store, 6, 6);
    spy.ask(&mut store, Kind::WATCH, "/\0all\0").unwrap();
    spy.events(&mut store);
    let mut guest = Guest::introduce(&mut store, 5, 5);
    guest.write(&mut store, "data/secret", "").unwrap();
    guest.ask(&mut store, Kind::RM, "data/secret\0").unwrap();
    assert!(spy.events(&mut store).is_empty());
    guest.write(&mut store, "data/open", "").unwrap();
    guest
        .ask(&mut store, Kind::SET_PERMS, "data/open\0r5\0")
        .unwrap();
    assert_eq!(spy.events(&mut store), ["/local/domain/5/data/open all"]);
    guest
        .ask(&mut store, Kind::SET_PERMS, "data/open\0n5\0")
        .unwrap();
    assert_eq!(
        spy.events(&mut store),
        ["/local/domain/5/data/open all"],
        "it could read it until now"
    );
}

#[test]
fn domains_coming_and_going_are_told_to_whom_domain_0_allows() {
    let (mut store, mut guest) = store_with_guest();
    guest
        .ask(&mut store, Kind::WATCH, "@introduceDomain\0in\0")
        .unwrap();
    guest
        .ask(&mut store, Kind::WATCH, "@releaseDomain\0out\0")
        .unwrap();
    assert_eq!(
        guest.events(&mut store),
        ["@introduceDomain in", "@releaseDomain out"]
    );
    Guest::connect(&mut store, 7, 7);
    store.release(7);
    assert!(guest.events(&mut store).is_empty());
    for special in ["@introduceDomain", "@releaseDomain"] {
        store
            .set_permissions(special, Permissions::shared_with(5, Access::Read))
            .unwrap();
    }
    guest.events(&mut store);
    Guest::connect(&mut store, 7, 7);
    assert_eq!(guest.events(&mut store), ["@introduceDomain in"]);
    store.release(7);
    assert_eq!(guest.events(&mut store), ["@releaseDomain out"]);
    store.release(7);
    assert!(guest.events(&mut store).is_empty(), "it was gone already");
}

#[test]
fn xend_hears_what_guests_change_and_not_itself() {
    let (mut store, mut guest) = store_with_guest();
    store.mkdir("/local/domain/5/control").unwrap();
    store
        .write("/local/domain/5/control/shutdown", b"poweroff")
        .unwrap();
    store
        .set_permissions(
            "/local/domain/5/control/shutdown",
            Permissions::shared_with(5, Access::Both),
        )
        .unwrap();
    let watch = store.watch("/local/domain/5/control/shutdown");
    let other = store.watch("/local/domain/5/data");
    store
        .write("/local/domain/5/control/shutdown", b"poweroff")
        .unwrap();
    assert!(store.take_changes().is_empty());
    guest.write(&mut store, "control/shutdown", "").unwrap();
    let path = "/local/domain/5/control/shutdown".to_string();
    assert_eq!(store.take_changes(), [Change { watch, path }]);
    assert_eq!(
        store.read("/local/domain/5/control/shutdown"),
        Some(b"".as_slice())
    );
    guest.write(&mut store, "data/x", "1").unwrap();
    guest.write(&mut store, "data/x", "2").unwrap();
    assert_eq!(store.take_changes().len(), 1, "each path once");
    store.unwatch(other);
    guest.write(&mut store, "data/x", "3").unwrap();
    assert!(store.take_changes().is_empty());
}

#[test]
fn what_xend_does_not_fetch_is_bounded_and_not_forgotten() {
    let (mut store, mut guest) = store_with_guest();
    let watch = store.watch("/local/domain/5/data");
    for number in 0..1500 {
        guest
            .write(&mut store, &format!("data/n{}", number), "")
            .unwrap();
        guest
            .ask(&mut store, Kind::RM, &format!("data/n{}\0", number))
            .unwrap();
    }
    let changes: Vec<_> = store.take_changes();
    assert_eq!(changes.len(), 1025);
    let path = "/local/domain/5/data".to_string();
    assert_eq!(changes.last(), Some(&Change { watch, path }));
}

#[test]
fn a_guest_that_does_not_read_gets_each_event_once_and_loses_no_watch() {
    let (mut store, mut guest) = store_with_guest();
    guest.ask(&mut store, Kind::WATCH, "data\0t\0").unwrap();
    guest.events(&mut store);
    for _ in 0..200 {
        store.write("/local/domain/5/data/same", b"").unwrap();
    }
    let events = guest.events(&mut store);
    assert!(
        events.len() < 60,
        "{} events, the ring holds 41 or so",
        events.len()
    );
    for number in 0..2000 {
        store
            .write(&format!("/local/domain/5/data/n{}", number % 700), b"")
            .unwrap();
        store.verify().unwrap();
    }
    let events = guest.events(&mut store);
    assert!(events.len() < 400);
    assert_eq!(
        events.last().map(|event| event.as_str()),
        Some("data t"),
        "cut down to the watched path"
    );
    assert!(store.counters(5).merged > 0);
}
