// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the dashboard knows and shows: samples and keys in, actions out. No terminal, no clock, no host.

use super::{
    columns::Column,
    figures::{DomainFigures, Figures},
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mgmt_proto::messages::{DomainKind, DomainState, Stats};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// Samples that a history holds.
pub(super) const HISTORY: usize = 240;

/// How long a word that something was done stays.
const SPOKEN: Duration = Duration::from_secs(8);

/// A domain over its reboots, which change its number.
pub(super) type Uuid = [u8; 16];

/// Shares in percent, the newest last.
pub(super) type History = VecDeque<f64>;

/// What the operator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Attach to the console of the domain with this name.
    Console(String),
    Pause(Target),
    Unpause(Target),
    Reboot(Target),
    Shutdown(Target),
    Destroy(Target),
    /// Save into this file, or `store:LABEL`.
    Save(Target, String),
    Quit,
}

/// A domain to do something to. The number is meant: another domain may have the name by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) domid: u16,
    pub(super) name: String,
}

/// What the keys go to instead of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// Whether to destroy a domain.
    Destroy(Target),
    /// Where to save a domain to.
    SaveTo(Target, String),
}

/// A word about what happened last.
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
    pub(super) prompt: Option<Prompt>,
    pub(super) sort: Column,
    pub(super) is_reversed: bool,
    /// Why there are no samples now.
    pub(super) lost: Option<String>,
    word: Option<Word>,
    last: Option<Stats>,
    sampled: Option<Duration>,
    interval: Duration,
    histories: HashMap<Uuid, History>,
    selected: Option<Uuid>,
    /// Where the selected domain was last.
    place: usize,
    now: Duration,
}

impl Model {
    pub(super) fn new(title: String, interval: Duration) -> Self {
        Self {
            title,
            figures: None,
            load: History::new(),
            memory: History::new(),
            prompt: None,
            sort: Column::Domid,
            is_reversed: false,
            lost: None,
            word: None,
            last: None,
            sampled: None,
            interval,
            histories: HashMap::new(),
            selected: None,
            place: 0,
            now: Duration::ZERO,
        }
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
        self.last = Some(stats);
        self.sampled = Some(self.now);
        self.lost = None;
        push(&mut self.load, figures.load_percent());
        let memory = super::figures::share(figures.used_kib(), figures.host.total_kib);
        push(&mut self.memory, Some(memory));
        let is_there = |uuid: &Uuid| {
            let mut domains = figures.domains.iter();
            domains.any(|domain| domain.summary().uuid == *uuid)
        };
        self.histories.retain(|uuid, _| is_there(uuid));
        for domain in &figures.domains {
            let history = self.histories.entry(domain.summary().uuid).or_default();
            push(history, domain.cpu_percent);
        }
        self.figures = Some(figures);
        self.keep_selection();
    }

