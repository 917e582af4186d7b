// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of domains.

use super::{
    columns::Column,
    figures::{self, DomainFigures},
    history::History,
    model::Model,
    palette::{Palette, chosen},
};
use crate::output::harmless;
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    text::Line,
    widgets::{Cell, Row, Table, TableState},
};

pub(super) const KEYS: [&str; 2] = [
    "i details  c console  s start/stop  b reboot  p pause  d destroy  v save",
    "x delete  a add  m saved  h hosts  ↑ ↓ choose  ← → sort  ? keys  q quit",
];

/// How a history is drawn, from nothing to all.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The columns: heading, what it sorts by, width, whether it holds numbers.
const COLUMNS: [(&str, Option<Column>, u16, bool); 10] = [
    ("Name", Some(Column::Name), 15, false),
    ("ID", Some(Column::Domid), 4, true),
    ("Type", None, 4, false),
    ("State", Some(Column::State), 8, false),
    ("CPU%", Some(Column::Cpu), 6, true),
    ("History", None, 8, false),
    ("MiB", Some(Column::Memory), 6, true),
    ("vCPU", Some(Column::Vcpus), 5, true),
    ("Exits/s", Some(Column::Exits), 8, true),
    ("Uptime", Some(Column::Uptime), 7, true),
];

/// What the columns take, with a space between them.
const WIDTH: u16 = 80;

/// The most that a wide terminal gives to names; histories take the rest.
const NAME_WIDTH: u16 = 40;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let extra = area.width.saturating_sub(WIDTH);
    let for_names = extra.div_ceil(2).min(NAME_WIDTH - 15);
    let widths = COLUMNS.map(|(heading, _, width, _)| match heading {
        "Name" => width + for_names,
        "History" => width + extra - for_names,
        _ => width,
    });
    let rows = model.rows();
    let history_width = widths.get(5).copied().unwrap_or(0);
    let drawn = rows
        .iter()
        .map(|domain| domain_row(domain, model, history_width, palette));
    let table = Table::new(drawn, widths.map(Constraint::Length))
        .column_spacing(1)
        .header(Row::new(COLUMNS.map(|column| heading(column, model))).style(palette.heading()))
        .row_highlight_style(chosen());
    let mut state = TableState::new().with_selected(model.selected_row());
    frame.render_stateful_widget(table, area, &mut state);
}

fn heading(
    (text, column, _, is_number): (&str, Option<Column>, u16, bool),
    model: &Model,
) -> Cell<'static> {
    let arrow = match column {
        Some(column) if column == model.sort && column.is_falling() != model.is_reversed => "▼",
        Some(column) if column == model.sort => "▲",
        _ => "",
    };
    cell(format!("{text}{arrow}"), is_number)
}

fn cell(text: String, is_number: bool) -> Cell<'static> {
    let line = Line::raw(text);
    Cell::from(if is_number {
        line.right_aligned()
    } else {
        line
    })
}

fn domain_row(
    domain: &DomainFigures,
    model: &Model,
    history_width: u16,
    palette: Palette,
) -> Row<'static> {
    let summary = domain.summary();
    let most = 100.0 * f64::from(summary.vcpus.max(1));
    let width = usize::from(history_width);
    let history = model.history(&summary.uuid);
    let history = history.map_or_else(String::new, |it| spark(it, width, most));
    let none = || "-".to_owned();
    let number = summary.number();
    Row::new([
        cell(harmless(&summary.name), false),
        cell(number.map_or_else(none, |domid| domid.to_string()), true),
        cell(summary.kind.name().to_owned(), false),
        cell(domain.doing().to_owned(), false).style(palette.state(summary.state)),
        cell(figures::percent(domain.cpu_percent), true),
        cell(history, false).style(palette.cpu()),
        cell((summary.memory_kib / 1024).to_string(), true),
        cell(summary.vcpus.to_string(), true),
        cell(figures::rate(domain.exits_per_s), true),
        cell(
            number.map_or_else(none, |_| figures::uptime(summary.age_ns)),
            true,
        ),
    ])
}

/// The newest values of a history, a character each.
fn spark(history: &History, width: usize, most: f64) -> String {
    let shown = history.len().min(width);
    let level = |value: &f64| {
        let part = (value / most).clamp(0.0, 1.0);
        let enough = |place: usize| part <= figures::share(place as u64 + 1, 8) / 100.0;
        let place = (0..LEVELS.len()).find(|place| enough(*place));
        LEVELS.get(place.unwrap_or(7)).copied().unwrap_or(' ')
    };
    let drawn = history.iter().skip(history.len() - shown).map(level);
    std::iter::repeat_n(' ', width - shown)
        .chain(drawn)
        .collect()
}
