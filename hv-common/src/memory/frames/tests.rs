use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const FIRST: u64 = 0x4_0003;
const COUNT: u64 = 3000;
const GUEST: DomId = DomId(7);

fn pool(count: u64) -> Frames {
    let words: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let frames = Frames::new(Mfn(FIRST), Box::leak(words.into_boxed_slice()));
    assert_eq!(frames.add_free(Mfn(FIRST), count), count);
    frames
}

fn ram() -> Frame {
    Frame::new(FrameKind::Ram, GUEST)
}

fn adds_up(frames: &Frames) -> Usage {
    let usage = frames.usage();
    let parts =
        usage.free + usage.hypervisor + usage.dom0 + usage.boot + usage.store + usage.domains;
    assert_eq!(parts, usage.total, "{usage:?}");
    usage
}

#[test]
fn every_word_survives_its_encoding() {
    let words = [
        Word::Interior,
        Word::FreeHead {
            order: MAX_ORDER,
            previous: Some(0),
            next: None,
        },
        Word::FreeHead {
            order: 0,
            previous: None,
            next: Some((FRAMES_MAX - 1) as u32),
        },
        Word::Used(Frame {
            kind: FrameKind::Store,
            owner: DomId(0xFFFF),
            uncleared: true,
            orphan: true,
            references: u32::MAX,
        }),
        Word::Used(Frame::new(FrameKind::Hypervisor, DomId::ZERO)),
    ];
    for word in words {
        assert_eq!(Word::decode(word.encode()), word);
    }
}

#[test]
fn everything_taken_one_by_one_comes_back_as_the_largest_blocks() {
    let frames = pool(COUNT);
    let taken: Vec<Mfn> =
        core::iter::from_fn(|| frames.allocate(0, ram(), Funding::Free).ok()).collect();
    assert_eq!(taken.len() as u64, COUNT);
    assert_eq!(adds_up(&frames).domains, COUNT);
    for mfn in taken {
        assert!(frames.release(mfn, Funding::Free));
    }
    assert_eq!(adds_up(&frames).free, COUNT);
    let large = frames
        .allocate(MAX_ORDER, ram(), Funding::Free)
        .expect("4 MiB");
    assert_eq!(large.0 % (1 << MAX_ORDER), 0, "aligned as a machine frame");
}

#[test]
fn what_is_promised_goes_to_nobody_else() {
    let frames = pool(100);
    assert_eq!(frames.reserve(60), Ok(()));
    assert_eq!(
        frames.reserve(41),
        Err(Shortage {
            wanted: 41,
            available: 40
        })
    );
    let others: Vec<Mfn> =
        core::iter::from_fn(|| frames.allocate(0, ram(), Funding::Free).ok()).collect();
    assert_eq!(others.len(), 40);
    for _ in 0..60 {
        assert!(frames.allocate(0, ram(), Funding::Promised).is_ok());
    }
    assert_eq!(adds_up(&frames).promised, 0);
}

#[test]
fn a_frame_with_references_outlives_its_owner() {
    let frames = pool(8);
    let mfn = frames.allocate(0, ram(), Funding::Free).expect("free");
    assert!(!frames.add_reference(mfn, DomId(8)), "not its owner");
    assert!(frames.add_reference(mfn, GUEST));
    assert!(frames.add_reference(mfn, GUEST));
    assert!(!frames.release(mfn, Funding::Free));
    assert!(!frames.add_reference(mfn, GUEST), "given up");
    frames.drop_reference(mfn);
    assert_eq!(adds_up(&frames).free, 7);
    frames.drop_reference(mfn);
    assert_eq!(adds_up(&frames).free, 8);
    frames.drop_reference(mfn);
    assert_eq!(frames.describe(mfn), None);
}

