// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/guide/configuration.md beside what is done with each key.

use super::{
    ConfigFile, DomainConfig,
    keys::{self, Treatment},
};
use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

const GUIDE: &str = include_str!("../../../../docs/guide/configuration.md");

/// What stands below a heading.
fn section(heading: &str) -> &'static str {
    let (_, behind) = GUIDE.split_once(&format!("\n## {heading}\n")).unwrap();
    behind.split("\n## ").next().unwrap()
}

/// The rows of the table: key, type, range, default, example.
fn rows() -> Vec<[&'static str; 5]> {
    let rows = section("Keys that mean something").lines();
    let rows = rows.filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split(" | ").map(|cell| cell.trim_start_matches("| "));
        [(); 5].map(|()| cells.next().unwrap())
    })
    .collect()
}

fn word(cell: &'static str) -> &'static str {
    cell.trim_matches('`')
}

/// A configuration with a line more, which counts more.
fn with(line: &str) -> Result<(DomainConfig, usize), Vec<String>> {
    let text = "name = 'a'\nmemory = 64\nkernel = 'boot:Image'\n";
    let file = ConfigFile::parse_with("a.cfg", text, &[line.replace(" = ", "=")]);
    let read = DomainConfig::from_file(&file.unwrap());
    read.map(|(config, warnings)| (config, warnings.len()))
        .map_err(|errors| errors.into_iter().map(|error| error.message).collect())
}

fn keys_with(is_it: fn(Treatment) -> bool) -> BTreeSet<&'static str> {
    keys::all()
        .filter(|key| keys::treatment(key).is_some_and(is_it))
        .collect()
}

/// The keys of a section that lists them, each group behind its reason.
fn listed(heading: &str) -> BTreeSet<&'static str> {
    let groups = section(heading).split("\n\n").skip(1);
    let lists = groups.filter_map(|group| group.split_once(":\n").or(group.split_once(".\n")));
    let words = lists.flat_map(|(_, list)| list.split('`').skip(1).step_by(2));
    words.collect()
}

#[test]
fn every_key_is_in_the_guide_where_it_belongs() {
    let used: BTreeSet<_> = rows().iter().map(|row| word(row[0])).collect();
    assert_eq!(used, keys_with(|it| it == Treatment::Used));
    let ignored = keys_with(|it| matches!(it, Treatment::Ignored(_)));
    assert_eq!(listed("Keys without effect"), ignored);
    let refused = keys_with(|it| matches!(it, Treatment::Refused { .. }));
    assert_eq!(listed("Keys that are refused"), refused);
}

#[test]
fn every_reason_is_in_the_guide() {
    let guide = GUIDE.to_lowercase();
    for key in keys::all() {
        let reason = match keys::treatment(key) {
            Some(Treatment::Ignored(reason)) => reason.to_lowercase(),
            Some(Treatment::Refused { reason, remedy }) => {
                format!("{reason}: {remedy}").to_lowercase()
            }
            _ => continue,
        };
        assert!(guide.contains(&reason), "{key}: {reason}");
    }
}

#[test]
fn the_guides_examples_are_taken_without_a_word() {
    for [key, _, _, _, example] in rows() {
        let example = word(example);
        assert!(
            example.starts_with(&format!("{} = ", word(key))),
            "{example}"
        );
        // That of memory is for a domain of that size.
        let example = example.replace("maxmem = 256", "maxmem = 64");
        let warnings = with(&example).map(|(_, warnings)| warnings);
        assert_eq!(warnings, Ok(0), "{example}");
    }
}

#[test]
fn the_guides_ranges_are_where_values_are_refused() {
    let numbers = rows().into_iter().filter(|row| row[1] == "number");
    for [key, _, range, _, _] in numbers {
        let (least, most) = range.split_once(" to ").unwrap();
        let (least, most): (u64, u64) = (least.parse().unwrap(), most.parse().unwrap());
        let set = |value: u64| with(&format!("{} = {value}", word(key)));
        // What is too little beside other keys is another matter.
        let least_of_it = if word(key) == "maxmem" { 64 } else { least };
        assert!(
            set(least_of_it).is_ok() && set(most).is_ok(),
            "{key} {range}"
        );
        assert!(set(most + 1).is_err(), "{key} {range}");
        assert!(least == 0 || set(least - 1).is_err(), "{key} {range}");
    }
}

#[test]
fn the_guides_words_are_those_that_are_known() {
    for [key, _, range, _, _] in rows() {
        let key = word(key);
        if key == "cpus" || !range.starts_with('`') {
            continue;
        }
        for value in range.split(", ").map(word) {
            assert!(with(&format!("{key} = {value}")).is_ok(), "{key} = {value}");
        }
        assert!(with(&format!("{key} = frob")).is_err(), "{key}");
    }
}

#[test]
fn the_guides_defaults_are_what_holds_without_the_key() {
    let without = with("").map(|(config, _)| config);
    for [key, _, _, default, _] in rows() {
        if let Some(value) = default.strip_prefix('`') {
            let value = value.trim_end_matches('`');
            let with = with(&format!("{} = {value}", word(key))).map(|(config, _)| config);
            assert_eq!(with, without, "{key}");
        }
    }
}
