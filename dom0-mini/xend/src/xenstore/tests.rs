//! Tests of the store through its two doors: a guest's ring, and xend's calls.

mod fuzzing;
mod limits;
mod operations;
mod rights;
mod rings;
mod snapshots;
mod transactions;
mod watches;

use super::wire::{HEADER_BYTES, Header, Kind};
use super::{Access, Permissions, Xenstore};
use crate::ring::{ByteRing, FakePage};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const REQUESTS: ByteRing = ByteRing::new(0, 1024, 2048, 2052);
const RESPONSES: ByteRing = ByteRing::new(1024, 1024, 2056, 2060);

/// A guest's side of its connection.
struct Guest {
    domid: u16,
    page: FakePage,
    inbox: Vec<u8>,
    events: VecDeque<(String, String)>,
    request: u32,
}

/// A store as xend sets it up, with one domain whose two numbers are equal.
fn store_with_guest() -> (Xenstore, Guest) {
    let mut store = Xenstore::default();
    let guest = Guest::introduce(&mut store, 5, 5);
    (store, guest)
}

impl Guest {
    /// Introduces a domain and makes it a home with a `data` directory of its own.
    fn introduce(store: &mut Xenstore, host: u16, number: u16) -> Self {
        let home = format!("/local/domain/{host}");
        store
            .write(&format!("{home}/domid"), number.to_string().as_bytes())
            .unwrap();
        store
            .set_permissions(&home, Permissions::shared_with(host, Access::Read))
            .unwrap();
        store
            .set_permissions(
                &format!("{home}/domid"),
                Permissions::shared_with(host, Access::Read),
            )
            .unwrap();
        store.mkdir(&format!("{home}/data")).unwrap();
        store
            .set_permissions(&format!("{home}/data"), Permissions::private(host))
            .unwrap();
        Self::connect(store, host, number)
    }

    /// Introduces a domain and makes nothing.
    fn connect(store: &mut Xenstore, host: u16, number: u16) -> Self {
        let page = FakePage::new();
        store
            .introduce(host, number, Box::new(page.clone()))
            .unwrap();
        Self {
            domid: host,
            page,
            inbox: Vec::new(),
            events: VecDeque::new(),
            request: 0,
        }
    }

    /// Puts a request into the ring as far as the store makes room for it.
    fn send(&mut self, store: &mut Xenstore, kind: Kind, transaction: u32, payload: &[u8]) {
        self.request += 1;
        let header = Header {
            kind,
            request: self.request,
            transaction,
            length: 0,
        };
        let message = header.message(payload);
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            let count = REQUESTS.put(&self.page, rest).unwrap();
            rest = &rest[count..];
            store.service(self.domid);
            self.pull();
        }
    }

    /// Takes what is in the response ring.
    fn pull(&mut self) {
        let mut buffer = [0; 1024];
        let count = RESPONSES.take(&self.page, &mut buffer).unwrap();
        self.inbox.extend_from_slice(&buffer[..count]);
    }

    /// Takes one message out of the inbox.
    fn message(&mut self) -> Option<(Header, Vec<u8>)> {
        let header = Header::parse(&self.inbox)?;
        let end = HEADER_BYTES + header.length as usize;
        let payload = self.inbox.get(HEADER_BYTES..end)?.to_vec();
        self.inbox.drain(..end);
        Some((header, payload))
    }

    /// Waits for the next message, as a guest that is notified would.
    fn wait(&mut self, store: &mut Xenstore) -> Option<(Header, Vec<u8>)> {
        for _ in 0..64 {
            self.pull();
            if let Some(message) = self.message() {
                return Some(message);
            }
            store.service(self.domid);
        }
        None
    }

    /// Asks in a transaction and returns the reply or the error's name; events go to the side.
    fn ask_in(
        &mut self,
        store: &mut Xenstore,
        id: u32,
        kind: Kind,
        payload: &str,
    ) -> Result<String, String> {
        self.ask_bytes(store, id, kind, payload.as_bytes())
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn ask(&mut self, store: &mut Xenstore, kind: Kind, payload: &str) -> Result<String, String> {
        self.ask_in(store, 0, kind, payload)
    }

    fn ask_bytes(
        &mut self,
        store: &mut Xenstore,
        id: u32,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Vec<u8>, String> {
        self.send(store, kind, id, payload);
        loop {
            let (header, payload) = self.wait(store).expect("a reply");
            if header.kind == Kind::WATCH_EVENT {
                self.keep_event(&payload);
                continue;
            }
            assert_eq!(
                (header.request, header.transaction),
                (self.request, id),
                "the reply to this request"
            );
            // Every request of short tests, some of long ones.
            if self.request < 64 || self.request.is_multiple_of(16) {
                store.verify().unwrap();
            }
            let name = || String::from_utf8(payload[..payload.len() - 1].to_vec()).unwrap();
            return if header.kind == Kind::ERROR {
                Err(name())
            } else {
                reply(kind, header, payload)
            };
        }
    }

    fn keep_event(&mut self, payload: &[u8]) {
        let text = core::str::from_utf8(payload)
            .unwrap()
            .strip_suffix('\0')
            .unwrap();
        let (path, token) = text.split_once('\0').unwrap();
        self.events.push_back((path.to_string(), token.to_string()));
    }

    /// All events that have come, as `path token`.
    fn events(&mut self, store: &mut Xenstore) -> Vec<String> {
        while let Some((header, payload)) = self.wait(store) {
            assert_eq!(header.kind, Kind::WATCH_EVENT);
            self.keep_event(&payload);
        }
        self.events
            .drain(..)
            .map(|(path, token)| format!("{path} {token}"))
            .collect()
    }

    fn begin(&mut self, store: &mut Xenstore) -> u32 {
        let id = self.ask(store, Kind::TRANSACTION_START, "\0").unwrap();
        id.trim_end_matches('\0').parse().unwrap()
    }

    fn write(&mut self, store: &mut Xenstore, path: &str, value: &str) -> Result<String, String> {
        self.ask(store, Kind::WRITE, &format!("{path}\0{value}"))
    }

    fn read(&mut self, store: &mut Xenstore, path: &str) -> Result<String, String> {
        self.ask(store, Kind::READ, &format!("{path}\0"))
    }
}

fn reply(kind: Kind, header: Header, payload: Vec<u8>) -> Result<Vec<u8>, String> {
    assert_eq!(header.kind, kind);
    Ok(payload)
}
