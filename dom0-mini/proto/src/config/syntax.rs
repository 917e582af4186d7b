// SPDX-License-Identifier: MIT OR Apache-2.0
//! The syntax: from text to assignments.

use super::{
    MAX_ENTRIES, MAX_LIST, MAX_NESTING, MAX_TEXT,
    error::{ConfigError, Place},
    source::{OVERRIDES_MARK, Source},
    value::{Node, Value},
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A configuration as written: its assignments in order, and what every key is in the end.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    source: Source,
    entries: Vec<Entry>,
    values: BTreeMap<String, Node>,
}

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands in the text.
    pub at: usize,
    /// Whether it is `+=`.
    pub append: bool,
    /// The value as written.
    pub node: Node,
}

/// What the name of a `*.hvm` file says.
const IMPLIED_TYPE: &str = "type = \"hvm\"";

/// A text with a line behind it.
fn with_line(text: &str, line: &str) -> String {
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{text}{gap}{line}\n")
}

impl ConfigFile {
    /// Reads a configuration; `origin` is the file's name, for messages.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        let source = Source::new(origin, text);
        if text.len() > MAX_TEXT {
            return Err(ConfigError {
                place: None,
                origin: source.origin,
                message: format!("it is longer than {} KiB", MAX_TEXT / 1024),
                remedy: Some(
                    "a domain's configuration is a short text: is this the right file?".into(),
                ),
            });
        }
        let entries = Parser::new(&source).file()?;
        let values = effective(&source, &entries)?;
        let file = Self {
            source,
            entries,
            values,
        };
        if file.is_of_implied_type() {
            return Self::parse(origin, &with_line(text, IMPLIED_TYPE));
        }
        Ok(file)
    }

    /// A file of this name that does not say of which type its domain is: the name does, as for xm.
    fn is_of_implied_type(&self) -> bool {
        self.origin().ends_with(".hvm")
            && self.get("type").is_none()
            && self.get("builder").is_none()
    }

    /// Reads a configuration and applies `key=value` arguments to it, as if they were further lines. A
    /// value that is neither number nor list may go without quotes there.
    pub fn parse_with(
        origin: &str,
        text: &str,
        overrides: &[impl AsRef<str>],
    ) -> Result<Self, ConfigError> {
        let file = Self::parse(origin, text)?;
        if overrides.is_empty() {
            return Ok(file);
        }
        let mut whole = with_line(text, OVERRIDES_MARK);
        for argument in overrides {
            whole.push_str(&override_line(argument.as_ref()));
            whole.push('\n');
        }
        Self::parse(origin, &whole)
    }

    /// The text, overrides included: what is sent to xend.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The file's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.source.origin
    }

    /// The assignments in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What a key is in the end.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.values.get(key)
    }

    /// Where an offset of an entry or a node is.
    #[must_use]
    pub fn place(&self, at: usize) -> Place {
        self.source.place(at)
    }

    /// Whether both assign the same values in the same order.
    #[must_use]
    pub fn same_values(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self
                .entries
                .iter()
                .zip(&other.entries)
                .all(|(ours, theirs)| {
                    (&ours.key, ours.append) == (&theirs.key, theirs.append)
                        && ours.node.value.same(&theirs.node.value)
                })
    }

    /// The assignments written anew, one per line, without comments.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.entries
            .iter()
            .map(|entry| {
                let operator = if entry.append { "+=" } else { "=" };
                format!("{} {operator} {}\n", entry.key, entry.node.value)
            })
            .collect()
    }

    /// The text with another string for a key, and all else as it was: it takes the place of the last value that is
    /// assigned, or has a line of its own behind the others if the key is not assigned or appended to.
    #[must_use]
    pub fn with_string(&self, key: &str, string: &str) -> String {
        let value = Value::String(string.to_string());
        let last = self.entries.iter().rfind(|entry| entry.key == key);
        let place = last.filter(|entry| !entry.append);
        place
            .and_then(|entry| self.with_value(&entry.node, &value))
            .unwrap_or_else(|| with_line(self.text(), &format!("{key} = {value}")))
    }

    /// The text with another value in the place of this one.
    fn with_value(&self, old: &Node, new: &Value) -> Option<String> {
        let mut parser = Parser {
            source: &self.source,
            at: old.at,
        };
        parser.value(0).ok()?;
        let (before, after) = (self.text().get(..old.at)?, self.text().get(parser.at..)?);
        Some(format!("{before}{new}{after}"))
    }

    pub(super) fn error(&self, at: usize, message: String, remedy: Option<String>) -> ConfigError {
        self.source.error(at, message, remedy)
    }

    pub(super) fn is_override(&self, at: usize) -> bool {
        self.source.is_override(at)
    }
}

