// SPDX-License-Identifier: MIT OR Apache-2.0
mod screens;
mod svg;

use super::{
    super::{samples, table::KEYS},
    *,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mgmt_proto::messages::DomainState;
use ratatui::{Terminal, backend::TestBackend, style::Color};
use std::time::Duration;

const PLAIN: Palette = Palette { colours: false };
const COLOURED: Palette = Palette { colours: true };

/// A host with a busy Linux and a domain that is paused, after four samples.
fn model() -> Model {
    let mut model = Model::new("qemu-virt (aarch64)".to_owned(), Duration::from_secs(1));
    for second in 0..4_u64 {
        model.tick(Duration::from_secs(second));
        let busy = second * second * 300;
        let domains = [
            ("Domain-0", 0, second * 10),
            ("debian", 1, busy),
            ("rtos-hvm", 2, 700),
        ];
        let mut stats = samples::stats(3600 + second, &domains);
        let debian = &mut stats.domains[1];
        debian.summary.vcpus = 2;
        debian.summary.memory_kib = 256 << 10;
        debian.exits += second * 1234;
        stats.domains[2].summary.state = DomainState::PAUSED;
        model.sample(stats);
    }
    model.tick(Duration::from_millis(3400));
    model
}

fn key(model: &mut Model, code: KeyCode) {
    model.key(KeyEvent::new(code, KeyModifiers::NONE));
}

fn press(model: &mut Model, keys: &str) {
    keys.chars()
        .for_each(|letter| key(model, KeyCode::Char(letter)));
}

fn screen(model: &Model, width: u16, height: u16, palette: Palette) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, palette)).unwrap();
    terminal
}

fn lines(model: &Model, width: u16, height: u16) -> Vec<String> {
    let terminal = screen(model, width, height, PLAIN);
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().chunks(usize::from(width));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    };
    cells.map(line).collect()
}

const HEADING: &str =
    "Name             ID▲ Type State      CPU% History     MiB  vCPU  Exits/s  Uptime";

#[test]
fn a_larger_terminal_shows_longer_names_and_histories() {
    let mut model = model();
    let name = "a-name-of-more-than-fifteen-letters";
    model.sample(samples::stats(3700, &[(name, 1, 0)]));
    let wide = lines(&model, 140, 50);
    let heading = |lines: &[String]| lines.iter().position(|line| line.starts_with("Name  "));
    let row = |lines: &[String]| lines[heading(lines).unwrap() + 1].clone();
    assert!(row(&wide).starts_with(name), "{}", row(&wide));
    assert_eq!(wide[48..], KEYS);
    assert!(wide.iter().all(|line| line.chars().count() <= 140));
    let narrow = lines(&model, 80, 24);
    assert!(
        row(&narrow).starts_with("a-name-of-more- "),
        "{}",
        row(&narrow)
    );
}

#[test]
fn a_smaller_terminal_gets_a_sentence() {
    for (width, height) in [(79, 24), (80, 23), (20, 5)] {
        let text = lines(&model(), width, height).join(" ");
        let size = format!("{width}x{height}");
        assert!(
            text.contains("needs a terminal") && text.contains(&size),
            "{text}"
        );
    }
    // There is no size at which drawing fails.
    (1..8).for_each(|size| drop(screen(&model(), size, size, COLOURED)));
}

#[test]
fn more_domains_than_lines_scroll_with_the_selection() {
    let names: Vec<String> = (0..40).map(|number| format!("guest{number}")).collect();
    let domains: Vec<(&str, u16, u64)> = (0..40)
        .map(|number| (names[usize::from(number)].as_str(), number, 0))
        .collect();
    let mut model = model();
    model.sample(samples::stats(3700, &domains));
    press(&mut model, &"j".repeat(39));
    let lines = lines(&model, 80, 24);
    assert!(lines[16].starts_with("guest39 "), "{lines:?}");
    assert_eq!(lines[8], HEADING);
}

#[test]
fn questions_troubles_and_words_share_a_line() {
    let mut model = model();
    press(&mut model, "jd");
    assert!(lines(&model, 80, 24)[20].starts_with("Destroy 'debian'? y destroys it at once"));
    press(&mut model, "n");
    assert_eq!(lines(&model, 80, 24)[21], "'debian' is left alone");
    press(&mut model, "v");
    let question = "Save 'debian' to: debian.save_  (Enter saves, ↑ as before, Esc does not)";
    assert_eq!(lines(&model, 80, 24)[21], question);
    press(&mut model, "x");
    key(&mut model, KeyCode::Esc);
    model.lose("cannot reach xend at unix:/x".to_owned());
    assert_eq!(
        lines(&model, 80, 24)[21],
        "Trying again: cannot reach xend at unix:/x"
    );
}

#[test]
fn a_long_sentence_takes_two_lines() {
    let mut model = model();
    model.say(Err("word ".repeat(20)));
    let lines = lines(&model, 80, 24);
    assert_eq!(lines[20..22].join(" "), "word ".repeat(20).trim_end());
    assert_eq!(lines[22], KEYS[0]);
}

#[test]
fn what_is_old_is_marked_as_stale() {
    let mut model = model();
    model.tick(Duration::from_secs(12));
    assert!(lines(&model, 80, 24)[0].ends_with(" STALE: 9 s old"));
    let empty = Model::new("x".to_owned(), Duration::from_secs(1));
    assert!(lines(&empty, 80, 24)[0].ends_with("no sample yet"));
}

#[test]
fn without_colours_there_are_none() {
    let mut model = model();
    model.lose("it is away".to_owned());
    let colours = |palette: Palette| {
        let terminal = screen(&model, 80, 24, palette);
        let cells = terminal.backend().buffer().content().to_vec();
        cells
            .iter()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(colours(PLAIN), 0);
    assert!(colours(COLOURED) > 100);
}

#[test]
fn the_selected_domain_stands_out_without_colours_too() {
    let terminal = screen(&model(), 80, 24, PLAIN);
    let buffer = terminal.backend().buffer();
    let is_marked = |line: u16| buffer[(2, line)].modifier.contains(Modifier::REVERSED);
    assert_eq!([9, 10, 11].map(is_marked), [true, false, false]);
}
