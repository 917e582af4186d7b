// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dashboard as it is drawn.

use super::{
    columns::Column,
    cpus,
    figures::{self, DomainFigures, Figures},
    model::{History, Model, Prompt},
};
use crate::output::{harmless, size};
use mgmt_proto::messages::DomainState;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState, Wrap},
};

/// The smallest terminal there is room in.
const SMALLEST: (u16, u16) = (80, 24);

/// How a history is drawn, from nothing to all.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What the keys do; about the domain, and about the table.
const DOMAIN_KEYS: &str =
    "c console  p pause/unpause  b reboot  s shutdown  d destroy  v save to a file";
const TABLE_KEYS: &str = "↑ ↓ choose a domain  ← → sort by another column  R reverse  q quit";

/// Whether there are colours. Without them everything is still said in words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) colours: bool,
}

impl Palette {
    fn colour(self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn quiet(self) -> Style {
        self.colour(Color::Cyan)
    }

    fn alarm(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn state(self, state: DomainState) -> Style {
        match state {
            DomainState::RUNNING => self.colour(Color::Green),
            DomainState::PAUSED => self.colour(Color::Yellow),
            DomainState::CRASHED => self.alarm(),
            _ => Style::new(),
        }
    }
}

/// Draws the dashboard.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, palette: Palette) {
    let area = frame.area();
    let (width, height) = SMALLEST;
    if area.width < width || area.height < height {
        let sentence = format!(
            "The dashboard needs a terminal of {width}x{height}; this one is {}x{}. q leaves.",
            area.width, area.height
        );
        let text = Paragraph::new(sentence).wrap(Wrap { trim: true });
        return frame.render_widget(text, area);
    }
    let words = word_line(model, palette);
    let rows = [1, 1, 1, 1, 1].map(Constraint::Length);
    let rest = [
        Constraint::Fill(1),
        // A long sentence takes a second line.
        Constraint::Length(1 + u16::from(words.width() > usize::from(area.width))),
        Constraint::Length(2),
    ];
    let layout = Layout::vertical(rows.into_iter().chain(rest));
    let [title, cpu, memory, parts, _, table, word, keys] = layout.areas(area);
    draw_title(frame, title, model, palette);
    if let Some(figures) = &model.figures {
        draw_host(frame, [cpu, memory, parts], model, figures, palette);
    }
    draw_domains(frame, table, model, palette);
    frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), word);
    let hints = [DOMAIN_KEYS, TABLE_KEYS].map(|keys| Line::styled(keys, palette.quiet()));
    frame.render_widget(Paragraph::new(hints.to_vec()), keys);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut title = vec![Span::styled(
        format!("Alcove on {}", harmless(&model.title)),
        bold,
    )];
    if let Some(figures) = &model.figures {
        let domains = figures.domains.len();
        let up = figures::uptime(figures.host.time_ns);
        title.push(Span::raw(format!("  up {up}, {domains} in the table")));
    }
    frame.render_widget(Line::from(title), area);
    let reversed = palette.alarm().add_modifier(Modifier::REVERSED);
    let age = match model.age() {
        None => Span::raw("no sample yet"),
        Some(age) if model.is_stale() => {
            Span::styled(format!(" STALE: {} s old ", age.as_secs()), reversed)
        }
        Some(age) => Span::raw(format!(
            "{}.{} s old",
            age.as_secs(),
            age.subsec_millis() / 100
        )),
    };
    frame.render_widget(Line::from(age).right_aligned(), area);
}

fn draw_host(
    frame: &mut Frame<'_>,
    [cpu, memory, parts]: [Rect; 3],
    model: &Model,
    figures: &Figures,
    palette: Palette,
) {
    let host = &figures.host;
    let load = figures::percent(figures.load_percent());
    let used = figures::share(figures.used_kib(), host.total_kib);
    let used = figures::percent(Some(used));
    for (area, label, history) in [
        (
            cpu,
            format!("CPU {load:>6}% of {}", cpus(host.cpus)),
            &model.load,
        ),
        (
            memory,
            format!("Mem {used:>6}% of {}", size(host.total_kib)),
            &model.memory,
        ),
    ] {
        let width = usize::from(area.width).saturating_sub(26);
        let line = Line::from(vec![
            Span::raw(format!("{label:<26}")),
            Span::styled(spark(history, width, 100.0), palette.quiet()),
        ]);
        frame.render_widget(line, area);
    }
    let parts_of_it = [
        ("domains", host.domains_kib),
        ("Domain-0", host.dom0_kib),
        ("hypervisor", host.hypervisor_kib),
        ("boot", host.boot_kib),
        ("store", host.store_kib),
        ("free", host.free_kib),
    ];
    let text = parts_of_it.map(|(name, kib)| format!("{name} {}", figures::short(kib)));
    frame.render_widget(Line::raw(text.join("  ")), parts);
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

/// The table's columns: heading, what it sorts by, width, whether it holds numbers.
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
/// The most that a wide terminal gives to names; histories take the rest.
const NAME_WIDTH: u16 = 40;

fn draw_domains(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let extra = area.width - SMALLEST.0;
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
    let bold = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
    let table = Table::new(drawn, widths.map(Constraint::Length))
        .column_spacing(1)
        .header(Row::new(COLUMNS.map(|column| heading(column, model))).style(bold))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
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
    let history = model.history(domain);
    let history = history.map_or_else(String::new, |it| spark(it, width, most));
    Row::new([
        cell(harmless(&summary.name), false),
        cell(summary.domid.to_string(), true),
        cell(summary.kind.name().to_owned(), false),
        cell(domain.doing().to_owned(), false).style(palette.state(summary.state)),
        cell(figures::percent(domain.cpu_percent), true),
        cell(history, false).style(palette.quiet()),
        cell((summary.memory_kib / 1024).to_string(), true),
        cell(summary.vcpus.to_string(), true),
        cell(figures::rate(domain.exits_per_s), true),
        cell(figures::uptime(summary.age_ns), true),
    ])
}

/// A question, else the trouble there is, else what was done last.
fn word_line(model: &Model, palette: Palette) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    match (&model.prompt, &model.lost, model.word()) {
        (Some(Prompt::Destroy(target)), ..) => {
            let question =
                "y destroys it at once, without asking its guest; any other key does not";
            Line::styled(
                format!("Destroy '{}'? {question}", harmless(&target.name)),
                bold,
            )
        }
        (Some(Prompt::SaveTo(target, file)), ..) => {
            let question = format!("Save '{}' to: {file}_", harmless(&target.name));
            Line::styled(format!("{question}  (Enter saves, Esc does not)"), bold)
        }
        (None, Some(why), _) => {
            Line::styled(format!("Trying again: {}", harmless(why)), palette.alarm())
        }
        (None, None, Some(word)) if word.is_error => {
            Line::styled(harmless(&word.text), palette.alarm())
        }
        (None, None, Some(word)) => Line::raw(harmless(&word.text)),
        (None, None, None) => Line::default(),
    }
}

#[cfg(test)]
mod tests;
