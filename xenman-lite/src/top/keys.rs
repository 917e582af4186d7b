// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keys do.

use super::{
    action::{Action, Target, Wanted},
    detail::Detail,
    form::Form,
    help,
    hosts::Hosts,
    model::{Model, Prompt, View},
    saved::Saved,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mgmt_proto::messages::{DomainFlags, DomainKind, DomainState, DomainSummary};

impl Model {
    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Some(Action::Quit);
        }
        if let Some(prompt) = self.prompt.take() {
            return self.answered(prompt, key);
        }
        if let View::Form(_) = self.view {
            return self.form_key(key);
        }
        if is_control {
            return None;
        }
        match key.code {
            _ if self.is_helping => {
                self.is_helping = !help::closes(key.code);
                None
            }
            KeyCode::Char('q') => Some(Action::Quit),
            KeyCode::Char('?') => {
                self.is_helping = true;
                None
            }
            code => self.view_key(code),
        }
    }

    /// Asks the operator, unless they do not want to be asked.
    fn ask(&mut self, prompt: Prompt) -> Option<Action> {
        if self.confirms || matches!(prompt, Prompt::SaveTo(..)) {
            self.prompt = Some(prompt);
            return None;
        }
        Some(agreed(prompt))
    }

    fn answered(&mut self, prompt: Prompt, key: KeyEvent) -> Option<Action> {
        if let Prompt::SaveTo(target, file) = prompt {
            return self.edited(target, file, key);
        }
        if matches!(key.code, KeyCode::Char('y' | 'Y')) {
            return Some(agreed(prompt));
        }
        self.say(Ok(format!("'{}' is left alone", prompt.about())));
        None
    }

    fn edited(&mut self, target: Target, mut file: String, key: KeyEvent) -> Option<Action> {
        match key.code {
            KeyCode::Esc => {
                self.recall.end(None);
                self.say(Ok(format!("'{}' is not saved", target.name)));
                return None;
            }
            KeyCode::Enter if !file.is_empty() => {
                self.recall.end(Some(&file));
                return Some(Action::Save(target, file));
            }
            KeyCode::Up => file = self.recall.older(file),
            KeyCode::Down => file = self.recall.newer(file),
            KeyCode::Backspace => drop(file.pop()),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => file.clear(),
            KeyCode::Char(letter) if !letter.is_control() => file.push(letter),
            _ => {}
        }
        self.prompt = Some(Prompt::SaveTo(target, file));
        None
    }

    fn form_key(&mut self, key: KeyEvent) -> Option<Action> {
        let facts = self.facts();
        let View::Form(form) = &mut self.view else {
            return None;
        };
        match (key.code, form.wish(&facts)) {
            (KeyCode::Esc, _) => self.view = View::Table,
            (KeyCode::Enter, Ok(wish)) => {
                self.view = View::Table;
                self.awaited = Some(wish.name.clone());
                self.progress(format!("adding '{}'", wish.name));
                return Some(Action::Add(wish));
            }
            (KeyCode::Enter, Err(why)) => self.say(Err(why)),
            _ => form.key(key),
        }
        None
    }

    fn view_key(&mut self, key: KeyCode) -> Option<Action> {
        if key == KeyCode::Esc {
            self.view = View::Table;
            return None;
        }
        match &self.view {
            View::Table => self.table_key(key),
            View::Detail(_) => self.detail_key(key),
            View::Saved(_) => self.saved_key(key),
            View::Hosts(_) => self.hosts_key(key),
            View::Form(_) => None,
        }
    }

    fn table_key(&mut self, key: KeyCode) -> Option<Action> {
        match key {
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
            KeyCode::Enter | KeyCode::Char('i') => self.look_closer(),
            KeyCode::Char('a') => {
                self.view = View::Form(Form::default());
                return Some(Action::Fetch(Wanted::Images));
            }
            KeyCode::Char('m') => {
                self.view = View::Saved(Saved::default());
                return Some(Action::Fetch(Wanted::Saved));
            }
            KeyCode::Char('h') => {
                self.view = View::Hosts(Hosts::default());
                return Some(Action::Fetch(Wanted::Hosts));
            }
            KeyCode::Char(letter) => return self.domain_key(letter),
            _ => {}
        }
        None
    }

    fn sort_by(&mut self, column: super::columns::Column) {
        self.sort = column;
        self.is_reversed = false;
        self.keep_selection();
    }

    fn look_closer(&mut self) {
        if let Some(domain) = self.current() {
            self.view = View::Detail(Box::new(Detail::new(domain.summary())));
        }
    }

    fn detail_key(&mut self, key: KeyCode) -> Option<Action> {
        let height = match &self.view {
            View::Detail(detail) => detail.lines(self).len(),
            _ => 0,
        };
        if let View::Detail(detail) = &mut self.view
            && detail.scroll(key, height)
        {
            return None;
        }
        match key {
            KeyCode::Char(letter) => self.domain_key(letter),
            _ => None,
        }
    }

    fn saved_key(&mut self, key: KeyCode) -> Option<Action> {
        let View::Saved(saved) = &mut self.view else {
            return None;
        };
        if saved.step(key) {
            return None;
        }
        let machine = saved.chosen()?.clone();
        match key {
            KeyCode::Char('x') => return self.ask(Prompt::DeleteSaved(machine)),
            KeyCode::Enter => {}
            _ => return None,
        }
        let Some((name, uuid)) = machine.domain.clone() else {
            self.say(Err(format!("'{}' is damaged", machine.label)));
            return None;
        };
        if self.runs(&uuid, &name) {
            self.say(Err(format!(
                "'{name}' is there and cannot be restored beside itself: Esc, and shut it down (s) or destroy it (d) first"
            )));
            return None;
        }
        self.view = View::Table;
        self.awaited = Some(name);
        self.progress(format!("restoring '{}'", machine.label));
        Some(Action::Restore(machine))
    }

    /// Whether a domain exists that has this UUID, or this name.
    fn runs(&self, uuid: &[u8; 16], name: &str) -> bool {
        let rows = self.rows();
        let mut summaries = rows.iter().map(|row| row.summary());
        summaries.any(|it| it.number().is_some() && (it.uuid == *uuid || it.name == name))
    }

    fn hosts_key(&mut self, key: KeyCode) -> Option<Action> {
        let View::Hosts(hosts) = &mut self.view else {
            return None;
        };
        if hosts.step(key) || key != KeyCode::Enter {
            return None;
        }
        let host = hosts.chosen()?.clone();
        self.view = View::Table;
        self.progress(format!("connecting to {}", host.name));
        Some(Action::Switch(host))
    }

    /// A key that is about the current domain.
    fn domain_key(&mut self, key: char) -> Option<Action> {
        if !"cspbdvx".contains(key) {
            return None;
        }
        let summary = self.current()?.summary().clone();
        let decided = decide(key, &summary);
        match decided {
            Ok(Decided::Do(action)) => Some(action),
            Ok(Decided::Ask(prompt)) => self.ask(prompt),
            Err(why) => {
                self.say(Err(why));
                None
            }
        }
    }
}