    /// There will be no samples for a while.
    pub(super) fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Says what came of something.
    pub(super) fn say(&mut self, outcome: Result<String, String>) {
        let is_error = outcome.is_err();
        self.word = Some(Word {
            text: outcome.unwrap_or_else(|text| text),
            is_error,
            until: (!is_error).then(|| self.now + SPOKEN),
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

    /// The domains in the order they are shown.
    pub(super) fn rows(&self) -> Vec<&DomainFigures> {
        let Some(figures) = &self.figures else {
            return Vec::new();
        };
        let mut rows: Vec<&DomainFigures> = figures.domains.iter().collect();
        rows.sort_by(|a, b| self.sort.order(a, b));
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    pub(super) fn history(&self, domain: &DomainFigures) -> Option<&History> {
        self.histories.get(&domain.summary().uuid)
    }

    /// The selected domain's place among the rows.
    pub(super) fn selected_row(&self) -> Option<usize> {
        let rows = self.rows();
        let mut uuids = rows.iter().map(|domain| domain.summary().uuid);
        uuids.position(|uuid| Some(uuid) == self.selected)
    }

    /// A domain that is gone leaves the selection to the one that took its place.
    fn keep_selection(&mut self) {
        match self.selected_row() {
            Some(place) => self.place = place,
            None => self.select(self.place),
        }
    }

    fn select(&mut self, place: usize) {
        let uuids: Vec<Uuid> = self.rows().iter().map(|it| it.summary().uuid).collect();
        self.place = place.min(uuids.len().saturating_sub(1));
        self.selected = uuids.get(self.place).copied();
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Some(Action::Quit);
        }
        match self.prompt.take() {
            Some(Prompt::Destroy(target)) => self.confirmed(target, key),
            Some(Prompt::SaveTo(target, file)) => self.edited(target, file, key),
            None if is_control => None,
            None => self.table_key(key.code),
        }
    }

    fn confirmed(&mut self, target: Target, key: KeyEvent) -> Option<Action> {
        if matches!(key.code, KeyCode::Char('y' | 'Y')) {
            return Some(Action::Destroy(target));
        }
        self.say(Ok(format!("'{}' is left alone", target.name)));
        None
    }

    fn edited(&mut self, target: Target, mut file: String, key: KeyEvent) -> Option<Action> {
        match key.code {
            KeyCode::Esc => {
                self.say(Ok(format!("'{}' is not saved", target.name)));
                return None;
            }
            KeyCode::Enter if !file.is_empty() => return Some(Action::Save(target, file)),
            KeyCode::Backspace => drop(file.pop()),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => file.clear(),
            KeyCode::Char(letter) if !letter.is_control() => file.push(letter),
            _ => {}
        }
        self.prompt = Some(Prompt::SaveTo(target, file));
        None
    }

    fn table_key(&mut self, key: KeyCode) -> Option<Action> {
        match key {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.place.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.place + 1),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Left | KeyCode::Char('<') => self.sort_by(self.sort.before()),
            KeyCode::Right | KeyCode::Char('>') => self.sort_by(self.sort.after()),
            KeyCode::Char('R') => {
                self.is_reversed = !self.is_reversed;
                self.keep_selection();
            }
            KeyCode::Enter => return self.domain_key('c'),
            KeyCode::Char(letter @ ('c' | 'p' | 'b' | 's' | 'd' | 'v')) => {
                return self.domain_key(letter);
            }
            _ => {}
        }
        None
    }

    fn sort_by(&mut self, column: Column) {
        self.sort = column;
        self.is_reversed = false;
        self.keep_selection();
    }

    /// A key that is about the selected domain.
    fn domain_key(&mut self, key: char) -> Option<Action> {
        let rows = self.rows();
        let summary = rows.get(self.selected_row()?)?.summary();
        let target = Target {
            domid: summary.domid,
            name: summary.name.clone(),
        };
        if summary.kind == DomainKind::CONTROL {
            self.say(Err("Domain-0 is xend itself and is left alone".to_owned()));
            return None;
        }
        let is_paused = summary.state == DomainState::PAUSED;
        match key {
            'c' => return Some(Action::Console(target.name)),
            'p' if is_paused => return Some(Action::Unpause(target)),
            'p' => return Some(Action::Pause(target)),
            'b' => return Some(Action::Reboot(target)),
            's' => return Some(Action::Shutdown(target)),
            'd' => self.prompt = Some(Prompt::Destroy(target)),
            'v' => {
                let file = format!("{}.save", target.name);
                self.prompt = Some(Prompt::SaveTo(target, file));
            }
            _ => {}
        }
        None
    }
}

fn push(history: &mut History, value: Option<f64>) {
    if history.len() >= HISTORY {
        history.pop_front();
    }
    history.extend(value);
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    fn model() -> Model {
        let mut model = Model::new("fake (aarch64)".to_owned(), Duration::from_secs(1));
        model.sample(samples::stats(
            10,
            &[("Domain-0", 0, 0), ("web", 1, 0), ("db", 2, 0)],
        ));
        model.sample(samples::stats(
            11,
            &[("Domain-0", 0, 5), ("web", 1, 100), ("db", 2, 900)],
        ));
        model
    }

    fn press(model: &mut Model, keys: &str) -> Option<Action> {
        let mut last = None;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\x08' => KeyCode::Backspace,
                other => KeyCode::Char(other),
            };
            last = model.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        last
    }

    fn control(model: &mut Model, key: char) -> Option<Action> {
        model.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL))
    }

    fn names(model: &Model) -> Vec<&str> {
        model
            .rows()
            .iter()
            .map(|row| row.summary().name.as_str())
            .collect()
    }

    fn target(domid: u16, name: &str) -> Target {
        Target {
            domid,
            name: name.to_owned(),
        }
    }

    #[test]
    fn every_column_can_be_sorted_by() {
        let mut model = model();
        assert_eq!(
            names(&model),
            ["Domain-0", "web", "db"],
            "by number at first"
        );
        while model.sort != Column::Cpu {
            press(&mut model, ">");
        }
        assert_eq!(
            names(&model),
            ["db", "web", "Domain-0"],
            "the busiest first"
        );
        press(&mut model, "R");
        assert_eq!(names(&model), ["Domain-0", "web", "db"]);
        while model.sort != Column::Name {
            press(&mut model, "<");
        }
        assert_eq!(
            names(&model),
            ["db", "Domain-0", "web"],
            "letters, large or small"
        );
    }

    #[test]
    fn the_selection_stays_with_its_domain() {
        let mut model = model();
        press(&mut model, "j");
        assert_eq!(
            press(&mut model, "c"),
            Some(Action::Console("web".to_owned()))
        );
        // It reboots: another number, the same UUID.
        model.sample(samples::stats(
            12,
            &[("Domain-0", 0, 5), ("db", 2, 900), ("web", 7, 0)],
        ));
        assert_eq!(
            press(&mut model, "p"),
            Some(Action::Pause(target(7, "web")))
        );
        // It goes: the last one is selected in its place.
        model.sample(samples::stats(13, &[("Domain-0", 0, 5), ("db", 2, 900)]));
        assert_eq!(press(&mut model, "p"), Some(Action::Pause(target(2, "db"))));
        model.sample(samples::stats(14, &[("Domain-0", 0, 5)]));
        assert_eq!(model.selected_row(), Some(0));
        assert_eq!(press(&mut model, "kkkjjj"), None);
    }

    #[test]
    fn keys_become_actions() {
        let mut model = model();
        press(&mut model, "j");
        let web = target(1, "web");
        for (key, action) in [
            ("\n", Action::Console("web".to_owned())),
            ("p", Action::Pause(web.clone())),
            ("b", Action::Reboot(web.clone())),
            ("s", Action::Shutdown(web.clone())),
            ("q", Action::Quit),
        ] {
            assert_eq!(press(&mut model, key), Some(action));
        }
        let mut paused = samples::stats(12, &[("Domain-0", 0, 5), ("web", 1, 100)]);
        paused.domains[1].summary.state = DomainState::PAUSED;
        model.sample(paused);
        assert_eq!(press(&mut model, "p"), Some(Action::Unpause(web)));
        assert_eq!(control(&mut model, 'c'), Some(Action::Quit));
        assert_eq!(control(&mut model, 'p'), None);
    }

    #[test]
    fn domain_0_is_left_alone() {
        let mut model = model();
        for key in ["c", "p", "b", "s", "d", "v"] {
            assert_eq!(press(&mut model, key), None);
            assert!(model.word().is_some_and(|word| word.is_error));
            assert_eq!(model.prompt, None);
        }
    }

    #[test]
    fn destroy_is_confirmed() {
        let mut model = model();
        press(&mut model, "j");
        assert_eq!(press(&mut model, "d"), None);
        assert_eq!(model.prompt, Some(Prompt::Destroy(target(1, "web"))));
        assert_eq!(press(&mut model, "n"), None);
        assert_eq!(model.prompt, None);
        assert_eq!(press(&mut model, "y"), None, "it is too late for that");
        assert_eq!(
            press(&mut model, "dy"),
            Some(Action::Destroy(target(1, "web")))
        );
    }

    #[test]
    fn a_file_is_asked_for_with_a_default() {
        let mut model = model();
        press(&mut model, "j");
        let save = |file: &str| Some(Action::Save(target(1, "web"), file.to_owned()));
        assert_eq!(press(&mut model, "v\n"), save("web.save"));
        assert_eq!(press(&mut model, "v\x08\x08\x08\x08old\n"), save("web.old"));
        press(&mut model, "v");
        control(&mut model, 'u');
        assert_eq!(press(&mut model, "\n"), None, "no name is no name");
        assert_eq!(press(&mut model, "q\n"), save("q"), "q is a letter here");
        assert_eq!(press(&mut model, "v\x1b"), None);
        assert_eq!(model.prompt, None);
    }

    #[test]
    fn an_old_sample_is_stale() {
        let mut model = model();
        assert_eq!(
            (model.age(), model.is_stale()),
            (Some(Duration::ZERO), false)
        );
        model.tick(Duration::from_secs(4));
        assert!(model.is_stale());
        model.lose("cannot reach xend".to_owned());
        model.sample(samples::stats(20, &[("Domain-0", 0, 5)]));
        assert_eq!((model.is_stale(), model.lost.as_deref()), (false, None));
    }

    #[test]
    fn good_news_passes_and_bad_news_stays() {
        let mut model = model();
        model.say(Ok("done".to_owned()));
        model.tick(SPOKEN);
        assert_eq!(model.word(), None);
        model.say(Err("refused".to_owned()));
        model.tick(SPOKEN * 3);
        assert_eq!(model.word().map(|word| word.text.as_str()), Some("refused"));
    }

    #[test]
    fn histories_are_bounded_and_end_with_their_domains() {
        let mut model = model();
        for second in 0..HISTORY as u64 + 20 {
            let busy = 900 + second * 500;
            model.sample(samples::stats(12 + second, &[("db", 2, busy)]));
        }
        assert_eq!(model.histories.len(), 1);
        assert_eq!(model.load.len(), HISTORY);
        let rows = model.rows();
        let history = model.history(rows[0]).expect("it is there");
        assert_eq!((history.len(), history.back()), (HISTORY, Some(&50.0)));
    }
}
