// SPDX-License-Identifier: MIT OR Apache-2.0
//! The saved machines in the host's store.

use super::{
    choice::Choice,
    palette::{Palette, chosen},
};
use crate::output::{harmless, size};
use mgmt_proto::messages::SnapshotSummary;
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    widgets::{Paragraph, Row, Table, TableState, Wrap},
};

/// The view.
pub(super) type Saved = Choice<SnapshotSummary>;

pub(super) const KEYS: [&str; 2] = [
    "Enter restore  x delete",
    "↑ ↓ choose  Esc back  ? keys  q quit",
];

const NONE: &str = "There is nothing saved in the host's store. In the table, v saves the selected domain: to store:LABEL, \
                    and it is found here.";

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, saved: &Saved, palette: Palette) {
    let text = match saved.items() {
        None => "Asking the host what is saved in its store.",
        Some([]) => NONE,
        Some(snapshots) => return draw_table(frame, area, (saved, snapshots), palette),
    };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn draw_table(
    frame: &mut Frame<'_>,
    area: Rect,
    (saved, snapshots): (&Saved, &[SnapshotSummary]),
    palette: Palette,
) {
    let rows = snapshots.iter().map(|snapshot| {
        Row::new([
            harmless(&snapshot.label),
            harmless(&snapshot.domain),
            size(snapshot.memory_kib),
            size(snapshot.stored_kib),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(12),
        Constraint::Length(12),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["Saved as", "Domain", "Memory", "Stored"]).style(palette.heading()))
        .row_highlight_style(chosen());
    let mut state = TableState::new().with_selected(saved.place());
    frame.render_stateful_widget(table, area, &mut state);
}
