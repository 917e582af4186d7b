// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any text is read or refused, and what is written reads the same.

use super::*;
use proptest::prelude::*;

#[test]
fn what_is_written_reads_the_same() {
    for text in [PVH, HVM] {
        let file = parse(text).unwrap();
        assert!(parse(&file.to_text()).unwrap().same_values(&file));
    }
}

/// Pieces that get a random text deep into the parser.
const PIECES: [&str; 28] = [
    "name",
    "kernel",
    "memory",
    "cpus",
    "disk",
    "vnc",
    "=",
    "+=",
    " ",
    "\n",
    ";",
    "#",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "\\",
    "\\x4",
    "0x",
    "17",
    "99999999999999999999",
    "'a'",
    "ä",
    "\t",
    "import",
    "#:command line\n",
    "\r",
];

#[test]
fn nothing_read_can_hurt() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap()
    };
    for _ in 0..4000 {
        let mut text: Vec<u8> = Vec::new();
        for _ in 0..next() % 40 {
            text.extend_from_slice(PIECES[next() % PIECES.len()].as_bytes());
        }
        fuzz_config(&text);
        let mut text = [PVH, HVM][next() % 2].as_bytes().to_vec();
        for _ in 0..1 + next() % 4 {
            let at = next() % text.len();
            text[at] = u8::try_from(next() % 256).unwrap();
        }
        text.truncate(next() % (text.len() * 2));
        fuzz_config(&text);
    }
    fuzz_config("[".repeat(MAX_TEXT).as_bytes());
    fuzz_config(format!("a={}", "[".repeat(MAX_TEXT - 2)).as_bytes());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Integer),
        "[^\u{0}\u{80}-\u{9f}]{0,20}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop::collection::vec(inner.prop_map(|value| Node { value, at: 0 }), 0..6)
            .prop_map(Value::List)
    })
}

proptest! {
    #[test]
    fn any_value_survives_writing(value in value()) {
        let file = parse(&format!("a = {value}")).unwrap();
        prop_assert!(file.get("a").unwrap().value.same(&value));
    }
}
