use super::{Guest, REQUESTS, store_with_guest};
use crate::xenstore::wire::{Header, Kind};
use crate::xenstore::{Access, Permissions, SnapshotError, Xenstore};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The same guest, in the same page, as host domain `host` of a new store.
pub(super) fn move_to(store: &Xenstore, guest: Guest, host: u16) -> (Xenstore, Guest) {
    let bytes = store.export(guest.domid).unwrap();
    let mut next = Xenstore::default();
    let number = store
        .read_text(&format!("/local/domain/{}/domid", guest.domid))
        .unwrap()
        .parse()
        .unwrap();
    next.introduce(host, number, alloc::boxed::Box::new(guest.page.clone()))
        .unwrap();
    next.import(host, &bytes).unwrap();
    next.verify().unwrap();
    (
        next,
        Guest {
            domid: host,
            ..guest
        },
    )
}

#[test]
fn a_restored_guest_notices_nothing() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/a/b", "value").unwrap();
    guest
        .ask(&mut store, Kind::SET_PERMS, "data/a\0n5\0r0\0")
        .unwrap();
    guest.ask(&mut store, Kind::WATCH, "data\0rel\0").unwrap();
    guest
        .ask(&mut store, Kind::WATCH, "/local/domain/5/domid\0abs\0")
        .unwrap();
    guest.events(&mut store);

    let (mut store, mut guest) = move_to(&store, guest, 12);
    assert!(guest.events(&mut store).is_empty());
    assert_eq!(
        guest
            .read(&mut store, "/local/domain/5/data/a/b")
            .as_deref(),
        Ok("value")
    );
    assert_eq!(
        guest
            .ask(&mut store, Kind::GET_PERMS, "data/a\0")
            .as_deref(),
        Ok("n5\0r0\0")
    );
    assert_eq!(
        store.permissions("/local/domain/12/data/a").unwrap().owner,
        12
    );
    assert_eq!(
        guest.write(&mut store, "domid", "0"),
        Err("EACCES".to_string())
    );
    store.write("/local/domain/12/domid", b"5").unwrap();
    guest.write(&mut store, "data/n", "").unwrap();
    assert_eq!(
        guest.events(&mut store),
        ["/local/domain/5/domid abs", "data/n rel"]
    );
}

#[test]
fn an_open_transaction_ends_with_again_and_works_until_then() {
    let (mut store, mut guest) = store_with_guest();
    let (first, second) = (guest.begin(&mut store), guest.begin(&mut store));
    guest
        .ask_in(&mut store, first, Kind::WRITE, "data/a\0lost")
        .unwrap();
    let (mut store, mut guest) = move_to(&store, guest, 5);
    guest
        .ask_in(&mut store, first, Kind::WRITE, "data/b\0more")
        .unwrap();
    assert_eq!(
        guest
            .ask_in(&mut store, first, Kind::READ, "data/b\0")
            .as_deref(),
        Ok("more")
    );
    assert_eq!(
        guest.ask_in(&mut store, first, Kind::TRANSACTION_END, "T\0"),
        Err("EAGAIN".to_string())
    );
    guest
        .ask_in(&mut store, second, Kind::TRANSACTION_END, "F\0")
        .unwrap();
    let again = guest.begin(&mut store);
    guest
        .ask_in(&mut store, again, Kind::WRITE, "data/a\0kept")
        .unwrap();
    guest
        .ask_in(&mut store, again, Kind::TRANSACTION_END, "T\0")
        .unwrap();
    assert_eq!(store.list("/local/domain/5/data"), ["a"]);
}

#[test]
fn what_is_half_way_arrives() {
    let (mut store, mut guest) = store_with_guest();
    store
        .write("/local/domain/5/data/long", &[b'v'; 4000])
        .unwrap();
    guest.ask(&mut store, Kind::WATCH, "data\0t\0").unwrap();
    guest.events(&mut store);
    let mut request = Header {
        kind: Kind::READ,
        request: 1,
        transaction: 0,
        length: 0,
    }
    .message(b"data/long\0");
    request.extend(
        Header {
            kind: Kind::READ,
            request: 2,
            transaction: 0,
            length: 0,
        }
        .message(b"domid\0"),
    );
    REQUESTS.put(&guest.page, &request).unwrap();
    store.service(5);
    store.write("/local/domain/5/data/x", b"").unwrap();

    for host in [6, 7, 8] {
        (store, guest) = move_to(&store, guest, host);
    }
    let (first, payload) = guest.wait(&mut store).unwrap();
    assert_eq!((first.request, payload.len()), (1, 4000));
    let (event, payload) = guest.wait(&mut store).unwrap();
    assert_eq!(
        (event.kind, payload.as_slice()),
        (Kind::WATCH_EVENT, b"data/x\0t\0".as_slice())
    );
    assert_eq!(guest.wait(&mut store).unwrap().0.request, 2);
}

