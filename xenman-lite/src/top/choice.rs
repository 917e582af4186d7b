// SPDX-License-Identifier: MIT OR Apache-2.0
//! A list to choose from, which comes later than its view.

use crossterm::event::KeyCode;

/// The list, if it is there, and the place of what is chosen.
#[derive(Debug)]
pub(super) struct Choice<T> {
    items: Option<Vec<T>>,
    place: usize,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self {
            items: None,
            place: 0,
        }
    }
}

impl<T> Choice<T> {
    /// Takes in what there is.
    pub(super) fn list(&mut self, items: Vec<T>) {
        self.place = self.place.min(items.len().saturating_sub(1));
        self.items = Some(items);
    }

    pub(super) fn items(&self) -> Option<&[T]> {
        self.items.as_deref()
    }

    pub(super) fn chosen(&self) -> Option<&T> {
        self.items.as_ref()?.get(self.place)
    }

    pub(super) fn place(&self) -> Option<usize> {
        self.chosen().map(|_| self.place)
    }

    /// Chooses the one so many places further on, the first after the last.
    pub(super) fn turn(&mut self, by: isize) {
        let count = self.items.as_ref().map_or(0, Vec::len);
        let place = self.place.saturating_add(count).saturating_add_signed(by);
        self.place = place.checked_rem(count).unwrap_or(0);
    }

    /// Whether a key moves within the list; then it has.
    pub(super) fn step(&mut self, key: KeyCode) -> bool {
        let last = self
            .items()
            .map_or(0, |items| items.len().saturating_sub(1));
        self.place = match key {
            KeyCode::Up | KeyCode::Char('k') => self.place.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.place.saturating_add(1).min(last),
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => return false,
        };
        true
    }
}
