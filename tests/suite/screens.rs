//! Screens of a program on a terminal, compared with committed texts in which what changes is masked.
//!
//! `ALCOVE_BLESS=1` writes them anew.

use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::operator::Trouble;

use crate::pty::Pty;

/// How long a screen takes to settle before it is written.
const SETTLED: Duration = Duration::from_secs(3);

/// Waits until a screen is the one that is committed under this name.
pub(crate) fn is_committed(pty: &Pty, name: &str) -> Result<(), Trouble> {
    let file = format!("suite/screens/{name}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    if std::env::var_os("ALCOVE_BLESS").is_some() {
        thread::sleep(SETTLED);
        std::fs::write(&path, masked(&pty.text())).expect("the screen is written");
    }
    let committed = std::fs::read_to_string(&path).expect("a screen is committed");
    let same = pty.until(&format!("it is not {file}"), |pty| {
        masked(&pty.text()) == committed
    });
    same.map_err(|trouble| Trouble(format!("{trouble}\nmasked:\n{}", masked(&pty.text()))))
}

/// A screen without what differs from run to run and from board to board: words with digits, bars, and how many spaces
/// there are.
fn masked(screen: &str) -> String {
    let lines = screen.lines().map(|line| {
        // Who did something ends a line of the log.
        let line = line.split(" by xenman").next().unwrap_or_default();
        let line: String = line.chars().filter(|c| !('▁'..='█').contains(c)).collect();
        let words = line.split_whitespace().map(mask);
        words.collect::<Vec<_>>().join(" ") + "\n"
    });
    lines.collect()
}

fn mask(word: &str) -> &str {
    match word {
        "-" | "qemu-virt" => "#",
        // What a domain is at the moment of a sample.
        "running" | "blocked" => "alive",
        "running," | "blocked," => "alive,",
        word if word.contains(|c: char| c.is_ascii_digit()) => "#",
        word => word,
    }
}

#[test]
fn what_changes_is_masked() {
    let screen = "Alcove on qemu-virt (aarch64)  0.4 s old\n100│  ▄▄▇ x\nweb   1 pvh  running  - ▂▂\n 'web' is defined by xenman 1.0 on ada";
    assert_eq!(
        masked(screen),
        "Alcove on # # # s old\n# x\nweb # pvh alive #\n'web' is defined\n"
    );
}
