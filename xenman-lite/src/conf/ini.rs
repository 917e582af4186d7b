// SPDX-License-Identifier: MIT OR Apache-2.0
//! INI files as Python's ConfigParser read them, which XenMan used.
//!
//! - `key = value` and `key: value`; keys without regard to case; comments begin with `#` or `;`, and behind a value with ` ;`.
//! - What a section lacks, `[DEFAULT]` has. Of a key that is there twice, the last one counts.
//! - `%(name)s` stands for another value of the same section or of `[DEFAULT]`, `%%` for a percent sign.
//! - A value is on one line, or goes on behind a backslash at its end.

use ini_edit::{
    ParseOptions,
    ast::{AstNode, File},
    parse_with,
};

/// What the grammar leaves open.
pub(super) const OPTIONS: ParseOptions = ParseOptions {
    allow_no_value: false,
    inline_comments: false,
};

/// Values that other sections fall back to.
const DEFAULT: &str = "DEFAULT";

/// The most references that are followed for one value.
const MAX_REFERENCES: u32 = 1000;

/// The longest value that references may make.
const MAX_VALUE: usize = 64 * 1024;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) message: String,
}

/// A file's sections, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Ini {
    sections: Vec<Section>,
}

#[derive(Clone, Debug)]
struct Section {
    name: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// In lower case.
    key: String,
    value: Value,
}

/// A value and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Ini {
    /// Reads a file.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let parsed = parse_with(text, &OPTIONS);
        if let Some(error) = parsed.errors().first() {
            return Err(Wrong {
                line: line(text, error.offset),
                message: error.message.clone(),
            });
        }
        let Some(file) = File::cast(parsed.syntax()) else {
            return Ok(Self::default());
        };
        if let Some(entry) = file.preamble_entries().next() {
            return Err(Wrong {
                line: line(text, start(&entry)),
                message: "there is no [section] before it".to_owned(),
            });
        }
        let sections = file.sections().map(|section| Section {
            name: section.name().unwrap_or_default(),
            entries: entries(text, &section),
        });
        Ok(Self {
            sections: sections.collect(),
        })
    }

    /// The names of the sections, each once.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for section in &self.sections {
            if !names.contains(&section.name.as_str()) {
                names.push(&section.name);
            }
        }
        names
    }

    /// Whether there is such a section.
    pub(super) fn has(&self, section: &str) -> bool {
        self.sections.iter().any(|it| it.name == section)
    }

    /// What a key of a section is, if it is anything.
    pub(super) fn get(&self, section: &str, key: &str) -> Result<Option<Value>, Wrong> {
        let Some(raw) = self.raw(section, key) else {
            return Ok(None);
        };
        let mut left = MAX_REFERENCES;
        let text = self.expand(section, raw, &mut left)?;
        Ok((!text.is_empty()).then_some(Value {
            text,
            line: raw.line,
        }))
    }

    fn raw(&self, section: &str, key: &str) -> Option<&Value> {
        let own = self.own(section, key);
        own.or_else(|| self.own(DEFAULT, key))
    }

    fn own(&self, section: &str, key: &str) -> Option<&Value> {
        let key = key.to_lowercase();
        let sections = self.sections.iter().filter(|it| it.name == section);
        let mut entries = sections.flat_map(|it| &it.entries);
        let last = entries.rfind(|entry| entry.key == key);
        last.map(|entry| &entry.value)
    }

    /// A value with its references filled in, of which so many may be followed.
    fn expand(&self, section: &str, value: &Value, left: &mut u32) -> Result<String, Wrong> {
        let wrong = |message: String| Wrong {
            line: value.line,
            message,
        };
        let mut text = String::new();
        let mut rest = value.text.as_str();
        while let Some((before, behind)) = rest.split_once('%') {
            text.push_str(before);
            let reference = behind.strip_prefix('(').and_then(|it| it.split_once(")s"));
            if let Some((name, behind)) = reference {
                *left = left
                    .checked_sub(1)
                    .ok_or_else(|| wrong("its references have no end".to_owned()))?;
                let other = self.raw(section, name).ok_or_else(|| {
                    wrong(format!(
                        "there is no '{name}' in [{section}] or [{DEFAULT}] for '%({name})s'"
                    ))
                })?;
                text.push_str(&self.expand(section, other, left)?);
                rest = behind;
            } else {
                text.push('%');
                rest = behind.strip_prefix('%').unwrap_or(behind);
            }
            if text.len() > MAX_VALUE {
                return Err(wrong("its references make it too long".to_owned()));
            }
        }
        text.push_str(rest);
        Ok(text)
    }
}

