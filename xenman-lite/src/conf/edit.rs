// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of `xenman.conf` that leave the rest of it as it was written, comments and order included.

use super::ini::{OPTIONS, escaped};
use crate::problem::Problem;
use ini_edit::{
    ast::{AstNode, File, Section},
    editor::{EditError, EditOptions, Editor, SeparatorSpacing},
    parse_with,
};

/// A text with a key of a section set. The section is made if it is not there.
pub(super) fn set(text: &str, section: &str, key: &str, value: &str) -> Result<String, Problem> {
    try_set(text, section, key, &escaped(value)).map_err(|error| {
        Problem::new(format!(
            "cannot write {key} = {value} into xenman.conf: {error}"
        ))
        .with_remedy("choose a value without control characters or '\\' at its end")
    })
}

fn try_set(text: &str, section: &str, key: &str, value: &str) -> Result<String, EditError> {
    let options = EditOptions {
        separator_spacing: SeparatorSpacing::Preserve,
    };
    let mut editor = Editor::new(text, &OPTIONS, &options)?;
    match last(&editor.file(), section, key) {
        Some((at, entry)) => {
            let section = editor.section_at(at);
            if let Some(mut section) = section
                && let Some(mut entry) = section.entry_at(entry)
            {
                entry.set_value(value)?;
            }
        }
        None => editor
            .section_or_insert(section)?
            .append_entry(key, value)?,
    }
    Ok(editor.finish())
}

/// The last entry with this key in a section with this name: the one that counts.
fn last(file: &File, name: &str, key: &str) -> Option<(usize, usize)> {
    let sections = file.sections().enumerate();
    let places = sections.filter(|(_, section)| is_named(section, name));
    let entries = places.flat_map(|(at, section)| {
        let entries: Vec<_> = section.entries().enumerate().collect();
        entries.into_iter().map(move |(entry, it)| (at, entry, it))
    });
    let matching = entries.filter(|(_, _, it)| it.key().is_some_and(|it| it.to_lowercase() == key));
    matching.last().map(|(at, entry, _)| (at, entry))
}

fn is_named(section: &Section, name: &str) -> bool {
    section.name().as_deref() == Some(name)
}

/// A text without the sections of this name: without their headers and keys, and the comments between those. What is written
/// behind their last key is about what follows, and stays.
pub(super) fn remove(text: &str, name: &str) -> String {
    let parsed = parse_with(text, &OPTIONS);
    let sections = File::cast(parsed.syntax());
    let mut rest = text.to_owned();
    let sections: Vec<Section> = sections.iter().flat_map(|it| it.sections()).collect();
    for section in sections.iter().rev().filter(|it| is_named(it, name)) {
        let start = usize::from(section.syntax().text_range().start());
        let last = section.entries().last();
        let last = last.map(|entry| entry.syntax().text_range().end());
        let header = section.header().map(|it| it.syntax().text_range().end());
        let end = last.or(header).map_or(start, usize::from);
        let line = text.get(end..).unwrap_or_default();
        let ends_line = text.get(..end).is_some_and(|it| it.ends_with('\n'));
        let end = match line.find('\n') {
            _ if ends_line => end,
            Some(at) => end + at + 1,
            None => text.len(),
        };
        rest.replace_range(start..end, "");
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# first\n[PATHS]\n# a = 1\n\n# about rack7\n[rack7]\n# where\nAddress: unix:/a\nlogin=root\n\n\
                        # about rack8\n[rack8]\r\naddress = unix:/b # no comment";

    #[test]
    fn a_value_is_changed_where_it_is() {
        let changed = set(TEXT, "rack7", "address", "unix:/new%x").unwrap();
        assert_eq!(changed, TEXT.replace("unix:/a\n", "unix:/new%%x\n"));
        let twice = "[a]\nk = 1\nK = 2\n[a]\nk = 3\n";
        let changed = set(twice, "a", "k", "4").unwrap();
        assert_eq!(changed, "[a]\nk = 1\nK = 2\n[a]\nk = 4\n");
    }

    #[test]
    fn what_is_new_is_added() {
        let changed = set("[a]\n# c\n", "a", "k", "1").unwrap();
        assert_eq!(changed, "[a]\n# c\nk = 1\n");
        let changed = set("[a]\n# c\n", "b", "k", "1").unwrap();
        assert!(changed.starts_with("[a]\n# c\n") && changed.ends_with("[b]\nk = 1\n"));
        assert_eq!(set("", "b", "k", "1").unwrap(), "[b]\nk = 1\n");
    }

    #[test]
    fn what_would_not_be_read_back_is_refused() {
        for value in ["a\nb = c", "a\\"] {
            let told = set(TEXT, "rack7", "address", value).unwrap_err();
            assert!(told.to_string().contains("cannot write address"), "{told}");
        }
    }

    #[test]
    fn a_section_goes_and_the_comments_around_it_stay() {
        assert_eq!(
            remove(TEXT, "rack7"),
            "# first\n[PATHS]\n# a = 1\n\n# about rack7\n\n# about rack8\n[rack8]\r\naddress = unix:/b # no comment"
        );
        assert!(remove(TEXT, "rack8").ends_with("# about rack8\n"));
        assert_eq!(remove("[a]\n# x\n[b]\n[a]\nk=1\n", "a"), "# x\n[b]\n");
        assert_eq!(remove(TEXT, "rack9"), TEXT);
    }
}
