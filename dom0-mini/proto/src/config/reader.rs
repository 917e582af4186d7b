// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes typed values out of a [`ConfigFile`] and collects the complaints.

use super::{
    error::{ConfigError, Warning},
    keys::{self, Treatment},
    suggest::suggest,
    syntax::{ConfigFile, Entry},
    value::{Node, Value},
};
use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A configuration being read.
pub(super) struct Reader<'a> {
    file: &'a ConfigFile,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a ConfigFile) -> Self {
        Self {
            file,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Complains about keys that are unknown, have no effect here, ask for what is not there, or are
    /// assigned twice.
    pub(super) fn check_keys(&mut self) {
        let mut seen = BTreeSet::new();
        for entry in self.file.entries() {
            let again = !seen.insert(entry.key.as_str());
            if again && !entry.append && !self.file.is_override(entry.at) {
                self.warn(
                    entry.at,
                    format!("'{}' is assigned again; this one counts", entry.key),
                );
            }
            self.check_key(entry);
        }
    }

    fn check_key(&mut self, entry: &Entry) {
        let key = &entry.key;
        match keys::treatment(key) {
            Some(Treatment::Used) => {}
            Some(Treatment::Ignored(reason)) => {
                self.warn(entry.at, format!("'{key}' is ignored: {reason}"));
            }
            Some(Treatment::Refused { reason, remedy }) => {
                if self
                    .file
                    .get(key)
                    .is_some_and(|node| !node.value.is_empty())
                {
                    self.refuse(
                        entry.at,
                        format!("'{key}' cannot be granted: {reason}"),
                        remedy,
                    );
                }
            }
            None => {
                let hint = suggest(key, keys::all())
                    .map(|known| format!("; did you mean '{known}'?"))
                    .unwrap_or_default();
                self.warn(
                    entry.at,
                    format!("'{key}' is not a known key and is ignored{hint}"),
                );
            }
        }
    }

    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.file.get(key)
    }

    /// A string; a number will do, as in xl.
    pub(super) fn string(&mut self, key: &str) -> Option<(String, usize)> {
        let node = self.node(key)?;
        match &node.value {
            Value::String(text) => Some((text.clone(), node.at)),
            Value::Integer(number) => Some((number.to_string(), node.at)),
            Value::List(_) => {
                let remedy = format!("write {key} = \"…\"");
                self.refuse(node.at, format!("'{key}' is a string, not a list"), &remedy);
                None
            }
        }
    }

    /// A string that is not empty.
    pub(super) fn text(&mut self, key: &str) -> Option<(String, usize)> {
        self.string(key).filter(|(text, _)| !text.is_empty())
    }

    /// A number within `least..=most`; a string that is one will do, as in xl.
    pub(super) fn number(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        let node = self.node(key)?;
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::String(text) => text.trim().parse().ok(),
            Value::List(_) => None,
        };
        let Some(number) = number else {
            let message = format!("'{key}' is a number, not {}", node.value.kind());
            self.refuse(node.at, message, &format!("write {key} = {least}, or more"));
            return None;
        };
        if number < least || number > most {
            let message = format!("'{key}' is {number}; it must be from {least} to {most}");
            self.refuse(node.at, message, "choose a value within these");
            return None;
        }
        Some(number)
    }

    pub(super) fn refuse(&mut self, at: usize, message: String, remedy: &str) {
        self.errors
            .push(self.file.error(at, message, Some(remedy.into())));
    }

    pub(super) fn missing(&mut self, key: &str, remedy: &str) {
        self.errors.push(ConfigError {
            place: None,
            origin: self.file.origin().into(),
            message: format!("'{key}' is missing"),
            remedy: Some(remedy.into()),
        });
    }

    pub(super) fn warn(&mut self, at: usize, message: String) {
        self.warnings.push(Warning {
            place: self.file.place(at),
            message,
        });
    }
}
