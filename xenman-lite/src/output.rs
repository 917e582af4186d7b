// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written for the operator: text, tables, JSON, progress.
//!
//! Results go to standard output, everything else to standard error. A reader that has gone away
//! (`xenman list | head -1`) is no failure.

use crate::problem::Problem;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    ffi::OsStr,
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether somebody draws on the whole terminal: nothing else is drawn beside that.
static IS_SCREEN: AtomicBool = AtomicBool::new(false);

/// The terminal is a screen from now on, or is none any more.
pub(crate) fn is_screen(is_one: bool) {
    IS_SCREEN.store(is_one, Ordering::Relaxed);
}

/// How results are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Writes bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Problem> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(Problem::new(format!("cannot write the output: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Writes a line.
    pub(crate) fn line(self, line: &str) -> Result<(), Problem> {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Writes a JSON value on lines of its own.
    pub(crate) fn json(self, value: &Value) -> Result<(), Problem> {
        self.line(&format!("{value:#}"))
    }

    /// Writes `value`, or for people `text`.
    pub(crate) fn either(self, value: &Value, text: &str) -> Result<(), Problem> {
        if self.json {
            self.json(value)
        } else {
            self.line(text)
        }
    }

    /// Says that something was done that has no result.
    pub(crate) fn done(self) -> Result<(), Problem> {
        if self.json {
            self.json(&serde_json::json!({ "done": true }))
        } else {
            Ok(())
        }
    }

    /// Writes a table; columns named in `right` are numbers.
    pub(crate) fn table(
        self,
        header: &[&str],
        right: &[&str],
        rows: &[Vec<String>],
    ) -> Result<(), Problem> {
        let mut table = Table::new();
        if has_colours() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let framed = io::stdout().is_terminal();
        table.load_style(if framed {
            presets::UTF8_FULL_CONDENSED
        } else {
            presets::NOTHING
        });
        table.set_header(header.to_vec());
        table.add_rows(rows.iter().map(|row| {
            let cells = header.iter().zip(row);
            cells
                .map(|(name, text)| cell(name, text))
                .collect::<Vec<_>>()
        }));
        for (index, name) in header.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                let side = if right.contains(name) {
                    CellAlignment::Right
                } else {
                    CellAlignment::Left
                };
                column.set_cell_alignment(side);
                if !framed {
                    column.set_padding((0, 2));
                }
            }
        }
        self.line(&table.trim_fmt())
    }
}

/// A cell of the column with this name.
fn cell(column: &str, text: &str) -> Cell {
    let cell = Cell::new(harmless(text));
    match column {
        "State" => in_colour_of_state(cell, text),
        _ => cell,
    }
}

/// Colours after Okabe and Ito, which people who do not see red and green alike can tell apart. They only repeat what
/// the word says.
fn in_colour_of_state(cell: Cell, state: &str) -> Cell {
    const SKY_BLUE: Color = Color::AnsiValue(74);
    const ORANGE: Color = Color::AnsiValue(214);
    const VERMILION: Color = Color::AnsiValue(166);
    const GREY: Color = Color::AnsiValue(245);
    if state.contains("broken") || state.starts_with("crashed") {
        return cell.fg(VERMILION).add_attribute(Attribute::Bold);
    }
    match state.split(',').next() {
        Some("running" | "blocked") => cell.fg(SKY_BLUE),
        Some("paused" | "dying") => cell.fg(ORANGE),
        _ => cell.fg(GREY),
    }
}

/// Whether results go where colours are seen and wanted.
fn has_colours() -> bool {
    let is = |name: &str, wanted: fn(&OsStr) -> bool| {
        std::env::var_os(name).is_some_and(|value| wanted(&value))
    };
    io::stdout().is_terminal()
        && !is("NO_COLOR", |value| !value.is_empty())
        && !is("TERM", |value| value == "dumb")
}

/// Text from elsewhere without what could play with the terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Log bytes from elsewhere, made harmless for a terminal, lines kept.
pub(crate) fn printable(bytes: &[u8]) -> Vec<u8> {
    let keep = |byte: u8| byte == b'\n' || byte == b'\t' || !byte.is_ascii_control();
    bytes
        .iter()
        .map(|byte| if keep(*byte) { *byte } else { b'?' })
        .collect()
}

/// Says something to the operator that is not the result.
pub(crate) fn note(text: &str) {
    // Nobody to tell it to is no reason to stop.
    drop(writeln!(io::stderr(), "{text}"));
}

/// A size in KiB, readable.
pub(crate) fn size(kib: u64) -> String {
    match kib {
        0..10_240 => format!("{kib} KiB"),
        10_240..10_485_760 => format!("{} MiB", tenths(kib, 1024)),
        _ => format!("{} GiB", tenths(kib, 1024 * 1024)),
    }
}

fn tenths(number: u64, unit: u64) -> String {
    let tenths = number.saturating_mul(10) / unit;
    if tenths.is_multiple_of(10) {
        format!("{}", tenths / 10)
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// Nanoseconds as seconds.
pub(crate) fn seconds(ns: u64) -> String {
    format!("{}.{}", ns / 1_000_000_000, ns / 100_000_000 % 10)
}

/// Progress on a terminal; nothing elsewhere.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For `total` bytes of something.
    pub(crate) fn bytes(what: &str, total: u64) -> Self {
        Self::new(
            what,
            total,
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        )
    }

    /// For something counted, whose number may not be known yet.
    pub(crate) fn count(what: &str, total: u64) -> Self {
        Self::new(what, total, "{msg} {wide_bar} {pos}/{len}")
    }

    fn new(what: &str, total: u64, template: &str) -> Self {
        // indicatif draws to standard error, and only if that is a terminal.
        let bar = if IS_SCREEN.load(Ordering::Relaxed) {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(total)
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self(bar)
    }

    /// Some more is done.
    pub(crate) fn add(&self, amount: u64) {
        self.0.inc(amount);
    }

    /// What xend says about it.
    pub(crate) fn report(&self, progress: &mgmt_proto::messages::Progress) {
        self.0.set_message(harmless(&progress.what));
        self.0.set_length(progress.total.max(progress.done));
        self.0.set_position(progress.done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_readable() {
        for (kib, text) in [
            (0, "0 KiB"),
            (4096, "4096 KiB"),
            (24 * 1024, "24 MiB"),
            (2 << 20, "2048 MiB"),
            (33 << 19, "16.5 GiB"),
        ] {
            assert_eq!(size(kib), text);
        }
        assert_eq!(seconds(12_345_678_901), "12.3");
    }

    #[test]
    fn a_guest_cannot_play_with_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb"), "a?[2Jb");
        assert_eq!(printable(b"a\x1b[2J\tb\n\xc3\xa4"), b"a?[2J\tb\n\xc3\xa4");
    }
}