#[test]
fn half_a_request_is_completed_after_the_move() {
    let request = Header {
        kind: Kind::READ,
        request: 3,
        transaction: 0,
        length: 0,
    }
    .message(b"domid\0");
    for cut in 1..request.len() {
        let (mut store, guest) = store_with_guest();
        REQUESTS.put(&guest.page, &request[..cut]).unwrap();
        store.service(5);
        let (mut store, mut guest) = move_to(&store, guest, 9);
        REQUESTS.put(&guest.page, &request[cut..]).unwrap();
        assert_eq!(guest.wait(&mut store).unwrap().1, b"5");
    }
}

#[test]
fn a_guest_that_never_reads_can_be_moved_for_ever() {
    let (mut store, mut guest) = store_with_guest();
    guest.ask(&mut store, Kind::WATCH, "data\0t\0").unwrap();
    for round in 0..40u16 {
        for number in 0..300 {
            store
                .write(
                    &format!("/local/domain/{}/data/n{number}", guest.domid),
                    b"",
                )
                .unwrap();
        }
        (store, guest) = move_to(&store, guest, 100 + round);
    }
}

#[test]
fn rights_of_strangers_do_not_travel() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/offer", "").unwrap();
    guest
        .ask(&mut store, Kind::SET_PERMS, "data/offer\0n5\0r6\0b0\0")
        .unwrap();
    store.write("/local/domain/5/data/foreign", b"").unwrap();
    store
        .set_permissions("/local/domain/5/data/foreign", Permissions::private(6))
        .unwrap();
    let (store, _guest) = move_to(&store, guest, 5);
    assert_eq!(
        store
            .permissions("/local/domain/5/data/offer")
            .unwrap()
            .exceptions,
        [(0, Access::Both)]
    );
    assert_eq!(
        store
            .permissions("/local/domain/5/data/foreign")
            .unwrap()
            .owner,
        0
    );
}

#[test]
fn import_replaces_the_home() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/old", "1").unwrap();
    let bytes = store.export(5).unwrap();
    guest.write(&mut store, "data/new", "2").unwrap();
    guest.ask(&mut store, Kind::WATCH, "data\0t\0").unwrap();
    guest.events(&mut store);
    store.import(5, &bytes).unwrap();
    store.verify().unwrap();
    assert_eq!(store.list("/local/domain/5/data"), ["old"]);
    assert_eq!(store.import(6, &bytes), Err(SnapshotError::NotIntroduced));
    assert_eq!(store.export(6), Err(SnapshotError::NotIntroduced));
}

/// A snapshot by hand: nodes as (path, owner), watches as paths.
fn forge(
    nodes: &[(&str, u16)],
    watches: &[&str],
    transactions: &[u32],
    incoming: &[u8],
    outgoing: &[&[u8]],
) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.map(6).unwrap().u8(0).unwrap().u8(1).unwrap();
    encoder.u8(1).unwrap().array(nodes.len() as u64).unwrap();
    for (path, owner) in nodes {
        encoder
            .map(3)
            .unwrap()
            .u8(0)
            .unwrap()
            .str(path)
            .unwrap()
            .u8(1)
            .unwrap()
            .bytes(b"v")
            .unwrap();
        encoder.u8(2).unwrap().array(1).unwrap();
        encoder
            .map(2)
            .unwrap()
            .u8(0)
            .unwrap()
            .u16(*owner)
            .unwrap()
            .u8(1)
            .unwrap()
            .char('n')
            .unwrap();
    }
    encoder.u8(2).unwrap().array(watches.len() as u64).unwrap();
    for path in watches {
        encoder
            .map(2)
            .unwrap()
            .u8(0)
            .unwrap()
            .str(path)
            .unwrap()
            .u8(1)
            .unwrap()
            .str("t")
            .unwrap();
    }
    encoder.u8(3).unwrap().encode(transactions).unwrap();
    encoder.u8(4).unwrap().bytes(incoming).unwrap();
    encoder.u8(5).unwrap().array(outgoing.len() as u64).unwrap();
    outgoing.iter().for_each(|message| {
        encoder.bytes(message).unwrap();
    });
    encoder.into_writer()
}

const SELF: u16 = 0x7ff0;

