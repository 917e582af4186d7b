// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the dashboard knows and shows: samples and keys in, actions out. No terminal, no clock, no host.

use super::{
    action::{KnownHost, Machine, Target},
    columns::Column,
    detail::Detail,
    figures::{DomainFigures, Figures, share},
    form::Form,
    history::{Histories, History, push},
    hosts::Hosts,
    journal::Journal,
    recall::Recall,
    saved::Saved,
};
use mgmt_proto::messages::{
    DomainDetail, DomainRef, DomainSummary, DomainUsage, Event, ImageSummary, Stats,
};
use std::time::Duration;

/// How long a word that something was done stays.
const SPOKEN: Duration = Duration::from_secs(8);

/// Events that are kept.
const EVENTS: usize = 256;

/// A domain over its reboots, which change its number.
pub(super) type Uuid = [u8; 16];

/// What fills the screen between the title and the words.
#[derive(Debug)]
pub(super) enum View {
    Table,
    Detail(Box<Detail>),
    Form(Form),
    Saved(Saved),
    Hosts(Hosts),
}

/// What the keys go to instead of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// Whether to destroy a domain.
    Destroy(Target),
    /// Whether to forget the definition of the domain with this name.
    Delete(String),
    /// Whether to delete a saved machine.
    DeleteSaved(Machine),
    /// Where to save a domain to.
    SaveTo(Target, String),
}

/// A word about what happens or happened last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) is_error: bool,
    until: Option<Duration>,
}

/// The state of the dashboard.
pub(super) struct Model {
    /// The host, as its welcome names it.
    pub(super) title: String,
    pub(super) figures: Option<Figures>,
    pub(super) load: History,
    pub(super) memory: History,
    pub(super) view: View,
    /// Whether all keys are shown.
    pub(super) is_helping: bool,
    pub(super) prompt: Option<Prompt>,
    /// Whether the operator is asked before something is done that cannot be undone.
    pub(super) confirms: bool,
    /// Where domains were saved to before.
    pub(super) recall: Recall,
    pub(super) sort: Column,
    pub(super) is_reversed: bool,
    /// Why there are no samples now.
    pub(super) lost: Option<String>,
    /// What happened to domains, the newest last.
    pub(super) events: Vec<Event>,
    pub(super) journal: Journal,
    /// Time between two samples.
    pub(super) interval: Duration,
    word: Option<Word>,
    /// The sample that figures are compared with.
    last: Option<Stats>,
    sampled: Option<Duration>,
    histories: Histories,
    /// Managed domains that are off.
    off: Vec<DomainFigures>,
    /// The domain that was chosen last, and the one that is selected: another one while that is not there.
    chosen: Option<Uuid>,
    selected: Option<Uuid>,
    /// Where the selected domain was last.
    pub(super) place: usize,
    /// The name of a domain to select as soon as it is there.
    pub(super) awaited: Option<String>,
    now: Duration,
}

impl Model {
    pub(super) fn new(title: String, interval: Duration) -> Self {
        Self {
            title,
            figures: None,
            load: History::new(),
            memory: History::new(),
            view: View::Table,
            is_helping: false,
            prompt: None,
            confirms: true,
            recall: Recall::default(),
            sort: Column::Domid,
            is_reversed: false,
            lost: None,
            events: Vec::new(),
            journal: Journal::default(),
            interval,
            word: None,
            last: None,
            sampled: None,
            histories: Histories::default(),
            off: Vec::new(),
            chosen: None,
            selected: None,
            place: 0,
            awaited: None,
            now: Duration::ZERO,
        }
    }

    /// There is a connection: to another host, of which nothing is known, or to the same one again. What happened is told
    /// anew.
    pub(super) fn connect(&mut self, title: String, is_same: bool) {
        if !is_same {
            *self = Self {
                is_helping: self.is_helping,
                confirms: self.confirms,
                recall: std::mem::take(&mut self.recall),
                sort: self.sort,
                is_reversed: self.is_reversed,
                now: self.now,
                ..Self::new(title, self.interval)
            };
            self.say(Ok(format!("this is {}", self.title)));
        }
        self.events.clear();
        self.journal = Journal::default();
    }

