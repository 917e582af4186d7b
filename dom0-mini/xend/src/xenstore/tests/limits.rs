use super::{Guest, store_with_guest};
use crate::xenstore::wire::Kind;
use crate::xenstore::{Limits, Xenstore};
use alloc::format;
use alloc::string::{String, ToString};

fn no_space<T>() -> Result<T, String> {
    Err("ENOSPC".to_string())
}

#[test]
fn nodes() {
    let (mut store, mut guest) = store_with_guest();
    for number in 0..999 {
        guest
            .write(&mut store, &format!("data/n{number}"), "v")
            .unwrap();
    }
    assert_eq!(store.usage(5).nodes, 1000);
    assert_eq!(guest.write(&mut store, "data/more", "v"), no_space());
    assert_eq!(
        guest.ask(&mut store, Kind::MKDIR, "data/more/and/more\0"),
        no_space()
    );
    assert_eq!(
        guest.read(&mut store, "data/more"),
        Err("ENOENT".to_string()),
        "refused means nothing happened"
    );
    guest.write(&mut store, "data/n0", "w").unwrap();
    guest.ask(&mut store, Kind::RM, "data/n0\0").unwrap();
    guest.write(&mut store, "data/more", "v").unwrap();
    assert_eq!(guest.write(&mut store, "data/a/b/c", ""), no_space());
    store.write("/local/domain/5/xend-may", b"always").unwrap();
}

#[test]
fn bytes() {
    let (mut store, mut guest) = store_with_guest();
    let value = "v".repeat(4000);
    let mut written = 0;
    while guest
        .write(&mut store, &format!("data/n{written}"), &value)
        .is_ok()
    {
        written += 1;
    }
    assert!(
        (30..34).contains(&written),
        "{written} values of 4000 bytes"
    );
    assert_eq!(
        guest.write(&mut store, "data", &value),
        no_space(),
        "growing counts as well"
    );
    guest.write(&mut store, "data/n0", "short").unwrap();
    guest.write(&mut store, "data", &value).unwrap();
}

#[test]
fn a_transaction_is_measured_at_its_end() {
    let (mut store, mut guest) = store_with_guest();
    for number in 0..990 {
        guest
            .write(&mut store, &format!("data/n{number}"), "")
            .unwrap();
    }
    let id = guest.begin(&mut store);
    for number in 0..20 {
        guest
            .ask_in(&mut store, id, Kind::WRITE, &format!("data/m{number}\0"))
            .unwrap();
    }
    assert_eq!(
        guest.ask_in(&mut store, id, Kind::TRANSACTION_END, "T\0"),
        no_space()
    );
    assert_eq!(store.usage(5).nodes, 991);
    let id = guest.begin(&mut store);
    for number in 0..20 {
        guest
            .ask_in(&mut store, id, Kind::RM, &format!("data/n{number}\0"))
            .unwrap();
        guest
            .ask_in(&mut store, id, Kind::WRITE, &format!("data/m{number}\0"))
            .unwrap();
    }
    guest
        .ask_in(&mut store, id, Kind::TRANSACTION_END, "T\0")
        .unwrap();
    assert_eq!(store.usage(5).nodes, 991);
}

#[test]
fn transactions() {
    let (mut store, mut guest) = store_with_guest();
    let ids: alloc::vec::Vec<u32> = (0..10).map(|_| guest.begin(&mut store)).collect();
    assert_eq!(
        guest.ask(&mut store, Kind::TRANSACTION_START, "\0"),
        no_space()
    );
    guest
        .ask_in(&mut store, ids[3], Kind::TRANSACTION_END, "F\0")
        .unwrap();
    guest.begin(&mut store);
}

#[test]
fn what_transactions_hold_is_bounded_over_all_of_them() {
    let (mut store, mut guest) = store_with_guest();
    let ids = [guest.begin(&mut store), guest.begin(&mut store)];
    let value = "v".repeat(4000);
    let mut written = 0;
    let mut write = |store: &mut Xenstore, guest: &mut Guest| {
        written += 1;
        guest.ask_in(
            store,
            ids[written % 2],
            Kind::WRITE,
            &format!("data/n{written}\0{value}"),
        )
    };
    while write(&mut store, &mut guest).is_ok() {}
    assert!((30..34).contains(&written));
    let ends = ids.map(|id| guest.ask_in(&mut store, id, Kind::TRANSACTION_END, "T\0"));
    assert_eq!(
        ends.iter().filter(|end| end.is_ok()).count(),
        1,
        "not the one that could not go on"
    );
    store.verify().unwrap();
}

/// A removal that runs out of room half-way must never be applied: it would leave nodes without parents.
#[test]
fn a_request_cut_short_dooms_its_transaction() {
    let limits = Limits {
        transaction_bytes: 1000,
        ..Limits::default()
    };
    let mut store = Xenstore::new(limits);
    let mut guest = Guest::introduce(&mut store, 5, 5);
    for number in 0..50 {
        guest
            .write(&mut store, &format!("data/d/n{number}"), "")
            .unwrap();
    }
    let id = guest.begin(&mut store);
    assert_eq!(
        guest.ask_in(&mut store, id, Kind::RM, "data/d\0"),
        no_space()
    );
    assert_eq!(
        guest.ask_in(&mut store, id, Kind::TRANSACTION_END, "T\0"),
        no_space()
    );
    store.verify().unwrap();
    assert_eq!(store.list("/local/domain/5/data/d").len(), 50);
}

#[test]
fn watches() {
    let (mut store, mut guest) = store_with_guest();
    for number in 0..128 {
        guest
            .ask(&mut store, Kind::WATCH, &format!("data\0{number}\0"))
            .unwrap();
    }
    assert_eq!(
        guest.ask(&mut store, Kind::WATCH, "data\0more\0"),
        Err("E2BIG".to_string())
    );
    guest.ask(&mut store, Kind::UNWATCH, "data\x007\0").unwrap();
    guest.ask(&mut store, Kind::WATCH, "data\0more\0").unwrap();
}

#[test]
fn bytes_of_watches() {
    let (mut store, mut guest) = store_with_guest();
    let token = "t".repeat(4000);
    let mut made = 0;
    while guest
        .ask(&mut store, Kind::WATCH, &format!("data\0{made}{token}\0"))
        .is_ok()
    {
        made += 1;
    }
    assert_eq!(made, 8);
}

#[test]
fn the_worst_a_guest_can_leave_waiting_is_bounded() {
    let (mut store, mut guest) = store_with_guest();
    let token = "t".repeat(200);
    for number in 0..80 {
        guest
            .ask(&mut store, Kind::WATCH, &format!("data\0{number}{token}\0"))
            .unwrap();
    }
    guest.events(&mut store);
    for number in 0..3000 {
        store
            .write(&format!("/local/domain/5/data/n{}", number % 900), b"")
            .unwrap();
    }
    store.verify().unwrap();
    assert!(guest.events(&mut store).len() < 500);
}

#[test]
fn one_guest_cannot_use_up_what_another_has() {
    let mut store = Xenstore::default();
    let mut greedy = Guest::introduce(&mut store, 5, 5);
    let mut other = Guest::introduce(&mut store, 6, 6);
    for number in 0..1100 {
        drop(greedy.write(&mut store, &format!("data/n{number}"), ""));
    }
    for number in 0..900 {
        other
            .write(&mut store, &format!("data/n{number}"), "")
            .unwrap();
    }
}
