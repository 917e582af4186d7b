// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dashboard's colours.
//!
//! They are those of Okabe and Ito that keep apart for every kind of colour blindness, in the shades of the 256 colours
//! that can be read on a dark and on a bright ground. What they say is said in words, marks or places too.

use mgmt_proto::messages::DomainState;
use ratatui::style::{Color, Modifier, Style};

pub(super) const BLUE: Color = Color::Indexed(32);
pub(super) const GREEN: Color = Color::Indexed(36);
pub(super) const ORANGE: Color = Color::Indexed(172);
pub(super) const VERMILLION: Color = Color::Indexed(166);
pub(super) const PURPLE: Color = Color::Indexed(175);

/// Whether there are colours.
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

    /// Shares of CPUs over time.
    pub(super) fn cpu(self) -> Style {
        self.colour(BLUE)
    }

    /// Memory over time.
    pub(super) fn memory(self) -> Style {
        self.colour(PURPLE)
    }

    /// What is not news: keys, headings.
    pub(super) fn quiet(self) -> Style {
        self.colour(BLUE)
    }

    /// The first line of a table or a part.
    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    /// What is as it should be.
    pub(super) fn good(self) -> Style {
        self.colour(GREEN)
    }

    /// What is not.
    pub(super) fn alarm(self) -> Style {
        self.colour(VERMILLION).add_modifier(Modifier::BOLD)
    }

    pub(super) fn state(self, state: DomainState) -> Style {
        match state {
            DomainState::RUNNING => self.good(),
            DomainState::PAUSED => self.colour(ORANGE),
            DomainState::CRASHED => self.alarm(),
            _ => Style::new(),
        }
    }
}

/// What stands out.
pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// What the next key is about.
pub(super) fn chosen() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}
