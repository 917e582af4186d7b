use super::{Guest, store_with_guest};
use crate::xenstore::Xenstore;
use crate::xenstore::wire::Kind;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const OK: &str = "OK\0";

#[test]
fn every_operation_says_what_the_protocol_says() {
    let (mut store, mut guest) = store_with_guest();
    let table: &[(Kind, &str, Result<&str, &str>)] = &[
        (Kind::READ, "domid\0", Ok("5")),
        (Kind::READ, "/local/domain/5/domid\0", Ok("5")),
        (Kind::READ, "nothing\0", Err("ENOENT")),
        (Kind::READ, "domid", Err("EINVAL")),
        (Kind::READ, "domid\0more\0", Err("EINVAL")),
        (Kind::READ, "\0", Err("EINVAL")),
        (Kind::READ, "", Err("EINVAL")),
        (Kind::READ, "a//b\0", Err("EINVAL")),
        (Kind::READ, "a/\0", Err("EINVAL")),
        (Kind::READ, "@releaseDomain\0", Err("EINVAL")),
        (Kind::WRITE, "data/a\0one", Ok(OK)),
        (Kind::READ, "data/a\0", Ok("one")),
        (Kind::WRITE, "data/a\0", Ok(OK)),
        (Kind::READ, "data/a\0", Ok("")),
        (Kind::WRITE, "data/x/y/z\0deep", Ok(OK)),
        (Kind::READ, "data/x/y\0", Ok("")),
        (Kind::READ, "data/x/y/z\0", Ok("deep")),
        (Kind::WRITE, "data/a", Err("EINVAL")),
        (Kind::DIRECTORY, "data\0", Ok("a\0x\0")),
        (Kind::DIRECTORY, "data/a\0", Ok("")),
        (Kind::DIRECTORY, "data/q\0", Err("ENOENT")),
        (Kind::MKDIR, "data/d/e\0", Ok(OK)),
        (Kind::READ, "data/d/e\0", Ok("")),
        (Kind::MKDIR, "data/x/y/z\0", Ok(OK)),
        (Kind::READ, "data/x/y/z\0", Ok("deep")),
        (Kind::RM, "data/x\0", Ok(OK)),
        (Kind::READ, "data/x/y/z\0", Err("ENOENT")),
        (Kind::RM, "data/x\0", Ok(OK)),
        (Kind::RM, "data/x/y\0", Err("ENOENT")),
        (Kind::RM, "/\0", Err("EINVAL")),
        (Kind::DIRECTORY, "data\0", Ok("a\0d\0")),
        (Kind::GET_PERMS, "data/a\0", Ok("n5\0")),
        (Kind::SET_PERMS, "data/a\0n5\0r0\0b7\0", Ok(OK)),
        (Kind::GET_PERMS, "data/a\0", Ok("n5\0r0\0b7\0")),
        (Kind::SET_PERMS, "data/a\0n5", Err("EINVAL")),
        (Kind::SET_PERMS, "data/a\0", Err("EINVAL")),
        (Kind::SET_PERMS, "data/a\0n5\0\0", Err("EINVAL")),
        (Kind::SET_PERMS, "data/a\0z5\0", Err("EINVAL")),
        (Kind::GET_DOMAIN_PATH, "5\0", Ok("/local/domain/5\0")),
        (Kind::GET_DOMAIN_PATH, "77\0", Ok("/local/domain/77\0")),
        (Kind::GET_DOMAIN_PATH, "x\0", Err("EINVAL")),
        (Kind::IS_DOMAIN_INTRODUCED, "5\0", Ok("T\0")),
        (Kind::IS_DOMAIN_INTRODUCED, "0\0", Ok("T\0")),
        (Kind::IS_DOMAIN_INTRODUCED, "6\0", Ok("F\0")),
        (Kind::UNWATCH, "data\0none\0", Err("ENOENT")),
        (Kind::WATCH, "data\0token\0", Ok(OK)),
        (Kind::WATCH, "data\0token\0", Err("EEXIST")),
        (Kind::WATCH, "/local/domain/5/data\0token\0", Err("EEXIST")),
        (Kind::WATCH, "data\0", Err("EINVAL")),
        (Kind::WATCH, "data\0token\x001\0", Err("EINVAL")),
        (Kind::WATCH, "@nonsense\0token\0", Err("EINVAL")),
        (Kind::WATCH, "@releaseDomain\0token\0", Ok(OK)),
        (Kind::UNWATCH, "data\0token\0", Ok(OK)),
        (Kind::UNWATCH, "data\0token\0", Err("ENOENT")),
        (Kind::RESET_WATCHES, "\0", Ok(OK)),
        (Kind::UNWATCH, "@releaseDomain\0token\0", Err("ENOENT")),
        (Kind::TRANSACTION_END, "T\0", Err("ENOENT")),
        (Kind::TRANSACTION_END, "X\0", Err("EINVAL")),
        (Kind::CONTROL, "check\0", Err("EACCES")),
        (Kind::INTRODUCE, "6\x001\x002\0", Err("EACCES")),
        (Kind::RELEASE, "5\0", Err("EACCES")),
        (Kind::RESUME, "5\0", Err("EACCES")),
        (Kind::SET_TARGET, "5\x006\0", Err("EACCES")),
        (Kind::WATCH_EVENT, "\0", Err("ENOSYS")),
        (Kind::ERROR, "\0", Err("ENOSYS")),
        (Kind(20), "5\0", Err("ENOSYS")),
        (Kind(23), "5\0", Err("ENOSYS")),
        (Kind(u32::MAX), "", Err("ENOSYS")),
    ];
    for (kind, payload, expected) in table {
        let got = guest.ask(&mut store, *kind, payload);
        let got = got.as_deref().map_err(String::as_str);
        assert_eq!(got, *expected, "{kind:?} {payload:?}");
    }
    let counters = store.counters(5);
    assert_eq!(counters.requests, table.len() as u64);
    assert_eq!(
        counters.errors,
        table
            .iter()
            .filter(|(_, _, expected)| expected.is_err())
            .count() as u64
    );
}

