//! Both formats against the walker that uses them.

extern crate std;

use core::cell::{Cell, RefCell};
use std::vec::Vec;

use hv_common::arch::fake::{FakeHost, RAM_START};
use hv_common::arch::{Attributes, Gfn, Host, Mfn, Pte, PteKind, Words};
use hv_common::memory::stage2::{Stage2, Tables};

use crate::ept::EptEntry;
use crate::npt::NptEntry;

/// Tables from a small RAM, and what the walker did with them.
struct Pool {
    host: FakeHost,
    next: Cell<u64>,
    free: RefCell<Vec<Mfn>>,
    invalidated: RefCell<Vec<(u64, u64)>>,
}

impl Pool {
    fn new() -> Self {
        Self {
            host: FakeHost::new(64),
            next: Cell::new(RAM_START.0 + 1),
            free: RefCell::default(),
            invalidated: RefCell::default(),
        }
    }
}

impl Tables for Pool {
    fn words(&self, table: Mfn) -> &Words {
        self.host.words(table)
    }

    fn allocate(&self) -> Option<Mfn> {
        let table = self.free.borrow_mut().pop().unwrap_or_else(|| {
            self.next.set(self.next.get() + 1);
            Mfn(self.next.get() - 1)
        });
        self.host.clear(table);
        Some(table)
    }

    fn release(&self, table: Mfn) {
        self.free.borrow_mut().push(table);
    }

    fn invalidate(&self, gfn: Gfn, count: u64) {
        self.invalidated.borrow_mut().push((gfn.0, count));
    }

    fn publish(&self) {}
}

fn every_right() -> [Attributes; 4] {
    [
        Attributes::RAM,
        Attributes::SHARED,
        Attributes::READ_ONLY,
        Attributes::DEVICE,
    ]
}

fn entries_say_what_they_were_made_of<P: Pte>() {
    for level in 0..3 {
        let frame = Mfn(0xA_BC00_0000 & !((1 << (9 * level)) - 1));
        for attributes in every_right() {
            let word = P::leaf(frame, level, attributes).to_word();
            let expected = PteKind::Leaf(frame, attributes);
            assert_eq!(P::from_word(word).decode(level), expected, "{word:#x}");
        }
    }
    for level in 1..4 {
        let word = P::table(Mfn(0xF_FFFF_FFFF)).to_word();
        assert_eq!(
            P::from_word(word).decode(level),
            PteKind::Table(Mfn(0xF_FFFF_FFFF))
        );
        assert_eq!(P::EMPTY.decode(level), PteKind::Empty);
    }
}

fn the_walker_maps_splits_and_unmaps<P: Pte>() {
    let pool = Pool::new();
    let mut stage2: Stage2<P> = Stage2::new(RAM_START);
    let at = |stage2: &Stage2<P>, gfn| stage2.lookup(&pool, Gfn(gfn));
    // 4 MiB at 4 MiB: two blocks, each a leaf of 512 frames.
    stage2
        .map(&pool, Gfn(0x400), Mfn(0x8_0400), 1024, Attributes::RAM)
        .unwrap();
    let leaf = at(&stage2, 0x400).unwrap();
    assert_eq!((leaf.mfn, leaf.count), (Mfn(0x8_0400), 512));
    assert_eq!(at(&stage2, 0x7FF).unwrap().mfn, Mfn(0x8_07FF));
    assert_eq!(at(&stage2, 0x3FF), None);
    assert_eq!(at(&stage2, 0x800), None);

    // A page in the middle goes: its block becomes pages, the other stays whole.
    let gone = stage2.unmap(&pool, Gfn(0x410)).unwrap().unwrap();
    assert_eq!(gone.mfn, Mfn(0x8_0410));
    assert_eq!(at(&stage2, 0x410), None);
    assert_eq!(at(&stage2, 0x411).unwrap().mfn, Mfn(0x8_0411));
    assert_eq!(at(&stage2, 0x411).unwrap().attributes, Attributes::RAM);
    assert_eq!(at(&stage2, 0x600).unwrap().count, 512);
    assert!(!pool.invalidated.borrow().is_empty());

    stage2
        .protect(&pool, Gfn(0x411), Attributes::READ_ONLY)
        .unwrap();
    assert_eq!(
        at(&stage2, 0x411).unwrap().attributes,
        Attributes::READ_ONLY
    );
    stage2
        .map(&pool, Gfn(0x410), Mfn(0xFEC00), 1, Attributes::DEVICE)
        .unwrap();
    assert_eq!(at(&stage2, 0x410).unwrap().attributes, Attributes::DEVICE);
    assert!(
        stage2
            .map(&pool, Gfn(0x600), Mfn(0), 1, Attributes::RAM)
            .is_err()
    );
}

#[test]
fn ept_entries_say_what_they_were_made_of() {
    entries_say_what_they_were_made_of::<EptEntry>();
}

#[test]
fn npt_entries_say_what_they_were_made_of() {
    entries_say_what_they_were_made_of::<NptEntry>();
}

#[test]
fn the_walker_works_on_ept() {
    the_walker_maps_splits_and_unmaps::<EptEntry>();
}

#[test]
fn the_walker_works_on_npt() {
    the_walker_maps_splits_and_unmaps::<NptEntry>();
}
