// SPDX-License-Identifier: MIT OR Apache-2.0
//! All keys.

use super::palette::{Palette, bold};
use crossterm::event::KeyCode;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

pub(super) const KEYS: [&str; 2] = ["", "Esc back"];

/// A heading, and keys with what they do.
type Part = (&'static str, &'static [(&'static str, &'static str)]);

const LEFT: [Part; 2] = [
    (
        "The selected domain",
        &[
            ("i, Enter", "details"),
            ("c", "console; Ctrl-] goes back"),
            ("s", "start, or shut down"),
            ("b", "reboot"),
            ("p", "pause, or unpause"),
            ("d", "destroy at once"),
            ("v", "save: FILE or store:LABEL"),
            ("x", "delete the definition"),
        ],
    ),
    (
        "Everywhere",
        &[
            ("?", "these keys"),
            ("Esc", "back to the table"),
            ("q, Ctrl-C", "quit"),
        ],
    ),
];

const RIGHT: [Part; 3] = [
    (
        "The table",
        &[
            ("↑ ↓ j k", "choose a domain"),
            ("Home End", "the first, the last"),
            ("← → < >", "sort by another column"),
            ("R", "reverse the order"),
        ],
    ),
    (
        "The host",
        &[
            ("a", "add a domain from an image"),
            ("m", "saved machines"),
            ("h", "another host"),
        ],
    ),
    (
        "Details",
        &[("↑ ↓ Pg↑ Pg↓", "scroll"), ("Home End", "top, bottom")],
    ),
];

/// Whether a key leads back.
pub(super) fn closes(key: KeyCode) -> bool {
    matches!(
        key,
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('?' | 'q')
    )
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let halves = Layout::horizontal([Constraint::Fill(1); 2]);
    let [left, right] = halves.areas(area);
    frame.render_widget(Paragraph::new(lines(&LEFT, palette)), left);
    frame.render_widget(Paragraph::new(lines(&RIGHT, palette)), right);
}

fn lines(parts: &[Part], palette: Palette) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (heading, keys) in parts {
        lines.push(Line::styled(*heading, bold()));
        lines.extend(keys.iter().map(|(key, does)| {
            let key = Span::styled(format!("  {key:<11} "), palette.quiet());
            Line::from(vec![key, Span::raw(*does)])
        }));
        lines.push(Line::default());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_all_keys_and_no_others() {
        let guide = include_str!("../../../docs/guide/dashboard.md");
        let rows = guide.lines().filter(|line| line.starts_with("| "));
        let parts = LEFT.iter().chain(&RIGHT);
        let expected = parts.flat_map(|(heading, keys)| {
            let keys = keys.iter().map(|(key, does)| format!("| {key} | {does} |"));
            [format!("| {heading} | |")].into_iter().chain(keys)
        });
        assert!(
            rows.eq(expected),
            "docs/guide/dashboard.md does not have the keys of '?'"
        );
    }
}