impl Prompt {
    /// The name of what it is about.
    fn about(&self) -> &str {
        match self {
            Self::Destroy(target) | Self::SaveTo(target, _) => &target.name,
            Self::Delete(name) => name,
            Self::DeleteSaved(machine) => &machine.label,
        }
    }
}

/// What was asked about.
fn agreed(prompt: Prompt) -> Action {
    match prompt {
        Prompt::Destroy(target) => Action::Destroy(target),
        Prompt::Delete(name) => Action::Delete(name),
        Prompt::DeleteSaved(machine) => Action::DeleteSaved(machine),
        Prompt::SaveTo(target, file) => Action::Save(target, file),
    }
}

/// What a key about a domain leads to.
enum Decided {
    Do(Action),
    Ask(Prompt),
}

fn decide(key: char, summary: &DomainSummary) -> Result<Decided, String> {
    if summary.kind == DomainKind::CONTROL {
        return Err("Domain-0 is xend itself and is left alone".to_owned());
    }
    let name = summary.name.clone();
    let Some(domid) = summary.number() else {
        return decide_off(key, summary);
    };
    let is_paused = summary.state == DomainState::PAUSED;
    let target = Target { domid, name };
    Ok(Decided::Do(match key {
        'c' => Action::Console(target.name),
        'p' if is_paused => Action::Unpause(target),
        'p' => Action::Pause(target),
        'b' => Action::Reboot(target),
        's' => Action::Shutdown(target),
        'd' => return Ok(Decided::Ask(Prompt::Destroy(target))),
        'x' => return Err(cannot_delete(summary)),
        _ => {
            let file = format!("{}.save", target.name);
            return Ok(Decided::Ask(Prompt::SaveTo(target, file)));
        }
    }))
}

/// The same for a domain that is defined alone, or waits to be started again.
fn decide_off(key: char, summary: &DomainSummary) -> Result<Decided, String> {
    let name = summary.name.clone();
    let is_waiting = summary.flags.contains(DomainFlags::WAITING);
    match key {
        'c' => Ok(Decided::Do(Action::Console(name))),
        'd' if is_waiting => Ok(Decided::Ask(Prompt::Destroy(Target {
            domid: summary.domid,
            name,
        }))),
        _ if is_waiting => Err(format!("'{name}' waits to be started again: d ends that")),
        's' => Ok(Decided::Do(Action::Start(name))),
        'x' => Ok(Decided::Ask(Prompt::Delete(name))),
        _ => Err(format!("'{name}' is off: s starts it")),
    }
}

fn cannot_delete(summary: &DomainSummary) -> String {
    let name = &summary.name;
    if summary.flags.contains(DomainFlags::MANAGED) {
        format!("'{name}' is not off: shut it down (s) or destroy it (d) first, then delete it")
    } else {
        format!(
            "'{name}' has no definition to delete: it ends when it is shut down (s) or destroyed (d)"
        )
    }
}