#[test]
fn values_are_bytes() {
    let (mut store, mut guest) = store_with_guest();
    guest
        .ask_bytes(&mut store, 0, Kind::WRITE, b"data/b\0\xff\0\x01\0")
        .unwrap();
    assert_eq!(
        guest
            .ask_bytes(&mut store, 0, Kind::READ, b"data/b\0")
            .unwrap(),
        b"\xff\0\x01\0"
    );
}

#[test]
fn the_longest_message_fits_both_ways() {
    let (mut store, mut guest) = store_with_guest();
    let value = "v".repeat(4096 - "data/long\0".len());
    guest.write(&mut store, "data/long", &value).unwrap();
    assert_eq!(guest.read(&mut store, "data/long").unwrap(), value);
    let full = "w".repeat(4096);
    store
        .write("/local/domain/5/data/long", full.as_bytes())
        .unwrap();
    assert_eq!(guest.read(&mut store, "data/long").unwrap(), full);
    assert!(
        store
            .write("/local/domain/5/data/long", &[0; 4097])
            .is_err()
    );
}

#[test]
fn a_directory_too_long_for_one_message_is_read_in_parts() {
    let (mut store, mut guest) = store_with_guest();
    let names: Vec<String> = (0..900).map(|number| format!("name-{number:04}")).collect();
    for name in &names {
        store
            .write(&format!("/local/domain/5/data/{name}"), b"")
            .unwrap();
    }
    assert_eq!(
        guest.ask(&mut store, Kind::DIRECTORY, "data\0"),
        Err("E2BIG".to_string())
    );

    let (list, generations) = read_in_parts(&mut store, &mut guest);
    assert_eq!(list, names);
    assert!(
        generations.len() > 2
            && generations
                .iter()
                .all(|generation| *generation == generations[0])
    );

    store.rm("/local/domain/5/data/name-0500").unwrap();
    let (list, later) = read_in_parts(&mut store, &mut guest);
    assert_eq!(list.len(), 899);
    assert_ne!(
        later[0], generations[0],
        "a changed directory has another generation"
    );
}

fn read_in_parts(store: &mut Xenstore, guest: &mut Guest) -> (Vec<String>, Vec<String>) {
    let (mut list, mut generations) = (String::new(), Vec::new());
    loop {
        let part = guest
            .ask(
                store,
                Kind::DIRECTORY_PART,
                &format!("data\0{}\0", list.len()),
            )
            .unwrap();
        assert!(part.len() <= 4096);
        let (generation, names) = part.split_once('\0').unwrap();
        generations.push(generation.to_string());
        assert!(names.ends_with('\0'));
        match names.strip_suffix("\0\0") {
            Some(names) => {
                list.push_str(names);
                return (list.split('\0').map(str::to_string).collect(), generations);
            }
            None => list.push_str(names),
        }
    }
}

