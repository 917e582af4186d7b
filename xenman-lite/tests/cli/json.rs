// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/guide/json.md beside what xenman writes: every key, its type, and the examples' keys.
//!
//! Where an answer has changed, `UPDATE_GUIDE=1 cargo test -p xenman-lite --test cli json` writes the examples anew; the tables
//! are for people to write.

use crate::fake::{Host, arm64_image, xenman};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Stdio,
    sync::OnceLock,
};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/json.md");

/// Verbs without JSON.
const FOR_PEOPLE: [&str; 5] = ["top", "serve", "completion", "man", "console"];

/// A section of the guide: commands that answer alike, and what it says of the answer.
struct Section {
    commands: Vec<String>,
    /// Keys with their types.
    keys: BTreeMap<String, String>,
    example: String,
}

fn sections(guide: &str) -> Vec<Section> {
    guide.split("\n## ").skip(1).map(section).collect()
}

fn section(text: &str) -> Section {
    let title = text.lines().next().unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let (_, behind) = text.split_once("```json\n").expect(title);
    Section {
        commands: title.split(", ").map(str::to_owned).collect(),
        keys: cells
            .map(|row| (row[1].trim_matches('`').to_owned(), row[2].to_owned()))
            .collect(),
        example: behind.split("```").next().unwrap().to_owned(),
    }
}

/// A saved domain.
fn saved() -> &'static [u8] {
    static SAVED: OnceLock<Vec<u8>> = OnceLock::new();
    SAVED.get_or_init(|| {
        let host = Host::start();
        host.run("save debian a.save").done();
        fs::read(host.path("a.save")).unwrap()
    })
}

/// A host with something of everything.
fn host() -> Host {
    let host = Host::start();
    host.write("Image", arm64_image(vec![1; 70_000]));
    host.write(
        "a.cfg",
        "name = 'guest'\nmemory = 64\nkernel = 'Image'\nvnc = 1\n",
    );
    host.write("xend.sxp", "(loglevel DEBUG)\n(vnc-listen x)\n");
    host.write("in.save", saved());
    host.run("new a.cfg name=web").done();
    host.run("image add small --kernel Image").done();
    host.run("host add rack9 unix:/run/rack9.sock").done();
    let domains = host.state().domains.clone();
    host.run("save debian").done();
    host.state().domains = domains;
    host
}

/// What a command writes.
fn answer(command: &str) -> Value {
    let host = host();
    let words = command.strip_prefix("xenman ").expect(command);
    let mut command = host.command(&format!("{words} --json"));
    command.env("VISUAL", "true").stdin(Stdio::null());
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words}: {error}: {output:?}"))
}

/// The keys of a value with their types, as the guide has them; `known` are the guide's.
fn keys(
    value: &Value,
    known: &BTreeMap<String, String>,
) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut found = BTreeMap::new();
    collect(value, "", known, &mut found);
    found
}

fn collect(
    value: &Value,
    path: &str,
    known: &BTreeMap<String, String>,
    found: &mut BTreeMap<String, BTreeSet<&'static str>>,
) {
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(item, &format!("{path}[]"), known, found)),
        Value::Object(fields) => {
            let any = format!("{path}.*");
            for (key, value) in fields {
                let key = match (path, known.contains_key(&any)) {
                    (_, true) => any.clone(),
                    ("", false) => key.clone(),
                    (path, false) => format!("{path}.{key}"),
                };
                found.entry(key.clone()).or_default().insert(kind(value));
                collect(value, &key, known, found);
            }
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[test]
fn the_guide_has_every_key_and_no_other() {
    let mut guide = fs::read_to_string(GUIDE).unwrap();
    for section in sections(&guide.clone()) {
        for (index, command) in section.commands.iter().enumerate() {
            let answer = answer(command);
            let found = keys(&answer, &section.keys);
            let names: BTreeSet<_> = found.keys().collect();
            assert_eq!(
                section.keys.keys().collect::<BTreeSet<_>>(),
                names,
                "{command}"
            );
            for (key, types) in &found {
                let told: Vec<&str> = section.keys[key].split(" or ").collect();
                assert!(
                    types.iter().all(|it| told.contains(it)),
                    "{command}: {key} is {types:?}"
                );
            }
            if index == 0 {
                guide = compare_example(guide, &section, &answer, command);
            }
        }
    }
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        fs::write(GUIDE, guide).unwrap();
    }
}

/// The example has the answer's keys; or gets them.
fn compare_example(guide: String, section: &Section, answer: &Value, command: &str) -> String {
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        let (before, behind) = guide
            .split_once(&format!("\n## {}\n", section.commands.join(", ")))
            .unwrap();
        let old = format!("```json\n{}```", section.example);
        let new = format!("```json\n{answer:#}\n```");
        let title = section.commands.join(", ");
        return format!("{before}\n## {title}\n{}", behind.replacen(&old, &new, 1));
    }
    let example: Value = serde_json::from_str(&section.example).expect(command);
    let names = |value| keys(value, &section.keys).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&example), names(answer), "{command}");
    guide
}

#[test]
fn no_verb_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let script = xenman(folder.path(), "completion bash").output().unwrap();
    let script = String::from_utf8(script.stdout).unwrap();
    let guide = fs::read_to_string(GUIDE).unwrap();
    let sections = sections(&guide);
    let told: Vec<&String> = sections.iter().flat_map(|it| &it.commands).collect();
    let levels = script
        .split("\n        '")
        .skip(2)
        .map(|level| level.split('\'').next().unwrap());
    for verbs in levels {
        let is_group = script.contains(&format!("'{verbs} "));
        let is_told = told.iter().any(|command| {
            let command = command.strip_prefix("xenman ").unwrap_or(command);
            command == verbs || command.starts_with(&format!("{verbs} "))
        });
        assert!(
            is_group || is_told || FOR_PEOPLE.contains(&verbs),
            "{verbs} is not in {GUIDE}"
        );
    }
}
