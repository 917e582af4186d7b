use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::arch::fake::FakePte;

/// Tables in a vector; the invalidations asked for.
struct TestTables {
    words: Vec<Words>,
    free: RefCell<Vec<u64>>,
    invalidated: RefCell<Vec<(u64, u64)>>,
}

impl TestTables {
    fn new(count: u64) -> Self {
        Self {
            words: (0..count)
                .map(|_| [const { AtomicU64::new(0) }; 512])
                .collect(),
            free: RefCell::new((FakePte::ROOT_FRAMES..count).rev().collect()),
            invalidated: RefCell::default(),
        }
    }

    fn used(&self) -> u64 {
        self.words.len() as u64 - self.free.borrow().len() as u64 - FakePte::ROOT_FRAMES
    }
}

impl Tables for TestTables {
    fn words(&self, table: Mfn) -> &Words {
        &self.words[usize::try_from(table.0).expect("small")]
    }

    fn allocate(&self) -> Option<Mfn> {
        let table = Mfn(self.free.borrow_mut().pop()?);
        for word in self.words(table) {
            word.store(0, Ordering::Relaxed);
        }
        Some(table)
    }

    fn release(&self, table: Mfn) {
        assert!(!self.free.borrow().contains(&table.0), "released twice");
        self.free.borrow_mut().push(table.0);
    }

    fn invalidate(&self, gfn: Gfn, count: u64) {
        self.invalidated.borrow_mut().push((gfn.0, count));
    }

    fn publish(&self) {}
}

type Map = Stage2<FakePte>;

fn map() -> Map {
    Stage2::new(Mfn(0))
}

#[test]
fn aligned_memory_takes_one_leaf_and_a_change_splits_only_that() {
    let (tables, mut map) = (TestTables::new(16), map());
    map.map(&tables, Gfn(0x400), Mfn(0x8000), 1024, Attributes::RAM)
        .expect("room");
    let leaf = map.lookup(&tables, Gfn(0x405)).expect("mapped");
    assert_eq!((leaf.mfn, leaf.count), (Mfn(0x8005), 507));
    let before = tables.used();
    let gone = map
        .unmap(&tables, Gfn(0x405))
        .expect("a table for the split");
    assert_eq!(gone.map(|leaf| leaf.mfn), Some(Mfn(0x8005)));
    assert_eq!(tables.used(), before + 1);
    assert_eq!(*tables.invalidated.borrow(), [(0x400, 512), (0x405, 1)]);
    assert_eq!(map.lookup(&tables, Gfn(0x405)), None);
    let neighbour = map.lookup(&tables, Gfn(0x406)).expect("still there");
    assert_eq!((neighbour.mfn, neighbour.count), (Mfn(0x8006), 1));
    let other = map.lookup(&tables, Gfn(0x600)).expect("untouched");
    assert_eq!(other.count, 512);
}

#[test]
fn a_mapping_is_made_whole_or_not_at_all() {
    let (tables, mut map) = (TestTables::new(16), map());
    map.map(&tables, Gfn(0x1003), Mfn(1), 1, Attributes::RAM)
        .expect("room");
    let refused = map.map(&tables, Gfn(0x1000), Mfn(0x101), 8, Attributes::RAM);
    assert_eq!(refused, Err(MapError::Occupied));
    assert_eq!(map.lookup(&tables, Gfn(0x1000)), None);
    assert_eq!(
        map.lookup(&tables, Gfn(0x1003)).map(|leaf| leaf.mfn),
        Some(Mfn(1))
    );
    let block = map.map(&tables, Gfn(0x1000), Mfn(0x200), 512, Attributes::RAM);
    assert_eq!(block, Err(MapError::Occupied));
    let beyond = map.map(&tables, Gfn(Map::limit() - 1), Mfn(0), 2, Attributes::RAM);
    assert_eq!(beyond, Err(MapError::OutOfRange));
    assert_eq!(map.lookup(&tables, Gfn(u64::MAX)), None);
}

#[test]
fn what_is_unmapped_leaves_no_table_behind() {
    let (tables, mut map) = (TestTables::new(16), map());
    map.map(&tables, Gfn(0x1003), Mfn(1), 1, Attributes::RAM)
        .expect("room");
    map.map(&tables, Gfn(0x1005), Mfn(2), 1, Attributes::RAM)
        .expect("room");
    let used = tables.used();
    map.unmap(&tables, Gfn(0x1003)).expect("no split");
    assert_eq!(tables.used(), used, "its neighbour needs them");
    map.unmap(&tables, Gfn(0x1005)).expect("no split");
    assert_eq!(tables.used(), 0);
    // Walkers may have kept what pointed to the tables.
    assert!(tables.invalidated.borrow().contains(&(0x1000, 512)));
    map.map(&tables, Gfn(0x1000), Mfn(0x200), 512, Attributes::RAM)
        .expect("nothing is mapped there");
    assert_eq!(
        map.lookup(&tables, Gfn(0x1000)).map(|leaf| leaf.count),
        Some(512)
    );
}