/// A command line argument as a line of a configuration.
fn override_line(argument: &str) -> String {
    if ConfigFile::parse("", argument).is_ok() {
        return argument.to_string();
    }
    let Some((key, value)) = argument.split_once('=') else {
        return argument.to_string();
    };
    let value = value.trim();
    if value.starts_with(['"', '\'', '[']) || value.contains(['\n', '\r']) {
        return argument.replace(['\n', '\r'], " ");
    }
    format!("{key}={}", Value::String(value.to_string()))
}

/// Puts assignments to the same key together.
fn effective(source: &Source, entries: &[Entry]) -> Result<BTreeMap<String, Node>, ConfigError> {
    let mut values: BTreeMap<String, Node> = BTreeMap::new();
    for entry in entries {
        match values.get_mut(&entry.key) {
            Some(node) if entry.append => {
                let kind = node.value.kind();
                node.value.append(&entry.node.value).map_err(|()| {
                    let message =
                        format!("'+=' cannot append {} to {kind}", entry.node.value.kind());
                    let remedy = "append a string to a string or a list to a list";
                    source.error(entry.node.at, message, Some(remedy.into()))
                })?;
            }
            _ => {
                values.insert(entry.key.clone(), entry.node.clone());
            }
        }
    }
    Ok(values)
}

/// Python keywords that begin a line of an old xm file.
const PYTHON: [&str; 13] = [
    "import", "from", "def", "if", "else", "elif", "for", "while", "print", "try", "with", "class",
    "return",
];

const NOT_EXECUTED: &str = "configurations are not executed here: write the resulting value itself, a number, a quoted string or a list";

const VALUES: &str = "write a number, a quoted string or a list in [ ]";

