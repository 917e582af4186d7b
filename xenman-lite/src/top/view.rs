// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dashboard as it is drawn: a title, a view, a line of words, and what the keys do.

use super::{
    charts, detail, events,
    figures::{self, Figures},
    form, help, hosts,
    model::{Model, Prompt, View},
    palette::{Palette, bold},
    saved, table,
};
use crate::output::harmless;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Modifier,
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

/// The smallest terminal there is room in.
const SMALLEST: (u16, u16) = (80, 24);

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
    // A long sentence takes a second line.
    let word_height = 1 + u16::from(words.width() > usize::from(area.width));
    let [title, view, word, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(word_height),
        Constraint::Length(2),
    ])
    .areas(area);
    draw_title(frame, title, model, palette);
    let hints = draw_view(frame, view, model, palette);
    frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), word);
    let hints = hints.map(|keys| Line::styled(keys, palette.quiet()));
    frame.render_widget(Paragraph::new(hints.to_vec()), keys);
}

/// Draws what the keys are about; what they do.
fn draw_view(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    palette: Palette,
) -> [&'static str; 2] {
    if model.is_helping {
        help::draw(frame, area, palette);
        return help::KEYS;
    }
    match &model.view {
        View::Table => {
            draw_table(frame, area, model, palette);
            table::KEYS
        }
        View::Detail(it) => {
            detail::draw(frame, area, it, model, palette);
            detail::KEYS
        }
        View::Form(it) => {
            form::draw(frame, area, it, model, palette);
            form::KEYS
        }
        View::Saved(it) => {
            saved::draw(frame, area, it, palette);
            saved::KEYS
        }
        View::Hosts(it) => {
            hosts::draw(frame, area, it, palette);
            hosts::KEYS
        }
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let mut title = vec![Span::styled(
        format!("Alcove on {}", harmless(&model.title)),
        bold(),
    )];
    if let Some(figures) = &model.figures {
        let up = figures::uptime(figures.host.time_ns);
        let domains = model.rows().len();
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

/// The host and the current domain over time, all domains, and what happened.
fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let [charts_area, parts, domains, events_area] = Layout::vertical([
        Constraint::Length(charts::height(area.height)),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(events::height(area.height)),
    ])
    .areas(area);
    charts::draw(frame, charts_area, model, palette);
    if let Some(figures) = &model.figures {
        frame.render_widget(memory_parts(figures), parts);
    }
    table::draw(frame, domains, model, palette);
    events::draw(frame, events_area, model, palette);
}

fn memory_parts(figures: &Figures) -> Line<'static> {
    let host = &figures.host;
    let parts_of_it = [
        ("domains", host.domains_kib),
        ("Domain-0", host.dom0_kib),
        ("hypervisor", host.hypervisor_kib),
        ("boot", host.boot_kib),
        ("store", host.store_kib),
        ("free", host.free_kib),
    ];
    let text = parts_of_it.map(|(name, kib)| format!("{name} {}", figures::short(kib)));
    Line::raw(text.join("  "))
}

/// A question, else the trouble there is, else what was done last.
fn word_line(model: &Model, palette: Palette) -> Line<'static> {
    match (&model.prompt, &model.lost, model.word()) {
        (Some(prompt), ..) => Line::styled(question(prompt), bold()),
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

fn question(prompt: &Prompt) -> String {
    let no = "any other key does not";
    match prompt {
        Prompt::Destroy(target) => format!(
            "Destroy '{}'? y destroys it at once, without asking its guest; {no}",
            harmless(&target.name)
        ),
        Prompt::Delete(name) => format!(
            "Delete '{}'? y forgets its configuration, and files that it alone uses; {no}",
            harmless(name)
        ),
        Prompt::DeleteSaved(machine) => format!(
            "Delete what is saved as '{}'? y deletes it, with the memory of its domain; {no}",
            harmless(&machine.label)
        ),
        Prompt::SaveTo(target, file) => format!(
            "Save '{}' to: {}_  (Enter saves, ↑ as before, Esc does not)",
            harmless(&target.name),
            harmless(file)
        ),
    }
}

#[cfg(test)]
mod tests;
