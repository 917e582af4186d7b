// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU and memory over time, of the host and of a domain. The newest is at the right; a chart ends at 100 %.

use super::{
    cpus,
    figures::{self, DomainFigures, Figures},
    history::History,
    model::Model,
    palette::Palette,
};
use crate::output::{harmless, size};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::Line,
    widgets::{Paragraph, RenderDirection, Sparkline},
};
use std::time::Duration;

/// The rows that four charts may take of a screen.
pub(super) fn height(of: u16) -> u16 {
    match of {
        0..30 => 6,
        30..36 => 8,
        36..50 => 10,
        _ => 14,
    }
}

/// The scale at the left of a chart.
const SCALE: u16 = 4;

/// The host at the left, the current domain at the right.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let halves = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2);
    let [left, right] = halves.areas(area);
    if let Some(figures) = &model.figures {
        draw_host(frame, split(left), (model, figures), palette);
    }
    if let Some(domain) = model.current() {
        draw_domain(frame, split(right), (model, domain), palette);
    }
}

fn split(area: Rect) -> [Rect; 2] {
    Layout::vertical([Constraint::Fill(1); 2]).areas(area)
}

fn draw_host(
    frame: &mut Frame<'_>,
    [cpu, memory]: [Rect; 2],
    (model, figures): (&Model, &Figures),
    palette: Palette,
) {
    let host = &figures.host;
    let load = figures::percent(figures.load_percent());
    let label = format!("Host CPU {load}% of {}", cpus(host.cpus));
    chart(
        frame,
        cpu,
        (&label, &model.load, 100.0),
        model.interval,
        palette.cpu(),
    );
    let used = figures::share(figures.used_kib(), host.total_kib);
    let used = figures::percent(Some(used));
    let label = format!("Host memory {used}% of {}", size(host.total_kib));
    chart(
        frame,
        memory,
        (&label, &model.memory, 100.0),
        model.interval,
        palette.memory(),
    );
}

/// A domain's CPU, of all its vCPUs, and its memory, of the host's.
pub(super) fn draw_domain(
    frame: &mut Frame<'_>,
    [cpu, memory]: [Rect; 2],
    (model, domain): (&Model, &DomainFigures),
    palette: Palette,
) {
    let (summary, empty) = (domain.summary(), History::new());
    let name: String = harmless(&summary.name).chars().take(16).collect();
    let label = match summary.number() {
        None => format!("{name} is off"),
        Some(_) => format!(
            "{name} CPU {}% of {}",
            figures::percent(domain.cpu_percent),
            match summary.vcpus {
                1 => "1 vCPU".to_owned(),
                count => format!("{count} vCPUs"),
            }
        ),
    };
    let history = model.history(&summary.uuid).unwrap_or(&empty);
    let most = 100.0 * f64::from(summary.vcpus.max(1));
    chart(
        frame,
        cpu,
        (&label, history, most),
        model.interval,
        palette.cpu(),
    );
    let history = model.memory_history(&summary.uuid).unwrap_or(&empty);
    let label = format!("{name} memory {}", size(summary.memory_kib));
    chart(
        frame,
        memory,
        (&label, history, 100.0),
        model.interval,
        palette.memory(),
    );
}

/// A label with the time that is shown, and bars below.
fn chart(
    frame: &mut Frame<'_>,
    area: Rect,
    (label, history, most): (&str, &History, f64),
    interval: Duration,
    style: Style,
) {
    let rows = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]);
    let [head, body] = rows.areas(area);
    let [scale, bars] =
        Layout::horizontal([Constraint::Length(SCALE), Constraint::Fill(1)]).areas(body);
    frame.render_widget(Line::raw(label), head);
    let shown = history.len().min(usize::from(bars.width));
    let span = interval * u32::try_from(shown).unwrap_or(u32::MAX);
    let span = figures::uptime(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    let room = usize::from(head.width).saturating_sub(Line::raw(label).width());
    if room > span.len() + 1 {
        frame.render_widget(Line::raw(span).right_aligned(), head);
    }
    let marks = (0..scale.height).map(|row| match scale.height - row {
        1 => Line::raw("  0│"),
        _ if row == 0 => Line::raw("100│"),
        _ => Line::raw("   │"),
    });
    frame.render_widget(Paragraph::new(marks.collect::<Vec<_>>()), scale);
    let newest_first = history.iter().rev().map(|value| part(*value, most));
    let sparkline = Sparkline::default()
        .data(newest_first)
        .direction(RenderDirection::RightToLeft)
        .max(1000)
        .style(style);
    frame.render_widget(sparkline, bars);
}

/// A value as thousandths of the most it can be.
fn part(value: f64, most: f64) -> u64 {
    let part = (value / most).clamp(0.0, 1.0) * 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 1000"
    )]
    let part = part.round() as u64;
    part
}