/// The place in the text.
struct Parser<'a> {
    source: &'a Source,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(source: &'a Source) -> Self {
        let at = if source.text.starts_with('\u{feff}') {
            3
        } else {
            0
        };
        Self { source, at }
    }

    fn file(mut self) -> Result<Vec<Entry>, ConfigError> {
        let mut entries = Vec::new();
        loop {
            self.skip_blank(true);
            while self.take(';') {
                self.skip_blank(true);
            }
            if self.peek().is_none() {
                return Ok(entries);
            }
            if entries.len() >= MAX_ENTRIES {
                let message = format!("there are more than {MAX_ENTRIES} assignments");
                return Err(self.error(message, "shorten the configuration"));
            }
            entries.push(self.assignment()?);
        }
    }

    fn assignment(&mut self) -> Result<Entry, ConfigError> {
        let at = self.at;
        let key = self.word().to_string();
        if key.is_empty() {
            return Err(self.error(
                format!("expected a key, found {}", self.found()),
                "every line assigns a value to a key, such as memory = 256",
            ));
        }
        self.skip_blank(false);
        let append = self.take('+');
        if !self.take('=') {
            return Err(self.no_assignment(at, &key));
        }
        let after = self.at;
        self.skip_blank(false);
        if matches!(self.peek(), None | Some('\n' | ';')) {
            let remedy = Some(VALUES.into());
            return Err(self
                .source
                .error(after, "expected a value after '='", remedy));
        }
        let node = self.value(0)?;
        self.end_of_assignment()?;
        Ok(Entry {
            key,
            at,
            append,
            node,
        })
    }

    fn no_assignment(&self, at: usize, key: &str) -> ConfigError {
        if PYTHON.contains(&key) {
            let message = format!("'{key}' is Python");
            return self.source.error(at, message, Some(NOT_EXECUTED.into()));
        }
        self.error(
            format!("expected '=' after '{key}', found {}", self.found()),
            "every line assigns a value to a key, such as memory = 256",
        )
    }

    /// After a value: a separator, a comment or the end.
    fn end_of_assignment(&mut self) -> Result<(), ConfigError> {
        self.skip_blank(false);
        let remedy = match self.peek() {
            None | Some('\n' | ';') => return Ok(()),
            Some('+' | '%' | '*' | '.' | '(' | '-' | '/') => NOT_EXECUTED,
            Some('"' | '\'') => "join the strings into one by hand, and quote it once",
            Some(_) => "put one assignment on a line, or separate them with ';'",
        };
        let message = format!("expected the end of the line, found {}", self.found());
        Err(self.error(message, remedy))
    }

    fn value(&mut self, depth: usize) -> Result<Node, ConfigError> {
        let at = self.at;
        let value = match self.peek() {
            Some(quote @ ('"' | '\'')) => Value::String(self.string(quote)?),
            Some('[') => Value::List(self.list(depth)?),
            Some(c) if c.is_ascii_digit() => Value::Integer(self.number()?),
            _ => return Err(self.no_value()),
        };
        Ok(Node { value, at })
    }

    fn no_value(&mut self) -> ConfigError {
        let (at, found) = (self.at, self.found());
        let word = self.word().to_string();
        let remedy = match (word.as_str(), found.chars().nth(1)) {
            ("True" | "true", _) => "write 1".into(),
            ("False" | "false" | "None", _) => "write 0, or leave the line out".into(),
            ("", Some('-')) => "numbers here are not negative".into(),
            ("", Some('(' | '{')) => "write a list in [ ]".into(),
            ("", _) => VALUES.into(),
            _ if self.peek() == Some('(') => NOT_EXECUTED.into(),
            (word, _) => format!("if it is a string, quote it: \"{word}\""),
        };
        let message = format!("expected a value, found {found}");
        self.source.error(at, message, Some(remedy))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, ConfigError> {
        let open = self.at;
        if depth >= MAX_NESTING {
            let message = format!("more than {MAX_NESTING} lists are within each other");
            return Err(self.error(message, "no key needs lists that deep"));
        }
        self.take('[');
        let mut items = Vec::new();
        loop {
            self.skip_blank(true);
            if self.take(']') {
                return Ok(items);
            }
            if items.len() >= MAX_LIST {
                let message = format!("the list has more than {MAX_LIST} elements");
                return Err(self.error(message, "no key needs lists that long"));
            }
            if self.peek().is_none() {
                return Err(self.unclosed(open));
            }
            items.push(self.value(depth.saturating_add(1))?);
            self.skip_blank(true);
            if !self.take(',') && self.peek() != Some(']') {
                return Err(self.list_gap(open));
            }
        }
    }

    fn unclosed(&self, open: usize) -> ConfigError {
        let remedy = Some("close it with ']'".into());
        self.source.error(open, "the list is not closed", remedy)
    }

    fn list_gap(&self, open: usize) -> ConfigError {
        let remedy = match self.peek() {
            None => return self.unclosed(open),
            Some('+' | '%' | '*' | '(' | '.') => NOT_EXECUTED,
            _ => "put ',' between the elements of a list and ']' after the last",
        };
        let message = format!("expected ',' or ']', found {}", self.found());
        self.error(message, remedy)
    }

    fn number(&mut self) -> Result<u64, ConfigError> {
        let at = self.at;
        let word = self.word();
        let parsed = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None if word.len() > 1 && word.starts_with('0') => u64::from_str_radix(word, 8),
            None => word.parse(),
        };
        parsed.map_err(|error| {
            let too_large = *error.kind() == core::num::IntErrorKind::PosOverflow;
            let (message, remedy) = if too_large {
                (format!("'{word}' is too large a number"), "64 bits must hold it")
            } else {
                (
                    format!("'{word}' is not a number"),
                    "write it as 256, 0x100 or (octal) 0400, without a unit; quote it if it is a string",
                )
            };
            self.source.error(at, message, Some(remedy.into()))
        })
    }

    fn string(&mut self, quote: char) -> Result<String, ConfigError> {
        let open = self.at;
        self.bump();
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.bump() {
                Some(c) if c == quote => {
                    self.refuse_triple_quote(open, &text, quote)?;
                    return Ok(text);
                }
                Some('\\') => text.push(self.escape(at)?),
                None | Some('\n') => {
                    let remedy = format!("close it with {quote} on the same line");
                    return Err(self
                        .source
                        .error(open, "the string is not closed", Some(remedy)));
                }
                Some('\0') => {
                    let message = "a string cannot hold a zero byte";
                    let remedy = "is this a text file?";
                    return Err(self.source.error(at, message, Some(remedy.into())));
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn refuse_triple_quote(&self, open: usize, text: &str, quote: char) -> Result<(), ConfigError> {
        if !text.is_empty() || self.peek() != Some(quote) {
            return Ok(());
        }
        let message = "strings over several lines are Python";
        let remedy = "write the string on one line, with \\n where a new line belongs";
        Err(self.source.error(open, message, Some(remedy.into())))
    }

    /// What follows a backslash, as xl has it.
    fn escape(&mut self, at: usize) -> Result<char, ConfigError> {
        let code = match self.bump() {
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => 10,
            Some('r') => 13,
            Some('t') => 9,
            Some('v') => 11,
            Some(c @ ('\\' | '\'' | '"')) => u32::from(c),
            Some('x') => self.digits(16, 2),
            Some(c @ '0'..='7') => {
                let first = c.to_digit(8).unwrap_or(0);
                let before = self.at;
                let rest = self.digits(8, 2);
                let scale = 8u32.pow(u32::try_from(self.at.saturating_sub(before)).unwrap_or(0));
                first.saturating_mul(scale).saturating_add(rest)
            }
            _ => 0,
        };
        char::from_u32(code).filter(|c| c.is_ascii() && *c != '\0').ok_or_else(|| {
            let message = "a backslash is followed by something it cannot stand for";
            let remedy = "write \\\\ for a backslash; \\n, \\t, \\', \\\", \\x41 and \\101 are known, other characters stand for themselves";
            self.source.error(at, message, Some(remedy.into()))
        })
    }

    fn digits(&mut self, radix: u32, most: usize) -> u32 {
        let mut code = 0u32;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else {
                break;
            };
            self.bump();
            code = code.saturating_mul(radix).saturating_add(digit);
        }
        code
    }

    /// Skips blanks and comments, and line ends too within lists and between assignments.
    fn skip_blank(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' => self.skip(c),
                '\n' if lines => self.skip(c),
                '#' => {
                    let rest = self.rest();
                    let length = rest.find('\n').unwrap_or(rest.len());
                    self.at = self.at.saturating_add(length);
                }
                _ => return,
            }
        }
    }

    /// Takes letters, digits and underscores.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        self.at = self.at.saturating_add(length);
        rest.get(..length).unwrap_or("")
    }

    /// What stands here, for messages.
    fn found(&self) -> String {
        match self.peek() {
            None => "the end of the file".into(),
            Some('\n') => "the end of the line".into(),
            Some(c) if c.is_control() => format!("the control character {:#04x}", u32::from(c)),
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => {
                let mut ahead = Parser {
                    source: self.source,
                    at: self.at,
                };
                format!("'{:.32}'", ahead.word())
            }
            Some(c) => format!("'{c}'"),
        }
    }

    fn error(&self, message: String, remedy: &str) -> ConfigError {
        self.source.error(self.at, message, Some(remedy.into()))
    }

    fn rest(&self) -> &'a str {
        self.source.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.skip(c);
        Some(c)
    }

    fn skip(&mut self, c: char) {
        self.at = self.at.saturating_add(c.len_utf8());
    }

    fn take(&mut self, wanted: char) -> bool {
        let here = self.peek() == Some(wanted);
        if here {
            self.skip(wanted);
        }
        here
    }
}
