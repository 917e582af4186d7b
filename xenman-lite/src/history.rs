// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the operator typed at prompts before: `~/.xenman/history`, a file for each kind of prompt, the newest line last.

use crate::{
    home::{self, Home, PRIVATE},
    output::harmless,
    problem::Problem,
};
use std::fs;

/// The most lines that are kept of a prompt.
const MAX_LINES: usize = 200;

/// The most characters of a line that is kept.
const MAX_LINE: usize = 1000;

/// What was typed at a prompt, the newest last; nothing, if that cannot be read.
pub(crate) fn load(home: &Home, prompt: &'static str) -> Vec<String> {
    let path = home.path().map(|it| it.join("history").join(prompt));
    let text = path.ok().and_then(|path| fs::read(path).ok());
    let text = String::from_utf8_lossy(text.as_deref().unwrap_or_default()).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// Adds what was typed, unless it is nothing, or what was typed before it.
pub(crate) fn append(home: &Home, prompt: &'static str, line: &str) -> Result<(), Problem> {
    let line: String = harmless(line).chars().take(MAX_LINE).collect();
    let folder = home.folder_for("history")?;
    let _lock = home::lock(&folder)?;
    let mut lines = load(home, prompt);
    if line.trim().is_empty() || lines.last() == Some(&line) {
        return Ok(());
    }
    lines.push(line);
    let newest = lines.split_off(lines.len().saturating_sub(MAX_LINES));
    let text: String = newest.iter().map(|line| format!("{line}\n")).collect();
    home::replace(&folder.join(prompt), text.as_bytes(), PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("x"));
        assert!(load(&home, "save").is_empty());
        for line in ["a.save", "a.save", "", "b\nc"] {
            append(&home, "save", line).unwrap();
        }
        append(&home, "console", "other").unwrap();
        assert_eq!(load(&home, "save"), ["a.save", "b?c"]);
        for number in 0..MAX_LINES {
            append(&home, "save", &number.to_string()).unwrap();
        }
        let lines = load(&home, "save");
        assert_eq!((lines.len(), lines[0].as_str()), (MAX_LINES, "0"));
    }
}
