// SPDX-License-Identifier: MIT OR Apache-2.0
//! One domain in detail: its vCPUs, what it does, how it is configured, and what xend's log says about it.

use super::{
    charts,
    figures::{self, DomainFigures},
    model::{Model, Uuid},
    palette::{Palette, bold},
    usage::Looks,
};
use crate::{
    output::{harmless, size},
    usage,
};
use crossterm::event::KeyCode;
use mgmt_proto::{
    config::uuid_text,
    messages::{DomainDetail, DomainFlags, DomainSummary, DomainUsage},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

pub(super) const KEYS: [&str; 2] = [
    "c console  s start/stop  b reboot  p pause  d destroy  v save  x delete",
    "↑ ↓ Pg↑ Pg↓ scroll  Esc back  ? keys  q quit",
];

/// Lines that a page key goes.
const PAGE: usize = 10;

/// The view.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) uuid: Uuid,
    pub(super) name: String,
    scroll: usize,
    shown: Option<DomainDetail>,
    looks: Looks,
}

impl Detail {
    pub(super) fn new(summary: &DomainSummary) -> Self {
        Self {
            uuid: summary.uuid,
            name: summary.name.clone(),
            scroll: 0,
            shown: None,
            looks: Looks::default(),
        }
    }

    /// Takes in what xend knows about it.
    pub(super) fn show(&mut self, shown: DomainDetail) {
        if shown.summary.name == self.name {
            self.shown = Some(shown);
        }
    }

    /// Takes in what it used.
    pub(super) fn used(&mut self, used: DomainUsage) {
        if used.domain.summary.name == self.name {
            self.looks.add(used);
        }
    }

    /// Whether a key scrolls through so many lines; then it has.
    pub(super) fn scroll(&mut self, key: KeyCode, lines: usize) -> bool {
        let last = lines.saturating_sub(PAGE);
        let to = match key {
            KeyCode::Up | KeyCode::Char('k') => self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll + 1,
            KeyCode::PageUp => self.scroll.saturating_sub(PAGE),
            KeyCode::PageDown => self.scroll + PAGE,
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => return false,
        };
        self.scroll = to.min(last);
        true
    }

    /// Everything there is to say.
    pub(super) fn lines(&self, model: &Model) -> Vec<Line<'static>> {
        let Some(domain) = model.domain(&self.uuid) else {
            let gone = format!(
                "There is no domain '{}' any more. Esc leads back.",
                harmless(&self.name)
            );
            return vec![Line::raw(gone)];
        };
        let config = self.shown.as_ref().map(|shown| shown.config.as_str());
        let parts = [
            ("", facts(domain)),
            ("vCPUs", self.looks.vcpu_lines()),
            ("What it does", self.looks.lines()),
            ("Earlier runs", self.earlier_runs()),
            ("Counters", self.counters()),
            ("Configuration", text(config.unwrap_or_default().lines())),
            ("Log", text(model.journal.about(&self.name).into_iter())),
        ];
        let mut lines = Vec::new();
        for (heading, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            if !heading.is_empty() {
                lines.extend([Line::default(), Line::styled(heading, bold())]);
            }
            lines.extend(part.into_iter().map(Line::raw));
        }
        lines
    }

    /// What earlier runs of a managed domain used.
    fn earlier_runs(&self) -> Vec<String> {
        let totals = self.shown.iter().flat_map(|shown| &shown.totals);
        let totals = totals.filter(|totals| totals.runs > 0);
        let lines = totals.flat_map(usage::totals_lines);
        lines
            .map(|(what, text)| format!("  {what:<24}{text}"))
            .collect()
    }

    /// xend's counters but for those that have rates.
    fn counters(&self) -> Vec<String> {
        let counters = self.shown.iter().flat_map(|shown| &shown.counters);
        let others =
            counters.filter(|it| !["exits", "hypercalls", "refusals"].contains(&it.name.as_str()));
        let line = |it: &mgmt_proto::messages::NamedCount| {
            format!("  {:<24}{:>12}", harmless(&it.name), it.count)
        };
        others.map(line).collect()
    }
}

fn facts(domain: &DomainFigures) -> Vec<String> {
    let summary = domain.summary();
    let number = summary.number().map(|it| format!("number {it}, "));
    let is_managed = summary.flags.contains(DomainFlags::MANAGED);
    let managed = if is_managed { ", managed" } else { "" };
    let up = summary
        .number()
        .map(|_| format!(", up {}", figures::uptime(summary.age_ns)));
    vec![
        format!(
            "{}  {}{}, {}{managed}{}",
            harmless(&summary.name),
            number.unwrap_or_default(),
            summary.kind.name(),
            domain.doing(),
            up.unwrap_or_default()
        ),
        format!(
            "{} of memory, {} of {} vCPUs online",
            size(summary.memory_kib),
            domain.stats.vcpus_online,
            summary.vcpus,
        ),
        format!("UUID {}", uuid_text(&summary.uuid)),
    ]
}

/// Lines from elsewhere.
fn text<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines = lines.map(|line| line.replace('\t', "    "));
    lines.map(|line| format!("  {}", harmless(&line))).collect()
}

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    detail: &Detail,
    model: &Model,
    palette: Palette,
) {
    let charts_height = charts::height(area.height) / 2;
    let [top, _, rest] = Layout::vertical([
        Constraint::Length(charts_height),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    if let Some(domain) = model.domain(&detail.uuid) {
        let halves = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2);
        let [cpu, memory] = halves.areas(top);
        charts::draw_domain(frame, [cpu, memory], (model, domain), palette);
    }
    let lines = detail.lines(model);
    let most = lines.len().saturating_sub(usize::from(rest.height));
    let scroll = u16::try_from(detail.scroll.min(most)).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(lines).scroll((scroll, 0)), rest);
}
