// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last lines of xend's log, for what it says about one domain.

use std::collections::VecDeque;

/// Lines that are kept.
const LINES: usize = 1000;

/// The last lines, and what there is of the next one.
#[derive(Debug, Default)]
pub(super) struct Journal {
    lines: VecDeque<String>,
    rest: Vec<u8>,
    /// Whether the beginning of the first line is not here.
    is_cut: bool,
}

impl Journal {
    /// What comes next is not what follows what is here.
    pub(super) fn skip(&mut self) {
        self.rest.clear();
        self.is_cut = true;
    }

    /// Takes in a piece of the log, which may begin and end anywhere in a line.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if !std::mem::take(&mut self.is_cut) {
                self.lines
                    .push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
        let too_many = self.lines.len().saturating_sub(LINES);
        self.lines.drain(..too_many);
    }

    /// The lines that name a domain.
    pub(super) fn about(&self, name: &str) -> Vec<&str> {
        let quoted = format!("'{name}'");
        let lines = self.lines.iter().map(String::as_str);
        lines.filter(|line| line.contains(&quoted)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_found_by_name() {
        let mut journal = Journal::default();
        journal.take(b"a 'web' crea");
        assert_eq!(journal.about("web"), [""; 0], "it is no line yet");
        journal.take(b"ted\nb 'web2' created\nc 'we");
        journal.take(b"b' destroyed\n");
        assert_eq!(
            journal.about("web"),
            ["a 'web' created", "c 'web' destroyed"]
        );
        journal.skip();
        journal.take(b"half of 'web'\nd 'web' created\n");
        assert_eq!(journal.about("web").last(), Some(&"d 'web' created"));
        assert_eq!(journal.about("web").len(), 3);
    }

    #[test]
    fn old_lines_go() {
        let mut journal = Journal::default();
        (0..LINES + 5).for_each(|number| journal.take(format!("{number} 'x'\n").as_bytes()));
        assert_eq!(journal.about("x").len(), LINES);
        assert_eq!(journal.about("x").first(), Some(&"5 'x'"));
    }
}