#[test]
fn parts_of_short_lists() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/a", "").unwrap();
    guest.write(&mut store, "data/b", "").unwrap();
    let mut part = |request: &str| {
        let part = guest.ask(&mut store, Kind::DIRECTORY_PART, request)?;
        Ok::<_, String>(part.split_once('\0').unwrap().1.to_string())
    };
    assert_eq!(part("data\x000\0").as_deref(), Ok("a\0b\0\0"));
    assert_eq!(part("data\x002\0").as_deref(), Ok("b\0\0"));
    assert_eq!(part("data\x004\0").as_deref(), Ok("\0"));
    assert_eq!(part("data\x00999999999999\0").as_deref(), Ok("\0"));
    assert_eq!(part("data\x00-1\0"), Err("EINVAL".to_string()));
    assert_eq!(part("data\0\0"), Err("EINVAL".to_string()));
}

#[test]
fn a_domain_with_another_number_finds_itself_under_its_own() {
    let mut store = Xenstore::default();
    let mut other = Guest::introduce(&mut store, 5, 5);
    let mut moved = Guest::introduce(&mut store, 9, 5);
    moved
        .write(&mut store, "/local/domain/5/data/who", "moved")
        .unwrap();
    other
        .write(&mut store, "/local/domain/5/data/who", "other")
        .unwrap();
    assert_eq!(moved.read(&mut store, "data/who").unwrap(), "moved");
    assert_eq!(other.read(&mut store, "data/who").unwrap(), "other");
    assert_eq!(store.read_text("/local/domain/9/data/who"), Some("moved"));
    assert_eq!(
        moved
            .ask(&mut store, Kind::GET_PERMS, "data/who\0")
            .unwrap(),
        "n5\0"
    );
    moved
        .ask(&mut store, Kind::SET_PERMS, "data/who\0n5\0r9\0")
        .unwrap();
    assert_eq!(
        store.permissions("/local/domain/9/data/who").unwrap().owner,
        9
    );
    assert_eq!(
        store
            .permissions("/local/domain/9/data/who")
            .unwrap()
            .exceptions[0]
            .0,
        5
    );
    assert_eq!(
        moved
            .ask(&mut store, Kind::IS_DOMAIN_INTRODUCED, "5\0")
            .unwrap(),
        "T\0"
    );
    assert_eq!(
        moved.ask(&mut store, Kind::GET_DOMAIN_PATH, "5\0").unwrap(),
        "/local/domain/5\0"
    );
}

#[test]
fn xend_reads_what_guests_write_and_the_other_way_round() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/status", "ready").unwrap();
    assert_eq!(
        store.read_text("/local/domain/5/data/status"),
        Some("ready")
    );
    assert_eq!(store.list("/local/domain/5"), ["data", "domid"]);
    store.write("/local/domain/5/data/status", b"seen").unwrap();
    assert_eq!(guest.read(&mut store, "data/status").unwrap(), "seen");
    assert!(store.write("relative", b"").is_err());
}

#[test]
fn release_leaves_nothing_behind() {
    let mut store = Xenstore::default();
    let mut other = Guest::introduce(&mut store, 6, 6);
    let nodes_before = (store.list("/local/domain"), store.usage(5), store.usage(0));
    let mut guest = Guest::introduce(&mut store, 5, 5);
    guest.write(&mut store, "data/x/y", "z").unwrap();
    other.write(&mut store, "data/shared", "").unwrap();
    other
        .ask(&mut store, Kind::SET_PERMS, "data/shared\0n6\0b5\0")
        .unwrap();
    guest
        .write(
            &mut store,
            "/local/domain/6/data/shared/mine",
            "in a foreign home",
        )
        .unwrap();
    assert_eq!(
        store
            .permissions("/local/domain/6/data/shared/mine")
            .unwrap()
            .owner,
        5
    );
    store.release(5);
    store.verify().unwrap();
    assert!(
        store
            .permissions("/local/domain/6/data/shared")
            .unwrap()
            .exceptions
            .is_empty()
    );
    other.ask(&mut store, Kind::RM, "data/shared\0").unwrap();
    assert_eq!(
        (store.list("/local/domain"), store.usage(5), store.usage(0)),
        nodes_before
    );
    assert!(!store.service(5), "there is nobody to serve");
}
