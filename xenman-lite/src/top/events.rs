// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened to domains, the newest at the bottom.

use super::{figures, model::Model, palette::Palette};
use crate::output::harmless;
use mgmt_proto::messages::{Event, EventKind};
use ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph};

/// The rows it takes of a screen, its heading included.
pub(super) fn height(of: u16) -> u16 {
    match of {
        0..30 => 4,
        30..45 => 7,
        _ => 11,
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let room = usize::from(area.height.saturating_sub(1));
    let newest = model.events.len().saturating_sub(room);
    let now = model.figures.as_ref().map_or(0, |it| it.host.time_ns);
    let heading = Line::styled("Events", palette.heading());
    let mut lines = vec![heading];
    let events = model.events.iter().skip(newest);
    lines.extend(events.map(|event| line(event, now, palette)));
    if model.events.is_empty() {
        lines.push(Line::raw("Nothing has happened yet."));
    }
    frame.render_widget(Paragraph::new(lines), area);
    frame.render_widget(Line::raw(logging(model)).right_aligned(), area);
}

/// How fast the logs grow, where the host tells.
fn logging(model: &Model) -> String {
    let rate = model.figures.as_ref().and_then(|it| it.log_bytes_per_s);
    rate.map_or_else(String::new, |rate| {
        format!("logs grow by {} B/s", figures::rate(Some(rate)))
    })
}

fn line(event: &Event, now_ns: u64, palette: Palette) -> Line<'static> {
    let age = figures::uptime(now_ns.saturating_sub(event.time_ns));
    let detail = event.detail.as_ref();
    let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    let text = format!(
        "{age:>6} ago  {} ({}) {}{detail}",
        event.name,
        event.domid,
        event.kind.name()
    );
    let text = harmless(&text);
    if event.kind == EventKind::CRASHED {
        Line::styled(text, palette.alarm())
    } else {
        Line::raw(text)
    }
}
