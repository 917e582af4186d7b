// SPDX-License-Identifier: MIT OR Apache-2.0
//! A form for a new domain: made from an image of the host's store. What is wrong is said while it is typed, by those who
//! read configurations.

use super::{
    action::Wish,
    choice::Choice,
    model::Model,
    palette::{Palette, bold, chosen},
};
use crate::{
    create,
    images::check_domain_name,
    output::{harmless, size},
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mgmt_proto::{
    config::MAX_VCPUS,
    messages::{ImageSummary, MAX_NAME},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

pub(super) const KEYS: [&str; 2] = [
    "Enter adds the domain  Esc back",
    "Tab ↓ next field  Shift-Tab ↑ field before  ← → Space choose  Ctrl-U clear",
];

const NO_IMAGE: &str = "There is no image in the host's store to make a domain from. On a command line,\n\n    \
                        xenman image add NAME --kernel FILE --initrd FILE\n\nadds one; 'xenman create FILE' makes a domain without an image.";

/// Digits of a number.
const DIGITS: usize = 8;

/// A line of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Image,
    Name,
    Memory,
    Vcpus,
    Managed,
    Started,
}

const FIELDS: [(Field, &str); 6] = [
    (Field::Image, "Image"),
    (Field::Name, "Name"),
    (Field::Memory, "Memory"),
    (Field::Vcpus, "vCPUs"),
    (Field::Managed, "Managed"),
    (Field::Started, "Start now"),
];

/// What is known of the host that a new domain has to fit.
pub(super) struct Facts {
    pub(super) names: Vec<String>,
    pub(super) free_kib: u64,
}

/// The view.
#[derive(Debug)]
pub(super) struct Form {
    images: Choice<ImageSummary>,
    name: String,
    memory: String,
    vcpus: String,
    is_managed: bool,
    is_started: bool,
    at: usize,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            images: Choice::default(),
            name: String::new(),
            memory: "256".to_owned(),
            vcpus: "1".to_owned(),
            is_managed: true,
            is_started: true,
            at: 0,
        }
    }
}

impl Model {
    /// What a new domain has to fit.
    pub(super) fn facts(&self) -> Facts {
        let figures = self.figures.as_ref();
        let rows = self.rows();
        Facts {
            names: rows.iter().map(|it| it.summary().name.clone()).collect(),
            free_kib: figures.map_or(0, |figures| figures.host.free_kib),
        }
    }
}

impl Form {
    /// Takes in what domains can be made from.
    pub(super) fn images(&mut self, images: Vec<ImageSummary>) {
        self.images.list(images);
    }

