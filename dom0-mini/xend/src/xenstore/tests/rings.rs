use super::snapshots::move_to;
use super::{Guest, REQUESTS, RESPONSES, store_with_guest};
use crate::ring::SharedPage;
use crate::xenstore::wire::{Header, Kind};
use crate::xenstore::{Fault, Xenstore};

const CONNECTION: usize = 2068;
const ERROR: usize = 2072;

fn read_request(request: u32) -> alloc::vec::Vec<u8> {
    Header {
        kind: Kind::READ,
        request,
        transaction: 0,
        length: 0,
    }
    .message(b"domid\0")
}

#[test]
fn a_request_may_arrive_byte_by_byte_anywhere_in_the_ring() {
    for start in [0, 1, 1000, 1023, u32::MAX - 5] {
        let (mut store, mut guest) = store_with_guest();
        for index in [2048, 2052, 2056, 2060] {
            guest.page.store_u32(index, start);
        }
        for byte in read_request(9) {
            assert_eq!(guest.wait(&mut store), None);
            REQUESTS.put(&guest.page, &[byte]).unwrap();
        }
        let (header, payload) = guest.wait(&mut store).unwrap();
        assert_eq!((header.request, payload.as_slice()), (9, b"5".as_slice()));
    }
}

#[test]
fn several_requests_in_one_ring_are_answered_in_order() {
    let (mut store, mut guest) = store_with_guest();
    for request in 1..=20 {
        REQUESTS.put(&guest.page, &read_request(request)).unwrap();
    }
    assert!(!store.service(5));
    assert_eq!(store.take_notifications(), [5]);
    assert!(store.take_notifications().is_empty());
    for request in 1..=20 {
        assert_eq!(guest.wait(&mut store).unwrap().0.request, request);
    }
}

#[test]
fn one_call_answers_a_bounded_number_and_says_that_there_is_more() {
    let (mut store, guest) = store_with_guest();
    let short = Header {
        kind: Kind(99),
        request: 0,
        transaction: 0,
        length: 0,
    }
    .message(b"");
    for _ in 0..40 {
        assert_eq!(REQUESTS.put(&guest.page, &short), Ok(16));
    }
    assert!(store.service(5));
    assert_eq!(REQUESTS.used(&guest.page), Ok(8 * 16));
    assert!(!store.service(5));
    assert_eq!(store.counters(5).errors, 40);
}

#[test]
fn a_guest_that_does_not_read_its_replies_is_not_served_further() {
    let (mut store, mut guest) = store_with_guest();
    store
        .write("/local/domain/5/data/long", &[b'v'; 3000])
        .unwrap();
    let request = Header {
        kind: Kind::READ,
        request: 1,
        transaction: 0,
        length: 0,
    }
    .message(b"data/long\0");
    for _ in 0..5 {
        REQUESTS.put(&guest.page, &request).unwrap();
    }
    assert!(!store.service(5));
    assert_eq!(
        REQUESTS.used(&guest.page),
        Ok(4 * 26),
        "one was read, the others stay"
    );
    assert_eq!(RESPONSES.used(&guest.page), Ok(1024));
    for _ in 0..5 {
        assert_eq!(guest.wait(&mut store).unwrap().1.len(), 3000);
    }
}

#[test]
fn broken_indices_end_the_service_until_the_guest_reconnects() {
    for (index, value) in [(2052, 1025), (2048, 100), (2060, 5000), (2056, 2000)] {
        let (mut store, mut guest) = store_with_guest();
        guest.ask(&mut store, Kind::WATCH, "data\0t\0").unwrap();
        guest.events(&mut store);
        REQUESTS.put(&guest.page, &read_request(1)).unwrap();
        let honest = guest.page.load_u32(index);
        guest.page.store_u32(index, honest.wrapping_add(value));
        store.take_notifications();
        assert!(!store.service(5));
        assert!(
            matches!(store.fault(5), Some(Fault::Ring(_))),
            "index at {index}"
        );
        assert_eq!(guest.page.load_u32(ERROR), 2);
        assert_eq!(store.take_notifications(), [5]);
        store.write("/local/domain/5/data/x", b"").unwrap();
        assert!(!store.service(5));
        assert_eq!(store.counters(5).faults, 1);
        reconnect(&mut store, &mut guest);
        assert_eq!(guest.read(&mut store, "domid").as_deref(), Ok("5"));
        assert!(guest.events(&mut store).is_empty(), "watches are gone");
    }
}

fn reconnect(store: &mut Xenstore, guest: &mut Guest) {
    guest.inbox.clear();
    guest.page.store_u32(CONNECTION, 1);
    store.service(guest.domid);
    assert_eq!(guest.page.load_u32(CONNECTION), 0);
    assert_eq!(guest.page.load_u32(ERROR), 0);
    assert_eq!(store.fault(guest.domid), None);
}

#[test]
fn an_oversized_payload_is_a_fault() {
    for length in [4097, 65536, u32::MAX] {
        let (mut store, mut guest) = store_with_guest();
        let mut request = read_request(1);
        request[12..16].copy_from_slice(&length.to_le_bytes());
        REQUESTS.put(&guest.page, &request).unwrap();
        store.service(5);
        assert_eq!(store.fault(5), Some(Fault::Payload(length)));
        assert_eq!(guest.page.load_u32(ERROR), 3);
        (store, guest) = move_to(&store, guest, 6);
        store.service(6);
        assert_eq!(
            store.fault(6),
            Some(Fault::Payload(length)),
            "as broken as before"
        );
        reconnect(&mut store, &mut guest);
    }
}

#[test]
fn reconnecting_in_the_middle_of_a_request_forgets_it() {
    let (mut store, mut guest) = store_with_guest();
    let id = guest.begin(&mut store);
    REQUESTS.put(&guest.page, &read_request(1)[..18]).unwrap();
    store.service(5);
    reconnect(&mut store, &mut guest);
    assert_eq!(guest.read(&mut store, "domid").as_deref(), Ok("5"));
    assert!(guest.ask_in(&mut store, id, Kind::READ, "domid\0").is_err());
}

#[test]
fn the_page_says_what_we_can_do() {
    let (_store, guest) = store_with_guest();
    assert_eq!(guest.page.load_u32(2064), 3);
}

#[test]
fn a_domain_is_introduced_once_and_never_as_domain_0() {
    let (mut store, guest) = store_with_guest();
    assert!(
        store
            .introduce(5, 5, alloc::boxed::Box::new(guest.page.clone()))
            .is_err()
    );
    assert!(
        store
            .introduce(0, 0, alloc::boxed::Box::new(guest.page))
            .is_err()
    );
}

#[test]
fn a_change_by_one_guest_notifies_the_other() {
    let mut store = Xenstore::default();
    let mut writer = Guest::introduce(&mut store, 5, 5);
    let mut watcher = Guest::introduce(&mut store, 6, 6);
    watcher
        .ask(&mut store, Kind::WATCH, "/local/domain/5/data/x\0t\0")
        .unwrap();
    watcher.events(&mut store);
    writer.write(&mut store, "data/x", "").unwrap();
    writer
        .ask(&mut store, Kind::SET_PERMS, "data/x\0r5\0")
        .unwrap();
    assert_eq!(store.take_notifications(), [5, 6]);
}