#[test]
fn forged_snapshots_are_refused_and_change_nothing() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/keep", "me").unwrap();
    let node = |path: &str| Err(SnapshotError::Node(path.to_string()));
    let big = [b'x'; 100_000];
    let oversized = Header {
        kind: Kind::READ,
        request: 0,
        transaction: 0,
        length: 0,
    };
    let mut oversized = oversized.message(b"");
    oversized[12..16].copy_from_slice(&5000u32.to_le_bytes());
    let complete = Header {
        kind: Kind::READ,
        request: 0,
        transaction: 0,
        length: 0,
    }
    .message(b"x\0");
    let too_much = [complete.as_slice(), b"behind"].concat();
    let many: Vec<String> = (0..1001).map(|number| format!("n{number}")).collect();
    let mut quota: Vec<(&str, u16)> = many.iter().map(|name| (name.as_str(), SELF)).collect();
    quota.insert(0, ("", SELF));
    let watches: Vec<&str> = many[..129].iter().map(String::as_str).collect();
    let table: Vec<(&str, Vec<u8>, Result<(), SnapshotError>)> = [
        ("no home", forge(&[("a", 0)], &[], &[], b"", &[]), node("a")),
        (
            "orphan",
            forge(&[("", 0), ("a/b", 0)], &[], &[], b"", &[]),
            node("a/b"),
        ),
        (
            "twice",
            forge(&[("", 0), ("a", 0), ("a", 0)], &[], &[], b"", &[]),
            node("a"),
        ),
        (
            "outside",
            forge(&[("", 0), ("../6", 0)], &[], &[], b"", &[]),
            node("../6"),
        ),
        (
            "absolute",
            forge(&[("", 0), ("/local", 0)], &[], &[], b"", &[]),
            node("/local"),
        ),
        ("stranger", forge(&[("", 6)], &[], &[], b"", &[]), node("")),
        (
            "quota",
            forge(&quota, &[], &[], b"", &[]),
            Err(SnapshotError::Quota),
        ),
        (
            "bad watch",
            forge(&[], &["a//b"], &[], b"", &[]),
            Err(SnapshotError::Watch("a//b".to_string())),
        ),
        (
            "watch twice",
            forge(&[], &["a", "a"], &[], b"", &[]),
            Err(SnapshotError::Watch("a".to_string())),
        ),
        (
            "watches",
            forge(&[], &watches, &[], b"", &[]),
            Err(SnapshotError::Quota),
        ),
        (
            "number 0",
            forge(&[], &[], &[0], b"", &[]),
            Err(SnapshotError::Transaction(0)),
        ),
        (
            "number twice",
            forge(&[], &[], &[4, 4], b"", &[]),
            Err(SnapshotError::Transaction(4)),
        ),
        (
            "numbers",
            forge(&[], &[], &(1..12).collect::<Vec<_>>(), b"", &[]),
            Err(SnapshotError::Quota),
        ),
        (
            "oversized",
            forge(&[], &[], &[], &[oversized.as_slice(), b"x"].concat(), &[]),
            Err(SnapshotError::Flight),
        ),
        (
            "too much in",
            forge(&[], &[], &[], &too_much, &[]),
            Err(SnapshotError::Flight),
        ),
        (
            "too much out",
            forge(&[], &[], &[], b"", &[&big]),
            Err(SnapshotError::Flight),
        ),
        (
            "empty message",
            forge(&[], &[], &[], b"", &[b""]),
            Err(SnapshotError::Flight),
        ),
        (
            "too long",
            alloc::vec![0; 1 << 21],
            Err(SnapshotError::TooBig),
        ),
        ("nothing", Vec::new(), Err(SnapshotError::Malformed)),
    ]
    .into();
    let before = store.export(5).unwrap();
    for (name, bytes, expected) in table {
        assert_eq!(store.import(5, &bytes), expected, "{name}");
        assert_eq!(store.export(5).unwrap(), before, "{name}");
    }
    store
        .import(
            5,
            &forge(&[("", 0), ("a", SELF)], &["a"], &[4], b"", &[&complete]),
        )
        .unwrap();
    assert_eq!(store.list("/local/domain/5"), ["a"]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused_or_harmless() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/a", "value").unwrap();
    guest.ask(&mut store, Kind::WATCH, "data\0t\0").unwrap();
    guest.begin(&mut store);
    let bytes = store.export(5).unwrap();
    for end in 0..bytes.len() {
        assert!(store.import(5, &bytes[..end]).is_err(), "cut at {end}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        drop(store.import(5, &flipped));
        store
            .verify()
            .unwrap_or_else(|error| panic!("bit {bit}: {error}"));
    }
    store.import(5, &bytes).unwrap();
    assert_eq!(store.export(5).unwrap(), bytes);
}