#[test]
fn a_block_with_one_referenced_frame_comes_back_without_it() {
    let frames = pool(COUNT);
    let block = frames
        .allocate(9, ram().uncleared(), Funding::Free)
        .expect("2 MiB");
    let held = Mfn(block.0 + 77);
    assert!(frames.add_reference(held, GUEST));
    assert!(frames.mark_cleared(Mfn(block.0 + 3)) && !frames.mark_cleared(Mfn(block.0 + 3)));
    frames.release_block(block, 9, Funding::Free);
    assert_eq!(adds_up(&frames).free, COUNT - 1);
    frames.drop_reference(held);
    assert_eq!(adds_up(&frames).free, COUNT);
}

#[test]
fn frames_in_a_row_are_carved_out_of_what_is_free() {
    let frames = pool(8 * 1024);
    let hole = frames.allocate(0, ram(), Funding::Free).expect("free");
    let run = frames
        .allocate_contiguous(
            5 * 512,
            FIRST + 8 * 1024,
            Frame::new(FrameKind::Ram, DomId::ZERO),
        )
        .expect("five blocks in a row");
    assert_eq!(run.0 % 512, 0);
    assert!(!(run.0..run.0 + 5 * 512).contains(&hole.0));
    let usage = adds_up(&frames);
    assert_eq!((usage.dom0, usage.free), (5 * 512, 8 * 1024 - 1 - 5 * 512));
    for mfn in (run.0..run.0 + 5 * 512).map(Mfn) {
        assert!(frames.release(mfn, Funding::Free));
    }
    assert!(frames.release(hole, Funding::Free));
    assert_eq!(adds_up(&frames).free, 8 * 1024);
    let beyond = frames.allocate_contiguous(512, FIRST + 100, ram());
    assert_eq!(beyond, None, "below the limit only");
}

#[test]
fn frames_without_metadata_are_nobodys() {
    let frames = pool(16);
    for mfn in [0, FIRST - 1, FIRST + 16, u64::MAX] {
        assert_eq!(frames.describe(Mfn(mfn)), None);
        assert!(!frames.release(Mfn(mfn), Funding::Free));
        assert!(!frames.add_reference(Mfn(mfn), GUEST));
        frames.drop_reference(Mfn(mfn));
        frames.release_block(Mfn(mfn), 3, Funding::Free);
    }
    assert_eq!(frames.add_free(Mfn(u64::MAX - 3), 100), 0);
    assert_eq!(adds_up(&frames).free, 16);
}

#[derive(Clone, Debug)]
enum Step {
    Take(u32),
    Return(usize),
}

proptest! {
    #[test]
    fn blocks_never_overlap(steps in proptest::collection::vec(
        prop_oneof![
            (0..=MAX_ORDER).prop_map(Step::Take),
            any::<usize>().prop_map(Step::Return),
        ],
        1..200,
    )) {
        let frames = pool(COUNT);
        let mut taken: BTreeMap<u64, u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Take(order) => {
                    let Ok(mfn) = frames.allocate(order, ram(), Funding::Free) else { continue };
                    let end = mfn.0 + (1 << order);
                    let before = taken.range(..end).next_back();
                    prop_assert!(before.is_none_or(|(first, order)| first + (1 << order) <= mfn.0));
                    prop_assert!(mfn.0 >= FIRST && end <= FIRST + COUNT && mfn.0 % (1 << order) == 0);
                    taken.insert(mfn.0, order);
                }
                Step::Return(nth) if !taken.is_empty() => {
                    let first = *taken.keys().nth(nth % taken.len()).expect("one of them");
                    let order = taken.remove(&first).expect("it is there");
                    frames.release_block(Mfn(first), order, Funding::Free);
                }
                Step::Return(_) => {}
            }
            let held: u64 = taken.values().map(|order| 1_u64 << order).sum();
            prop_assert_eq!(adds_up(&frames).free, COUNT - held);
        }
        for (first, order) in taken {
            frames.release_block(Mfn(first), order, Funding::Free);
        }
        // One 4 MiB block lies within the pool.
        prop_assert!(frames.allocate(MAX_ORDER, ram(), Funding::Free).is_ok());
    }
}
