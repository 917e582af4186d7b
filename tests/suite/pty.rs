//! A program on a terminal of its own: keys in, a screen to look at.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use harness::operator::{Trouble, wait};
use ptyprocess::PtyProcess;
use vt100::{Color, Parser};

use crate::stage::SOON;

/// The terminal. The program ends with it.
pub(crate) struct Pty {
    process: PtyProcess,
    keys: File,
    screen: Arc<Mutex<Parser>>,
}

fn trouble(error: impl std::fmt::Display) -> Trouble {
    Trouble(format!("the terminal: {error}"))
}

fn size(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a terminal has a size")
}

impl Pty {
    /// Starts a shell command on a terminal of 80x24. When it has ended, the terminal's modes are printed.
    pub(crate) fn start(command: &str) -> Result<Self, Trouble> {
        let mut shell = Command::new("sh");
        // A signal for all that run here ends the command, not the shell.
        let script = format!("trap : TERM; {command}; echo \"ended with $?\"; stty -a");
        shell.args(["-c", &script]).env("TERM", "xterm-256color");
        let process = PtyProcess::spawn(shell).map_err(trouble)?;
        let screen = Arc::new(Mutex::new(Parser::new(size(24), size(80), 0)));
        let mut output = process.get_raw_handle().map_err(trouble)?;
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when the program has ended.
            while let Ok(count) = output.read(&mut buffer) {
                lock(&shown).process(&buffer[..count]);
            }
        });
        Ok(Self {
            keys: process.get_raw_handle().map_err(trouble)?,
            process,
            screen,
        })
    }

    /// Types something.
    pub(crate) fn press(&mut self, keys: &str) -> Result<(), Trouble> {
        self.keys.write_all(keys.as_bytes()).map_err(trouble)
    }

    /// Makes the terminal another size.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Trouble> {
        lock(&self.screen).set_size(size(rows), size(columns));
        self.process.set_window_size(columns, rows).map_err(trouble)
    }

    /// What the screen shows.
    pub(crate) fn text(&self) -> String {
        lock(&self.screen).screen().contents()
    }

    /// The line that begins with these words, if there is one.
    pub(crate) fn line(&self, start: &str) -> Option<String> {
        let text = self.text();
        let line = text.lines().find(|line| line.starts_with(start));
        line.map(str::to_owned)
    }

    /// Waits for something to be seen.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), Trouble> {
        let seen = wait(SOON, what, || Ok(holds(self)));
        seen.map_err(|trouble| Trouble(format!("{trouble}; the screen:\n{}", self.text())))
    }

    /// Waits for words on the screen.
    pub(crate) fn shows(&self, words: &str) -> Result<(), Trouble> {
        self.until(&format!("{words:?} is not shown"), |pty| {
            pty.text().contains(words)
        })
    }

    /// Whether anything on the screen has a colour of its own.
    pub(crate) fn is_coloured(&self) -> bool {
        let screen = lock(&self.screen);
        let screen = screen.screen();
        let (rows, columns) = screen.size();
        let mut places =
            (0..rows.get()).flat_map(|row| (0..columns.get()).map(move |it| (row, it)));
        places.any(|(row, column)| {
            let cell = screen.cell(row, column);
            cell.is_some_and(|it| (it.fgcolor(), it.bgcolor()) != (Color::Default, Color::Default))
        })
    }

    /// Asks everything that runs here to end.
    pub(crate) fn terminate(&self) -> Result<(), Trouble> {
        let group = format!("-{}", self.process.pid());
        let mut kill = Command::new("kill");
        kill.args(["-TERM", "--", &group]);
        kill.status().map(drop).map_err(trouble)
    }

    /// Waits for the command's end and looks whether the terminal is as it was before.
    pub(crate) fn is_given_back(&self) -> Result<(), Trouble> {
        self.shows("ended with 0")?;
        // Lines, echo and signals by the terminal itself: none of them is switched off.
        self.until("the terminal stays raw", |pty| {
            let text = pty.text();
            let is_set = |mode| text.split_whitespace().any(|word| word == mode);
            ["icanon", "isig"].into_iter().all(is_set)
        })?;
        let screen = lock(&self.screen);
        let screen = screen.screen();
        assert!(!screen.alternate_screen(), "the other screen is left");
        assert!(!screen.hide_cursor(), "the cursor is there");
        Ok(())
    }
}

fn lock(screen: &Mutex<Parser>) -> MutexGuard<'_, Parser> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}
