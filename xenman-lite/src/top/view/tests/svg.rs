// SPDX-License-Identifier: MIT OR Apache-2.0
//! A screen as a picture.

use crate::top::palette::{BLUE, GREEN, ORANGE, PURPLE, VERMILLION};
use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};
use std::fmt::Write;

/// A character's width and height, in tenths of a pixel.
const SIZE: (usize, usize) = (84, 180);
/// Where letters stand in their line.
const BASELINE: usize = 137;
const GROUND: &str = "#16181d";
const INK: &str = "#d8dee9";

fn colour(colour: Color) -> &'static str {
    match colour {
        BLUE => "#0087d7",
        GREEN => "#00af87",
        ORANGE => "#d78700",
        VERMILLION => "#d75f00",
        PURPLE => "#d787af",
        _ => INK,
    }
}

/// The colours of a character and of what is behind it.
fn colours(cell: &Cell) -> (&'static str, &'static str) {
    let ink = colour(cell.fg);
    if cell.modifier.contains(Modifier::REVERSED) {
        (GROUND, ink)
    } else {
        (ink, GROUND)
    }
}

fn pixels(tenths: usize) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Draws what a terminal shows.
pub(super) fn picture(buffer: &Buffer) -> String {
    let (width, height) = (
        usize::from(buffer.area.width),
        usize::from(buffer.area.height),
    );
    let (across, down) = (pixels(width * SIZE.0), pixels(height * SIZE.1));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{across}\" height=\"{down}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{GROUND}\"/>\n"
    );
    for (line, cells) in buffer.content().chunks(width).enumerate() {
        let alike = |a: &Cell, b: &Cell| (colours(a), a.modifier) == (colours(b), b.modifier);
        let mut column = 0;
        for run in cells.chunk_by(alike) {
            draw(&mut svg, (column, line), run);
            column += run.len();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The height of a bar, in eighths; fonts leave gaps between them.
fn bar(cell: &Cell) -> usize {
    let bars = " ▁▂▃▄▅▆▇█".chars();
    let place = bars
        .zip(0..)
        .find(|(bar, _)| cell.symbol().starts_with(*bar));
    place.map_or(0, |(_, eighths)| eighths)
}

fn rectangle(svg: &mut String, [x, y, across, down]: [&str; 4], fill: &str) {
    writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{across}\" height=\"{down}\" fill=\"{fill}\"/>"
    )
    .unwrap();
}

/// Draws characters that are alike.
fn draw(svg: &mut String, (column, line): (usize, usize), run: &[Cell]) {
    let Some(first) = run.first() else { return };
    let (ink, ground) = colours(first);
    let (x, y, across) = (
        pixels(column * SIZE.0),
        line * SIZE.1,
        pixels(run.len() * SIZE.0),
    );
    if ground != GROUND {
        let (y, down) = (pixels(y), pixels(SIZE.1));
        rectangle(svg, [&x, &y, &across, &down], ground);
    }
    for (place, eighths) in run.iter().map(bar).enumerate().filter(|(_, it)| *it > 0) {
        let down = SIZE.1 * eighths / 8;
        let (x, y) = (pixels((column + place) * SIZE.0), pixels(y + SIZE.1 - down));
        let (across, down) = (pixels(SIZE.0), pixels(down));
        rectangle(svg, [&x, &y, &across, &down], ink);
    }
    let has = |modifier| first.modifier.contains(modifier);
    let bold = if has(Modifier::BOLD) {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let y = pixels(y + BASELINE);
    let is_blank = |cell: &Cell| cell.symbol() == " " || bar(cell) > 0;
    let mut column = column;
    // Each word has its place: fonts differ in their widths.
    for word in run.chunk_by(|a, b| is_blank(a) == is_blank(b)) {
        if word.first().is_some_and(|cell| !is_blank(cell)) {
            let (x, across) = (pixels(column * SIZE.0), pixels(word.len() * SIZE.0));
            let text: String = word.iter().map(Cell::symbol).collect();
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            writeln!(
                svg,
                "<text x=\"{x}\" y=\"{y}\" textLength=\"{across}\" fill=\"{ink}\"{bold}>{text}</text>"
            )
            .unwrap();
        }
        column += word.len();
    }
}
