use super::{Guest, store_with_guest};
use crate::xenstore::Xenstore;
use crate::xenstore::wire::Kind;
use alloc::string::ToString;

fn end(
    store: &mut Xenstore,
    guest: &mut Guest,
    id: u32,
    how: &str,
) -> Result<(), alloc::string::String> {
    guest
        .ask_in(store, id, Kind::TRANSACTION_END, how)
        .map(drop)
}

#[test]
fn changes_are_invisible_until_the_end_and_then_all_there() {
    let (mut store, mut guest) = store_with_guest();
    let id = guest.begin(&mut store);
    guest
        .ask_in(&mut store, id, Kind::WRITE, "data/a/b\0one")
        .unwrap();
    guest
        .ask_in(&mut store, id, Kind::MKDIR, "data/c\0")
        .unwrap();
    assert_eq!(
        guest
            .ask_in(&mut store, id, Kind::READ, "data/a/b\0")
            .as_deref(),
        Ok("one")
    );
    assert_eq!(
        guest
            .ask_in(&mut store, id, Kind::DIRECTORY, "data\0")
            .as_deref(),
        Ok("a\0c\0")
    );
    assert_eq!(
        guest.ask(&mut store, Kind::DIRECTORY, "data\0").as_deref(),
        Ok("")
    );
    end(&mut store, &mut guest, id, "T\0").unwrap();
    assert_eq!(
        guest.ask(&mut store, Kind::DIRECTORY, "data\0").as_deref(),
        Ok("a\0c\0")
    );
    assert_eq!(guest.read(&mut store, "data/a/b").as_deref(), Ok("one"));
}

#[test]
fn a_dropped_transaction_changes_nothing() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/keep", "me").unwrap();
    let id = guest.begin(&mut store);
    guest
        .ask_in(&mut store, id, Kind::RM, "data/keep\0")
        .unwrap();
    guest
        .ask_in(&mut store, id, Kind::WRITE, "data/new\0x")
        .unwrap();
    assert_eq!(
        guest.ask_in(&mut store, id, Kind::READ, "data/keep\0"),
        Err("ENOENT".to_string())
    );
    end(&mut store, &mut guest, id, "F\0").unwrap();
    assert_eq!(
        guest.ask(&mut store, Kind::DIRECTORY, "data\0").as_deref(),
        Ok("keep\0")
    );
    assert_eq!(
        end(&mut store, &mut guest, id, "T\0"),
        Err("ENOENT".to_string()),
        "it is over"
    );
}