    fn field(&self) -> Field {
        FIELDS
            .get(self.at)
            .map_or(Field::Image, |(field, _)| *field)
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Tab | KeyCode::Down => self.go(1),
            KeyCode::BackTab | KeyCode::Up => self.go(FIELDS.len() - 1),
            KeyCode::Left => self.turn(-1),
            KeyCode::Right => self.turn(1),
            KeyCode::Char('u') if is_control => drop(self.text().map(String::clear)),
            KeyCode::Char(_) if is_control => {}
            KeyCode::Char(letter) => self.typed(letter),
            KeyCode::Backspace => drop(self.text().and_then(String::pop)),
            _ => {}
        }
    }

    fn go(&mut self, by: usize) {
        self.at = (self.at + by) % FIELDS.len();
    }

    /// Another one of what can be chosen from.
    fn turn(&mut self, by: isize) {
        match self.field() {
            Field::Image => self.images.turn(by),
            Field::Managed => self.is_managed = !self.is_managed,
            Field::Started => self.is_started = !self.is_started,
            Field::Name | Field::Memory | Field::Vcpus => {}
        }
    }

    fn typed(&mut self, letter: char) {
        match self.field() {
            Field::Image | Field::Managed | Field::Started if letter == ' ' => self.turn(1),
            Field::Name if !letter.is_control() && self.name.len() <= MAX_NAME => {
                self.name.push(letter);
            }
            Field::Memory | Field::Vcpus if letter.is_ascii_digit() => {
                let number = self.text().filter(|number| number.len() < DIGITS);
                number.into_iter().for_each(|number| number.push(letter));
            }
            _ => {}
        }
    }

    fn text(&mut self) -> Option<&mut String> {
        match self.field() {
            Field::Name => Some(&mut self.name),
            Field::Memory => Some(&mut self.memory),
            Field::Vcpus => Some(&mut self.vcpus),
            Field::Image | Field::Managed | Field::Started => None,
        }
    }

    /// The domain that is wanted, or what is wrong first.
    pub(super) fn wish(&self, facts: &Facts) -> Result<Wish, String> {
        for (field, _) in FIELDS {
            self.remark(field, facts)?;
        }
        let number = |text: &str| text.parse().map_err(|_| format!("'{text}' is no number"));
        let image = self.images.chosen().ok_or("there is no image")?;
        Ok(Wish {
            image: image.name.clone(),
            name: self.name.clone(),
            memory_mib: number(&self.memory)?,
            vcpus: number(&self.vcpus)?,
            is_managed: self.is_managed,
            is_started: self.is_started,
        })
    }

    /// What is to be said beside a field: an error, if it cannot stay as it is.
    fn remark(&self, field: Field, facts: &Facts) -> Result<String, String> {
        match field {
            Field::Image => self.image_remark(),
            Field::Name => self.name_remark(facts),
            Field::Memory => self.memory_remark(facts),
            Field::Vcpus => {
                create::check_number("vcpus", &self.vcpus).map(|()| format!("1 to {MAX_VCPUS}"))
            }
            Field::Managed if self.is_managed => Ok("the host keeps its configuration".to_owned()),
            Field::Managed => Ok("it ends when it is shut down".to_owned()),
            Field::Started if self.is_started => Ok("it runs at once".to_owned()),
            Field::Started if self.is_managed => Ok("it is off until it is started".to_owned()),
            Field::Started => Ok("it is created, and paused".to_owned()),
        }
    }

    fn image_remark(&self) -> Result<String, String> {
        match (self.images.items(), self.images.chosen()) {
            (None, _) => Err("the host has not said yet which".to_owned()),
            (_, None) => {
                Err("the host's store has no image: 'xenman image add' adds one".to_owned())
            }
            (_, Some(image)) => {
                let roles: Vec<&str> = image.roles.iter().map(|role| role.name()).collect();
                let length = size(image.length.div_ceil(1024));
                Ok(format!("{}, {length}", roles.join(" and ")))
            }
        }
    }

    fn name_remark(&self, facts: &Facts) -> Result<String, String> {
        check_domain_name(&self.name)?;
        if facts.names.contains(&self.name) {
            return Err(format!("there is a '{}' already", self.name));
        }
        Ok("no domain has this name yet".to_owned())
    }

    fn memory_remark(&self, facts: &Facts) -> Result<String, String> {
        create::check_number("memory", &self.memory)?;
        let free = size(facts.free_kib);
        let wanted: u64 = self.memory.parse().unwrap_or(u64::MAX);
        let fits = wanted.saturating_mul(1024) <= facts.free_kib;
        match (fits, self.is_managed && !self.is_started) {
            (true, _) => Ok(format!("MiB; {free} are free")),
            (false, true) => Ok(format!("MiB; more than the {free} that are free now")),
            (false, false) => Err(format!("MiB; only {free} are free")),
        }
    }

    fn value(&self, field: Field) -> String {
        let switch = |is_on: bool| if is_on { "[x] yes" } else { "[ ] no" }.to_owned();
        match field {
            Field::Image => self.images.chosen().map_or_else(
                || "-".to_owned(),
                |image| format!("‹ {} ›", harmless(&image.name)),
            ),
            Field::Name => self.name.clone(),
            Field::Memory => self.memory.clone(),
            Field::Vcpus => self.vcpus.clone(),
            Field::Managed => switch(self.is_managed),
            Field::Started => switch(self.is_started),
        }
    }
}

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    form: &Form,
    model: &Model,
    palette: Palette,
) {
    let mut lines = vec![Line::styled("A new domain", bold()), Line::default()];
    if form.images.items().is_some_and(<[_]>::is_empty) {
        lines.extend(NO_IMAGE.lines().map(Line::raw));
    } else {
        let facts = model.facts();
        let drawn = FIELDS.iter().enumerate();
        lines.extend(drawn.map(|(place, (field, label))| {
            let is_here = place == form.at;
            field_line(form, (*field, label, is_here), &facts, palette)
        }));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

fn field_line(
    form: &Form,
    (field, label, is_here): (Field, &str, bool),
    facts: &Facts,
    palette: Palette,
) -> Line<'static> {
    let mark = if is_here { '▶' } else { ' ' };
    let value = format!(" {:<24} ", form.value(field));
    let value = if is_here {
        Span::styled(value, chosen())
    } else {
        Span::raw(value)
    };
    let remark = match form.remark(field, facts) {
        Ok(text) => Span::styled(format!("  ✓ {}", harmless(&text)), palette.good()),
        Err(text) => Span::styled(format!("  ✗ {}", harmless(&text)), palette.alarm()),
    };
    Line::from(vec![
        Span::raw(format!("{mark} {label:<10}")),
        value,
        remark,
    ])
}

#[cfg(test)]
mod tests;
