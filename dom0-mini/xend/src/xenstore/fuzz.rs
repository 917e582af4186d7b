//! A fuzz body: two guests and xend do what the input says, and the store's invariants hold after every step.
//!
//! A guest's step is a request from a small vocabulary (so that requests meet each other), arbitrary bytes in the ring,
//! arbitrary indices, reading replies or not, or a reconnection; xend's are writes, removals, and saving and restoring a
//! guest. Whatever happens, [`Xenstore::verify`] must find nothing, and no call may panic or fail to return.

use super::path;
use super::wire::{Header, Kind};
use super::{Access, Permissions, Xenstore};
use crate::ring::{ByteRing, FakePage, SharedPage};
use alloc::boxed::Box;
use alloc::vec::Vec;

const REQUESTS: ByteRing = ByteRing::new(0, 1024, 2048, 2052);
const RESPONSES: ByteRing = ByteRing::new(1024, 1024, 2056, 2060);
const CONNECTION: usize = 2068;

/// (host domid, guest domid): the second was restored beside the one it was cloned from.
const GUESTS: [(u16, u16); 2] = [(5, 5), (9, 5)];

const PATHS: [&str; 16] = [
    "data",
    "data/a",
    "data/a/b",
    "data/a/b/c",
    "data/d",
    "domid",
    "control/shutdown",
    "/local/domain/5/data",
    "/local/domain/5/data/a",
    "/local/domain/9/data/a",
    "/local/domain",
    "/",
    "@introduceDomain",
    "@releaseDomain",
    "bad//path",
    "",
];

const ARGUMENTS: [&[u8]; 8] = [
    b"",
    b"value",
    b"0\0",
    b"T\0",
    b"F\0",
    b"n5\0b0\0",
    b"b9\0r5\0",
    b"a rather longer value that costs something",
];

/// Runs the input. Panics if an invariant does not hold.
pub fn fuzz_xenstore(input: &[u8]) {
    let mut bench = Bench::new();
    let mut script = Script(input);
    while let Some(step) = script.byte() {
        bench.step(step, &mut script);
        if let Err(broken) = bench.store.verify() {
            panic!("{broken}");
        }
    }
    GUESTS
        .iter()
        .for_each(|(host, _)| bench.store.release(*host));
    assert!(bench.store.verify().is_ok(), "after release");
    assert!(
        GUESTS
            .iter()
            .all(|(host, _)| bench.store.usage(*host).nodes == 0),
        "released domains own nothing"
    );
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn or_zero(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([0; 4].map(|_: u8| self.or_zero()))
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.or_zero()) % from.len()]
    }
}

struct Bench {
    store: Xenstore,
    pages: [FakePage; 2],
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            store: Xenstore::default(),
            pages: [FakePage::new(), FakePage::new()],
        };
        (0..GUESTS.len()).for_each(|which| bench.introduce(which));
        bench
    }

    fn introduce(&mut self, which: usize) {
        let (host, guest) = GUESTS[which];
        let home = path::home(host);
        let write = |store: &mut Xenstore, below: &str, permissions| {
            let path = [home.as_str(), below].concat();
            store
                .mkdir(&path)
                .and_then(|()| store.set_permissions(&path, permissions))
                .expect("xend may");
        };
        write(
            &mut self.store,
            "",
            Permissions::shared_with(host, Access::Read),
        );
        write(&mut self.store, "/data", Permissions::private(host));
        write(
            &mut self.store,
            "/control",
            Permissions::shared_with(host, Access::Both),
        );
        self.store
            .introduce(host, guest, Box::new(self.pages[which].clone()))
            .expect("is not there");
        self.store.watch(&home);
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let which = usize::from(step) % GUESTS.len();
        let host = GUESTS[which].0;
        match step >> 4 {
            0..=6 => self.request(which, script),
            7 => self.raw(which, script),
            8 => self.index(which, script),
            9 | 10 => self.read(which),
            11 => self.pages[which].store_u32(CONNECTION, u32::from(step & 2) / 2),
            12 => drop(self.store.write(
                &path::home(host),
                ARGUMENTS[usize::from(step) % ARGUMENTS.len()],
            )),
            13 => drop(self.store.rm(script.pick(&PATHS))),
            14 => self.move_guest(which, script),
            _ => drop((self.store.take_changes(), self.store.take_notifications())),
        }
        self.store.service(host);
    }

    fn request(&mut self, which: usize, script: &mut Script<'_>) {
        let kind = Kind(u32::from(script.or_zero() % 25));
        let transaction = u32::from(script.or_zero() % 4);
        let mut payload = script.pick(&PATHS).as_bytes().to_vec();
        payload.push(0);
        payload.extend_from_slice(script.pick(&ARGUMENTS));
        let short = match kind {
            Kind::TRANSACTION_START | Kind::RESET_WATCHES => b"\0".to_vec(),
            Kind::TRANSACTION_END => script.pick(&[b"T\0", b"F\0"]).to_vec(),
            Kind::WRITE | Kind::SET_PERMS | Kind::WATCH | Kind::UNWATCH | Kind::DIRECTORY_PART => {
                payload
            }
            _ => payload
                .split_inclusive(|byte| *byte == 0)
                .next()
                .unwrap_or_default()
                .to_vec(),
        };
        let transaction = if kind == Kind::TRANSACTION_START {
            0
        } else {
            transaction
        };
        let message = Header {
            kind,
            request: 1,
            transaction,
            length: 0,
        }
        .message(&short);
        let _ = REQUESTS.put(&self.pages[which], &message);
    }

    fn raw(&mut self, which: usize, script: &mut Script<'_>) {
        let count = usize::from(script.or_zero());
        let _ = REQUESTS.put(&self.pages[which], script.bytes(count));
    }

    fn index(&mut self, which: usize, script: &mut Script<'_>) {
        let offset = script.pick(&[2048, 2052, 2056, 2060]);
        let page = &self.pages[which];
        page.store_u32(offset, page.load_u32(offset).wrapping_add(script.word()));
    }

    fn read(&mut self, which: usize) {
        let mut buffer = [0; 1024];
        let _ = RESPONSES.take(&self.pages[which], &mut buffer);
    }

    /// Saves a guest, damages what was saved if the input says so, and restores it.
    fn move_guest(&mut self, which: usize, script: &mut Script<'_>) {
        let host = GUESTS[which].0;
        let mut saved: Vec<u8> = self.store.export(host).expect("small enough");
        let (place, flip) = (
            usize::from(script.or_zero()),
            script.or_zero() & script.or_zero(),
        );
        if let Some(byte) = saved.get_mut(place) {
            *byte ^= flip;
        }
        self.store.release(host);
        self.introduce(which);
        let restored = self.store.import(host, &saved);
        assert!(restored.is_ok() || flip != 0, "{restored:?}");
    }
}
