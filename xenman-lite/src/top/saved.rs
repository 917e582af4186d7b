// SPDX-License-Identifier: MIT OR Apache-2.0
//! The saved machines in the host's store, and those on this computer.

use super::{
    action::{Machine, Place},
    choice::Choice,
    palette::{Palette, chosen},
};
use crate::{
    output::{harmless, size},
    saved::SavedMachine,
    snapshots::date,
};
use mgmt_proto::messages::SnapshotSummary;
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    widgets::{Paragraph, Row, Table, TableState, Wrap},
};

/// The view.
pub(super) type Saved = Choice<Machine>;

pub(super) const KEYS: [&str; 2] = [
    "Enter restore  x delete",
    "↑ ↓ choose  Esc back  ? keys  q quit",
];

const NONE: &str = "There is nothing saved in the host's store, nor on this computer. \
                    In the table, v saves the selected domain \
                    to store:LABEL, and it is found here.";

/// One in the host's store.
pub(super) fn in_store(snapshot: SnapshotSummary) -> Machine {
    Machine {
        label: snapshot.label,
        place: Place::Store,
        domain: Some((snapshot.domain, snapshot.uuid)),
        memory_kib: snapshot.memory_kib,
        stored_kib: snapshot.stored_kib,
        saved_ns: snapshot.saved_ns,
    }
}

/// One on this computer.
pub(super) fn here(machine: SavedMachine) -> Machine {
    let manifest = machine.manifest.as_ref();
    Machine {
        domain: manifest.map(|it| (it.name.clone(), it.uuid)),
        memory_kib: manifest.map_or(0, |it| it.memory_length() / 1024),
        label: machine.name,
        place: Place::Here(machine.path),
        stored_kib: machine.bytes.div_ceil(1024),
        saved_ns: Some(machine.saved_ns),
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, saved: &Saved, palette: Palette) {
    let text = match saved.items() {
        None => "Asking the host what is saved in its store.",
        Some([]) => NONE,
        Some(machines) => return draw_table(frame, area, (saved, machines), palette),
    };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn draw_table(
    frame: &mut Frame<'_>,
    area: Rect,
    (saved, machines): (&Saved, &[Machine]),
    palette: Palette,
) {
    let headings = ["Saved as", "Where", "Domain", "Memory", "Stored", "Saved"];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(5),
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(19),
    ];
    let table = Table::new(machines.iter().map(row), widths)
        .header(Row::new(headings).style(palette.heading()))
        .row_highlight_style(chosen());
    let mut state = TableState::new().with_selected(saved.place());
    frame.render_stateful_widget(table, area, &mut state);
}

fn row(machine: &Machine) -> Row<'static> {
    let place = match machine.place {
        Place::Store => "store",
        Place::Here(_) => "here",
    };
    let domain = machine.domain.as_ref();
    Row::new([
        harmless(&machine.label),
        place.to_owned(),
        domain.map_or_else(|| "(damaged)".to_owned(), |(name, _)| harmless(name)),
        size(machine.memory_kib),
        size(machine.stored_kib),
        machine.saved_ns.map_or_else(|| "-".to_owned(), date),
    ])
}