#[test]
fn rights_of_one_frame_change_alone() {
    let (tables, mut map) = (TestTables::new(16), map());
    map.map(&tables, Gfn(0), Mfn(0x200), 512, Attributes::RAM)
        .expect("room");
    map.protect(&tables, Gfn(9), Attributes::READ_ONLY)
        .expect("a table for the split");
    let rights = |gfn| map.lookup(&tables, Gfn(gfn)).map(|leaf| leaf.attributes);
    assert_eq!(rights(9), Some(Attributes::READ_ONLY));
    assert_eq!(rights(10), Some(Attributes::RAM));
    let unmapped = map.protect(&tables, Gfn(0x9999), Attributes::RAM);
    assert_eq!(unmapped, Err(MapError::OutOfRange));
}

#[test]
fn without_a_table_nothing_changes() {
    let (tables, mut map) = (TestTables::new(FakePte::ROOT_FRAMES + 1), map());
    let refused = map.map(&tables, Gfn(0), Mfn(0), 1, Attributes::RAM);
    assert_eq!(refused, Err(MapError::NoTable));
    assert_eq!(map.next(&tables, Gfn(0)), None);
    assert_eq!(tables.used(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Map(u64, u64, u64),
    Unmap(u64),
    UnmapRange(u64, u64),
    Protect(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gfn = || prop_oneof![0_u64..2048, 0x4_0000_u64..0x4_0800];
    let count = || prop_oneof![1_u64..20, Just(512_u64), Just(1024_u64)];
    let mfn = prop_oneof![0_u64..4096, (0_u64..8).prop_map(|block| block * 512)];
    let aligned = prop_oneof![gfn(), gfn().prop_map(|gfn| gfn & !511)];
    let step = prop_oneof![
        (aligned, mfn, count()).prop_map(|(gfn, mfn, count)| Step::Map(gfn, mfn, count)),
        gfn().prop_map(Step::Unmap),
        (gfn(), count()).prop_map(|(gfn, count)| Step::UnmapRange(gfn, count)),
        gfn().prop_map(Step::Protect),
    ];
    proptest::collection::vec(step, 1..40)
}

type Model = BTreeMap<u64, (u64, Attributes)>;

fn apply(step: &Step, tables: &TestTables, map: &mut Map, model: &mut Model) {
    match *step {
        Step::Map(gfn, mfn, count) => {
            let free = model.range(gfn..gfn + count).next().is_none();
            let mapped = map.map(tables, Gfn(gfn), Mfn(mfn), count, Attributes::RAM);
            assert_eq!(mapped.is_ok(), free);
            if free {
                model.extend((0..count).map(|n| (gfn + n, (mfn + n, Attributes::RAM))));
            }
        }
        Step::Unmap(gfn) => {
            let gone = map.unmap(tables, Gfn(gfn)).expect("enough tables");
            let expected = model.remove(&gfn).map(|(mfn, _)| Mfn(mfn));
            assert_eq!(gone.map(|leaf| leaf.mfn), expected);
        }
        Step::UnmapRange(gfn, count) => {
            map.unmap_range(tables, Gfn(gfn), count)
                .expect("enough tables");
            model.retain(|at, _| !(gfn..gfn + count).contains(at));
        }
        Step::Protect(gfn) => {
            let done = map.protect(tables, Gfn(gfn), Attributes::READ_ONLY).is_ok();
            let entry = model.get_mut(&gfn);
            assert_eq!(done, entry.is_some());
            if let Some((_, attributes)) = entry {
                *attributes = Attributes::READ_ONLY;
            }
        }
    }
}

/// All that is mapped, as the walker tells it.
fn walk(tables: &TestTables, map: &Map) -> Model {
    let mut found = Model::new();
    let mut at = 0;
    while let Some(mapped) = map.next(tables, Gfn(at)) {
        assert!(mapped.gfn.0 >= at);
        for n in 0..mapped.leaf.count {
            found.insert(
                mapped.gfn.0 + n,
                (mapped.leaf.mfn.0 + n, mapped.leaf.attributes),
            );
        }
        at = mapped.gfn.0 + mapped.leaf.count;
    }
    found
}

proptest! {
    #[test]
    fn the_tables_are_the_map_that_was_asked_for(steps in steps(), unmap: bool) {
        let (tables, mut map) = (TestTables::new(64), map());
        let mut model = Model::new();
        for step in &steps {
            apply(step, &tables, &mut map, &mut model);
        }
        prop_assert_eq!(&walk(&tables, &map), &model);
        for (gfn, (mfn, attributes)) in &model {
            let leaf = map.lookup(&tables, Gfn(*gfn)).expect("it is in the model");
            prop_assert_eq!((leaf.mfn, leaf.attributes), (Mfn(*mfn), *attributes));
        }
        if unmap {
            map.unmap_range(&tables, Gfn(0), Map::limit()).expect("whole leaves");
            prop_assert_eq!(tables.used(), 0);
            model.clear();
        }
        let mut left = model.len() as u64;
        let mut rounds = 0;
        while !map.dismantle(&tables, 7, |mapped| { left -= mapped.leaf.count; 1 }) {
            rounds += 1;
            prop_assert!(rounds < 10_000);
        }
        prop_assert_eq!((left, tables.used()), (0, 0));
    }
}
