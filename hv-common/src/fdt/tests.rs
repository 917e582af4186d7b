use super::*;
use std::vec::Vec;

const BOARD: &[u8] = include_bytes!("../../fuzz/corpus/fdt/board.dtb");

fn board() -> Tree<'static> {
    Tree::new(BOARD).expect("the example is valid")
}

fn registers(compatible: &str) -> Option<Vec<Range>> {
    board().find(&[compatible], |device| {
        Some(device.registers().into_iter().collect())
    })
}

fn range(base: u64, size: u64) -> Range {
    Range { base, size }
}

#[test]
fn memory_and_reservations_are_found() {
    let (mut memory, mut reserved) = (Vec::new(), Vec::new());
    board().memory(|range| memory.push(range));
    board().reserved(|range| reserved.push(range));
    assert_eq!(
        memory,
        [
            range(0x4000_0000, 0x4000_0000),
            range(0x1_0000_0000, 0x8000_0000)
        ]
    );
    assert_eq!(
        reserved,
        [range(0x4000_0000, 0x1_0000), range(0x7F00_0000, 0x10_0000)]
    );
}

#[test]
fn chosen_says_how_to_boot() {
    let tree = board();
    let chosen = tree.chosen();
    assert_eq!(chosen.bootargs, Some("loglvl=info dom0_mem=32"));
    assert_eq!(chosen.initrd, Some(range(0x4800_0000, 0x20_0000)));
    assert_eq!(chosen.stdout, Some("serial0"));
    assert_eq!(chosen.rng_seed.map(<[u8]>::len), Some(8));
    assert_eq!(tree.alias("serial0"), Some("/bus@8000000/uart@9000"));
    assert!(tree.node("/bus/uart").is_some());
}

#[test]
fn cpus_that_are_disabled_are_not_shown() {
    let mut cpus = Vec::new();
    board().cpus(|number, node| cpus.push((number, node.text("enable-method"))));
    assert_eq!(
        cpus,
        [(0, Some("example,method")), (0x101, Some("example,method"))]
    );
}

#[test]
fn registers_are_translated_through_buses() {
    assert_eq!(
        registers("example,uart"),
        Some(std::vec![range(0x0900_9000, 0x1000)])
    );
    assert_eq!(
        registers("example,far"),
        Some(std::vec![range(0x1_0000_0100, 0x100)])
    );
    assert_eq!(registers("example,nowhere"), Some(std::vec![]));
    assert_eq!(registers("example,sensor"), Some(std::vec![]));
    assert_eq!(registers("example,off"), None);
}

#[test]
fn interrupts_take_the_cells_of_the_inherited_controller() {
    let timer = board().find(&["example,timer"], |device| Some(device.interrupts()));
    let cells: Vec<_> = timer.into_iter().flatten().map(|i| i.cells).collect();
    assert_eq!(cells, [[1, 13, 4], [1, 14, 4], [1, 11, 8]]);
}

#[test]
fn a_tree_may_lie_in_a_larger_buffer_but_not_a_smaller_one() {
    let mut larger = BOARD.to_vec();
    larger.extend_from_slice(&[0xAA; 64]);
    assert!(Tree::new(&larger).is_ok());
    let cut = &BOARD[..BOARD.len() - 1];
    assert_eq!(Tree::new(cut).err(), Some(FdtError::Header));
}

#[test]
fn nop_tags_are_refused() {
    let mut blob = BOARD.to_vec();
    let begin = u32::from_be_bytes(blob[8..12].try_into().unwrap()) as usize;
    // The root's first property: tag, length 4, name, one word.
    for word in 0..4 {
        blob[begin + 8 + 4 * word..][..4].copy_from_slice(&4_u32.to_be_bytes());
    }
    assert_eq!(Tree::new(&blob).err(), Some(FdtError::Nop));
}

/// Multiplicative congruential: the same mutants every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

/// `ALCOVE_FDT_MUTANTS` asks for more of them.
#[test]
fn no_mutant_that_is_accepted_makes_the_reader_panic() {
    let wanted = std::env::var("ALCOVE_FDT_MUTANTS").ok();
    let count = wanted.and_then(|n| n.parse().ok()).unwrap_or(4_000);
    let mut random = Random(1);
    let mut accepted = 0;
    for _ in 0..count {
        let mut blob = BOARD.to_vec();
        match random.below(8) {
            0 => blob.truncate(random.below(BOARD.len())),
            // A header or structure word becomes a small number: tags, lengths, offsets.
            1..4 => {
                let at = 4 * random.below(BOARD.len() / 4);
                let value = random.below(64) as u32;
                blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
            }
            _ => {
                for _ in 0..=random.below(3) {
                    let at = random.below(BOARD.len());
                    blob[at] = random.below(256) as u8;
                }
            }
        }
        accepted += u32::from(survives(&blob));
    }
    assert!(
        accepted > count / 8,
        "{accepted} of {count} accepted: too few to say anything"
    );
}