fn entries(text: &str, section: &ini_edit::ast::Section) -> Vec<Entry> {
    let entries = section.entries().map(|entry| Entry {
        key: entry.key().unwrap_or_default().to_lowercase(),
        value: Value {
            text: without_comment(&entry.value().unwrap_or_default()).to_owned(),
            line: line(text, start(&entry)),
        },
    });
    entries.collect()
}

/// A value without the comment behind it.
fn without_comment(value: &str) -> &str {
    let comment = value.find(" ;").or_else(|| value.find("\t;"));
    let kept = comment.and_then(|at| value.get(..at));
    kept.unwrap_or(value).trim()
}

/// A value as it is to be written, to be read as it is.
pub(super) fn escaped(value: &str) -> String {
    value.replace('%', "%%")
}

fn start(node: &impl AstNode) -> usize {
    node.syntax().text_range().start().into()
}

/// The line of a place in the text, from one.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n[DEFAULT]\nroot: /srv\n\n[PATHS]\nSnapshots_Dir = %(root)s/snap ; fast\n\
                        rate=100%% of 5%\n[rack7]\naddress = unix:/a\naddress = unix:/b#c\n[rack7]\nlogin =\n";

    fn get(section: &str, key: &str) -> Option<String> {
        let ini = Ini::parse(TEXT).unwrap();
        ini.get(section, key).unwrap().map(|value| value.text)
    }

    #[test]
    fn values_are_read_as_python_read_them() {
        for (section, key, value) in [
            ("PATHS", "snapshots_dir", Some("/srv/snap")),
            ("PATHS", "RATE", Some("100% of 5%")),
            ("PATHS", "root", Some("/srv")),
            ("rack7", "address", Some("unix:/b#c")),
            ("rack7", "login", None),
            ("Rack7", "address", None),
            ("nowhere", "root", Some("/srv")),
        ] {
            assert_eq!(get(section, key).as_deref(), value, "{section} {key}");
        }
        let ini = Ini::parse(TEXT).unwrap();
        assert_eq!(ini.names(), ["DEFAULT", "PATHS", "rack7"]);
        assert!(ini.has("rack7") && !ini.has("rack"));
        assert_eq!(ini.get("rack7", "address").unwrap().unwrap().line, 10);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, message) in [
            ("a = 1\n", 1, "there is no [section] before it"),
            ("[a]\n# x\nnonsense\n", 3, "expected '=' or ':'"),
            ("[a]\n\n[b\n", 3, "]"),
            ("[a]\n= b\n", 2, "expected a key"),
        ] {
            let wrong = Ini::parse(text).unwrap_err();
            assert_eq!(wrong.line, line, "{text}: {wrong:?}");
            assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn references_that_lead_nowhere_are_told() {
        let doubled: String = (0..9)
            .map(|i| format!("k{i} = {}\n", format!("%(k{})s", i + 1).repeat(8)))
            .collect();
        for (text, message) in [
            ("k0 = %(b)s\n".to_owned(), "no 'b' in [s]"),
            ("k0 = %(k1)s\nk1=%(k0)s\n".to_owned(), "have no end"),
            (format!("{doubled}k9 =\n"), "have no end"),
            (
                format!("k0 = {}\nk1 = {}\n", "%(k1)s".repeat(90), "1".repeat(999)),
                "too long",
            ),
        ] {
            let ini = Ini::parse(&format!("[s]\n{text}")).unwrap();
            let wrong = ini.get("s", "k0").unwrap_err();
            assert!(wrong.message.contains(message), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_escaped_is_read_back() {
        let text = format!("[s]\nk = {}\n", escaped("/a%(b)s%%c"));
        let ini = Ini::parse(&text).unwrap();
        assert_eq!(ini.get("s", "k").unwrap().unwrap().text, "/a%(b)s%%c");
    }
}