    /// Time goes on; it is counted from the dashboard's start.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        let is_over = |word: &Word| word.until.is_some_and(|until| until <= now);
        if self.word.as_ref().is_some_and(is_over) {
            self.word = None;
        }
    }

    /// Takes in a sample.
    pub(super) fn sample(&mut self, stats: Stats) {
        let figures = Figures::between(self.last.as_ref(), stats.clone());
        self.sampled = Some(self.now);
        self.lost = None;
        if self.is_due(&stats) {
            push(&mut self.load, figures.load_percent());
            let memory = share(figures.used_kib(), figures.host.total_kib);
            push(&mut self.memory, Some(memory));
            self.histories.add(&figures);
            self.last = Some(stats);
        }
        self.figures = Some(figures);
        self.keep_selection();
    }

    /// Whether a sample is the next one of the histories: others come in between, when something happened.
    fn is_due(&self, stats: &Stats) -> bool {
        let Some(last) = &self.last else { return true };
        let passed = stats.host.time_ns.checked_sub(last.host.time_ns);
        let passed = passed.map(Duration::from_nanos);
        passed.is_none_or(|passed| passed >= self.interval * 3 / 4)
    }

    /// Takes in a list of all domains, for those that are off.
    pub(super) fn list(&mut self, domains: Vec<DomainSummary>) {
        let off = domains.into_iter().filter(|it| it.number().is_none());
        self.off = off.map(DomainFigures::off).collect();
        self.keep_selection();
    }

    /// Takes in what happened.
    pub(super) fn happened(&mut self, events: Vec<Event>) {
        self.events.extend(events);
        let too_many = self.events.len().saturating_sub(EVENTS);
        self.events.drain(..too_many);
    }

    /// Takes in more of a domain that is looked at in detail.
    pub(super) fn show(&mut self, shown: DomainDetail) {
        if let View::Detail(detail) = &mut self.view {
            detail.show(shown);
        }
    }

    /// Takes in what it used.
    pub(super) fn used(&mut self, used: DomainUsage) {
        if let View::Detail(detail) = &mut self.view {
            detail.used(used);
        }
    }

    /// Takes in what a view waits for.
    pub(super) fn images(&mut self, images: Vec<ImageSummary>) {
        if let View::Form(form) = &mut self.view {
            form.images(images);
        }
    }

    pub(super) fn saved(&mut self, machines: Vec<Machine>) {
        if let View::Saved(saved) = &mut self.view {
            saved.list(machines);
        }
    }

    pub(super) fn hosts(&mut self, hosts: Vec<KnownHost>) {
        if let View::Hosts(view) = &mut self.view {
            view.list(hosts);
        }
    }

    /// The domain that is looked at in detail.
    pub(super) fn watched(&self) -> Option<DomainRef> {
        match &self.view {
            View::Detail(detail) => Some(DomainRef::Name(detail.name.clone())),
            _ => None,
        }
    }

    /// There will be no samples for a while.
    pub(super) fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Says what came of something.
    pub(super) fn say(&mut self, outcome: Result<String, String>) {
        let is_error = outcome.is_err();
        if is_error {
            self.awaited = None;
        }
        self.word = Some(Word {
            text: outcome.unwrap_or_else(|text| text),
            is_error,
            until: (!is_error).then(|| self.now + SPOKEN),
        });
    }

    /// Says what is under way.
    pub(super) fn progress(&mut self, text: String) {
        self.word = Some(Word {
            text,
            is_error: false,
            until: None,
        });
    }

    pub(super) fn word(&self) -> Option<&Word> {
        self.word.as_ref()
    }

    /// How old the last sample is.
    pub(super) fn age(&self) -> Option<Duration> {
        Some(self.now.saturating_sub(self.sampled?))
    }

    /// Whether what is shown is older than it should be.
    pub(super) fn is_stale(&self) -> bool {
        let patience = self.interval * 2 + Duration::from_secs(1);
        self.lost.is_some() || self.age().is_some_and(|age| age > patience)
    }

    /// The domains in the order they are shown; those that are off come with the others.
    pub(super) fn rows(&self) -> Vec<&DomainFigures> {
        let Some(figures) = &self.figures else {
            return Vec::new();
        };
        let runs = |off: &DomainFigures| {
            let mut running = figures.domains.iter();
            running.any(|it| it.summary().uuid == off.summary().uuid)
        };
        let off = self.off.iter().filter(|off| !runs(off));
        let mut rows: Vec<&DomainFigures> = figures.domains.iter().chain(off).collect();
        rows.sort_by(|a, b| self.sort.order(a, b));
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    /// The domain with this UUID, if it is there.
    pub(super) fn domain(&self, uuid: &Uuid) -> Option<&DomainFigures> {
        let mut rows = self.rows().into_iter();
        rows.find(|domain| domain.summary().uuid == *uuid)
    }

    /// The domain that keys are about.
    pub(super) fn current(&self) -> Option<&DomainFigures> {
        match &self.view {
            View::Detail(detail) => self.domain(&detail.uuid),
            _ => self.domain(&self.selected?),
        }
    }

    pub(super) fn history(&self, uuid: &Uuid) -> Option<&History> {
        self.histories.cpu(uuid)
    }

    pub(super) fn memory_history(&self, uuid: &Uuid) -> Option<&History> {
        self.histories.memory(uuid)
    }

    /// The selected domain's place among the rows.
    pub(super) fn selected_row(&self) -> Option<usize> {
        let rows = self.rows();
        let mut uuids = rows.iter().map(|domain| domain.summary().uuid);
        uuids.position(|uuid| Some(uuid) == self.selected)
    }

    /// A domain that is gone leaves the selection to the one that took its place, until it is back: it may only have been
    /// rebooted, or be off now. One that is waited for takes the selection.
    pub(super) fn keep_selection(&mut self) {
        let rows = self.rows();
        let place_of = |uuid: Option<Uuid>| {
            let mut uuids = rows.iter().map(|row| Some(row.summary().uuid));
            uuids.position(|it| uuid.is_some() && it == uuid)
        };
        let mut names = rows.iter().map(|row| Some(row.summary().name.as_str()));
        let awaited = self.awaited.as_deref();
        let awaited = names.position(|name| awaited.is_some() && name == awaited);
        let place = place_of(self.chosen).or_else(|| place_of(self.selected));
        if let Some(place) = awaited {
            self.awaited = None;
            return self.select(place);
        }
        self.mark(place.unwrap_or(self.place));
    }

    /// The operator chooses the domain in this place.
    pub(super) fn select(&mut self, place: usize) {
        self.mark(place);
        self.chosen = self.selected;
    }

    fn mark(&mut self, place: usize) {
        let uuids: Vec<Uuid> = self.rows().iter().map(|it| it.summary().uuid).collect();
        self.place = place.min(uuids.len().saturating_sub(1));
        self.selected = uuids.get(self.place).copied();
    }
}

#[cfg(test)]
mod tests;