/// What somebody else does between, what the transaction did, and whether it then succeeds.
#[test]
fn conflicts() {
    type Step = (Kind, &'static str);
    let table: &[(&str, &[Step], Step, bool)] = &[
        (
            "read, written",
            &[(Kind::READ, "data/a\0")],
            (Kind::WRITE, "data/a\0new"),
            false,
        ),
        (
            "read, rewritten alike",
            &[(Kind::READ, "data/a\0")],
            (Kind::WRITE, "data/a\0old"),
            false,
        ),
        (
            "read, other written",
            &[(Kind::READ, "data/a\0")],
            (Kind::WRITE, "data/b\0new"),
            true,
        ),
        (
            "written, written",
            &[(Kind::WRITE, "data/a\0mine")],
            (Kind::WRITE, "data/a\0new"),
            false,
        ),
        (
            "missing, created",
            &[(Kind::READ, "data/n\0")],
            (Kind::WRITE, "data/n\0new"),
            false,
        ),
        (
            "created, created",
            &[(Kind::WRITE, "data/n\0mine")],
            (Kind::WRITE, "data/n\0new"),
            false,
        ),
        (
            "read, removed",
            &[(Kind::READ, "data/a\0")],
            (Kind::RM, "data/a\0"),
            false,
        ),
        (
            "listed, created",
            &[(Kind::DIRECTORY, "data\0")],
            (Kind::WRITE, "data/n\0new"),
            false,
        ),
        (
            "listed, removed",
            &[(Kind::DIRECTORY, "data\0")],
            (Kind::RM, "data/b\0"),
            false,
        ),
        (
            "listed, value of a child",
            &[(Kind::DIRECTORY, "data\0")],
            (Kind::WRITE, "data/a\0new"),
            true,
        ),
        (
            "removed, created below",
            &[(Kind::RM, "data/d\0")],
            (Kind::WRITE, "data/d/e/new\0"),
            false,
        ),
        (
            "removed, created deeper",
            &[(Kind::RM, "data/d\0")],
            (Kind::WRITE, "data/d/e/f/g\0"),
            false,
        ),
        (
            "created below, removed",
            &[(Kind::WRITE, "data/d/n\0")],
            (Kind::RM, "data/d\0"),
            false,
        ),
        (
            "permissions, written",
            &[(Kind::GET_PERMS, "data/a\0")],
            (Kind::SET_PERMS, "data/a\0r5\0"),
            false,
        ),
        ("nothing, anything", &[], (Kind::RM, "data/d\0"), true),
    ];
    for (name, mine, theirs, succeeds) in table {
        let (mut store, mut guest) = store_with_guest();
        for path in ["data/a\0old", "data/b\0old", "data/d/e\0old"] {
            guest.ask(&mut store, Kind::WRITE, path).unwrap();
        }
        let id = guest.begin(&mut store);
        for (kind, payload) in *mine {
            drop(guest.ask_in(&mut store, id, *kind, payload));
        }
        guest.ask(&mut store, theirs.0, theirs.1).unwrap();
        let expected = if *succeeds {
            Ok(())
        } else {
            Err("EAGAIN".to_string())
        };
        assert_eq!(end(&mut store, &mut guest, id, "T\0"), expected, "{name}");
        store.verify().unwrap();
    }
}

#[test]
fn after_a_conflict_only_the_others_change_is_there() {
    let (mut store, mut guest) = store_with_guest();
    let id = guest.begin(&mut store);
    guest
        .ask_in(&mut store, id, Kind::WRITE, "data/a\0mine")
        .unwrap();
    guest
        .ask_in(&mut store, id, Kind::WRITE, "data/b\0mine")
        .unwrap();
    store.write("/local/domain/5/data/a", b"xend's").unwrap();
    assert_eq!(
        end(&mut store, &mut guest, id, "T\0"),
        Err("EAGAIN".to_string())
    );
    assert_eq!(guest.read(&mut store, "data/a").as_deref(), Ok("xend's"));
    assert_eq!(guest.read(&mut store, "data/b"), Err("ENOENT".to_string()));
}

#[test]
fn two_transactions_of_one_guest_are_strangers() {
    let (mut store, mut guest) = store_with_guest();
    let (first, second) = (guest.begin(&mut store), guest.begin(&mut store));
    assert_ne!(first, second);
    guest
        .ask_in(&mut store, first, Kind::WRITE, "data/a\0one")
        .unwrap();
    guest
        .ask_in(&mut store, second, Kind::WRITE, "data/a\0two")
        .unwrap();
    end(&mut store, &mut guest, second, "T\0").unwrap();
    assert_eq!(
        end(&mut store, &mut guest, first, "T\0"),
        Err("EAGAIN".to_string())
    );
    assert_eq!(guest.read(&mut store, "data/a").as_deref(), Ok("two"));
}

#[test]
fn numbers_are_checked() {
    let (mut store, mut guest) = store_with_guest();
    assert_eq!(
        guest.ask_in(&mut store, 77, Kind::READ, "domid\0"),
        Err("ENOENT".to_string())
    );
    let id = guest.begin(&mut store);
    assert_eq!(
        guest.ask_in(&mut store, id, Kind::TRANSACTION_START, "\0"),
        Err("EBUSY".to_string())
    );
    assert_eq!(
        end(&mut store, &mut guest, id, "maybe\0"),
        Err("EINVAL".to_string())
    );
    end(&mut store, &mut guest, id, "T\0").unwrap();
    let id = guest.begin(&mut store);
    guest.ask(&mut store, Kind::RESET_WATCHES, "\0").unwrap();
    assert_eq!(
        end(&mut store, &mut guest, id, "T\0"),
        Err("ENOENT".to_string())
    );
}

#[test]
fn events_come_at_the_end_in_order_and_only_on_success() {
    let (mut store, mut guest) = store_with_guest();
    guest.ask(&mut store, Kind::WATCH, "data\0t\0").unwrap();
    guest.events(&mut store);
    let id = guest.begin(&mut store);
    for name in ["z", "a", "m", "a"] {
        guest
            .ask_in(
                &mut store,
                id,
                Kind::WRITE,
                &alloc::format!("data/{name}\0"),
            )
            .unwrap();
    }
    assert!(guest.events(&mut store).is_empty());
    end(&mut store, &mut guest, id, "T\0").unwrap();
    assert_eq!(
        guest.events(&mut store),
        ["data/z t", "data/a t", "data/m t"]
    );
    let id = guest.begin(&mut store);
    guest
        .ask_in(&mut store, id, Kind::WRITE, "data/z\0")
        .unwrap();
    end(&mut store, &mut guest, id, "F\0").unwrap();
    assert!(guest.events(&mut store).is_empty());
}

#[test]
fn a_directory_read_in_parts_inside_a_transaction_shows_its_changes() {
    let (mut store, mut guest) = store_with_guest();
    let id = guest.begin(&mut store);
    let before = guest
        .ask_in(&mut store, id, Kind::DIRECTORY_PART, "data\x000\0")
        .unwrap();
    guest
        .ask_in(&mut store, id, Kind::WRITE, "data/n\0")
        .unwrap();
    let after = guest
        .ask_in(&mut store, id, Kind::DIRECTORY_PART, "data\x000\0")
        .unwrap();
    let (generation, list) = after.split_once('\0').unwrap();
    assert_eq!(list, "n\0\0");
    assert_ne!(before.split_once('\0').unwrap().0, generation);
}
