// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operator's terminal as a screen to draw on: itself again afterwards, whatever happens.

use super::{model::Model, palette::Palette, view};
use crate::{output::is_screen, problem::Problem};
use crossterm::{
    cursor::Show,
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::{Terminal, backend::CrosstermBackend};
use std::{
    io::{self, Stdout, stdout},
    sync::Once,
};

/// The screen. Dropping it gives the terminal back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    palette: Palette,
}

fn failed(error: io::Error) -> Problem {
    Problem::new(format!("cannot use the terminal: {error}"))
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn enter() -> Result<Self, Problem> {
        restore_on_panic();
        // From here on it is given back, even if the rest fails.
        let terminal = Terminal::new(CrosstermBackend::new(stdout())).map_err(failed)?;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let screen = Self {
            terminal,
            palette: Palette {
                colours: !no_colour,
            },
        };
        enable_raw_mode().map_err(failed)?;
        execute!(stdout(), EnterAlternateScreen).map_err(failed)?;
        is_screen(true);
        Ok(screen)
    }

    pub(super) fn draw(&mut self, model: &Model) -> Result<(), Problem> {
        let palette = self.palette;
        let drawn = self
            .terminal
            .draw(|frame| view::draw(frame, model, palette));
        drawn.map(drop).map_err(failed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    is_screen(false);
    // A terminal that is gone needs no restoring.
    drop(disable_raw_mode());
    drop(execute!(stdout(), LeaveAlternateScreen, Show));
}

/// A panic ends the process without unwinding: the terminal is restored before.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            usual(info);
        }));
    });
}
