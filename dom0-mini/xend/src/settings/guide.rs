//! docs/guide/xend-config.md beside what is done with each key.

use super::{ALIASES, Domain0, FOREIGN, KEYS, Settings};
use alloc::format;
use alloc::vec::Vec;

const GUIDE: &str = include_str!("../../../../docs/guide/xend-config.md");

const DOMAIN_0: Domain0 = Domain0 {
    memory_mib: 24,
    cpus: 1,
};

/// The cells of the rows below a heading.
fn rows<const N: usize>(heading: &str) -> Vec<[&'static str; N]> {
    let (_, behind) = GUIDE.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = behind.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches(['|', ' ']).split(" | ");
        [(); N].map(|()| cells.next().unwrap())
    })
    .collect()
}

fn word(cell: &'static str) -> &'static str {
    cell.trim_matches('`')
}

/// What a line means, if there is nothing to say about it.
fn read(line: &str) -> Option<Settings> {
    let (settings, remarks) = Settings::read(line, &DOMAIN_0);
    remarks.is_empty().then_some(settings)
}

#[test]
fn every_key_is_in_the_guide() {
    let keys: Vec<&str> = rows::<5>("Settings")
        .iter()
        .map(|row| word(row[0]))
        .collect();
    assert_eq!(keys, KEYS);
    for (alias, _) in ALIASES {
        assert!(GUIDE.contains(&format!("`{alias}`")), "{alias}");
    }
    let foreign = rows::<2>("Settings of the original without effect");
    let foreign: Vec<_> = foreign.iter().map(|[key, why]| (word(key), *why)).collect();
    assert_eq!(foreign, FOREIGN);
}

#[test]
fn the_guides_examples_and_words_are_taken_without_a_word() {
    for [key, values, _, example, _] in rows::<5>("Settings") {
        assert!(
            example.starts_with(&format!("`({} ", word(key))),
            "{example}"
        );
        assert!(read(word(example)).is_some(), "{example}");
        for value in values
            .split(", ")
            .filter(|it| values.starts_with('`') && it.starts_with('`'))
        {
            assert!(
                read(&format!("({} {})", word(key), word(value))).is_some(),
                "{key} {value}"
            );
        }
    }
}

#[test]
fn the_guides_ranges_are_where_values_are_refused() {
    for [key, range, ..] in rows::<5>("Settings") {
        let numbers = range.split_once(" to ").and_then(|(least, most)| {
            Some((least.parse::<u64>().ok()?, most.parse::<u64>().ok()?))
        });
        let Some((least, most)) = numbers else {
            continue;
        };
        let is_taken = |value: u64| {
            let (_, remarks) = Settings::read(&format!("({} {value})", word(key)), &DOMAIN_0);
            remarks
                .iter()
                .all(|remark| remark.severity != super::Severity::Error)
        };
        assert!(is_taken(least) && is_taken(most), "{key}");
        assert!(
            !is_taken(most + 1) && (least == 0 || !is_taken(least - 1)),
            "{key}"
        );
    }
}

#[test]
fn the_guides_defaults_are_what_holds_without_the_key() {
    for [key, _, default, ..] in rows::<5>("Settings") {
        if default.starts_with('`') {
            let settings = read(&format!("({} {})", word(key), word(default)));
            assert_eq!(settings, Some(Settings::default()), "{key}");
        }
    }
}
