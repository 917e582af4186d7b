//! `cargo xtask soak`: the long loops, which are no part of `test`, by part.

mod machines;
mod power_cuts;
mod rounds;

use std::time::Instant;

use argh::FromArgs;
use harness::board::Board;
use harness::images::Images;

use crate::failure::Failure;
use crate::{Outcome, build, guest, packages};

/// Create and destroy, fail to start, save and restore, sleep and wake, hundreds of times; all memory has to come back.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "soak",
    note = "Parts: create-destroy, start-fail, save-restore-smp, save-restore, timer, timer-smp, power-cuts. Without one: all."
)]
pub(crate) struct Soak {
    /// the board: qemu-virt (default) or qemu-q35
    #[argh(option, default = "\"qemu-virt\".to_owned()", arg_name = "NAME")]
    board: String,

    /// what to do (all, unless some are named)
    #[argh(positional, arg_name = "PART")]
    parts: Vec<String>,

    /// do each loop this often instead of as often as it is meant
    #[argh(option, arg_name = "N")]
    cycles: Option<u32>,
}

/// A board and what it boots.
#[derive(Clone, Copy)]
struct Bed<'a> {
    board: Board,
    images: &'a Images,
}

/// A loop.
struct Part {
    name: &'static str,
    /// How often.
    cycles: u32,
    run: fn(Bed<'_>, u32) -> Outcome,
}

const PARTS: [Part; 7] = [
    Part {
        name: "create-destroy",
        cycles: 500,
        run: rounds::create_destroy,
    },
    Part {
        name: "start-fail",
        cycles: 200,
        run: rounds::start_fail,
    },
    Part {
        name: "save-restore-smp",
        cycles: 50,
        run: rounds::save_restore_smp,
    },
    Part {
        name: "save-restore",
        cycles: 5,
        run: rounds::save_restore,
    },
    Part {
        name: "timer",
        cycles: 1,
        run: machines::timer,
    },
    Part {
        name: "timer-smp",
        cycles: 1,
        run: machines::timer_smp,
    },
    Part {
        name: "power-cuts",
        cycles: 300,
        run: power_cuts::run,
    },
];

impl Soak {
    pub(crate) fn run(self) -> Outcome {
        let parts = self.chosen()?;
        let board = self.board()?;
        packages::need(&packages::emulator(board))?;
        let images = build::build()?;
        guest::fetch(board)?;
        let bed = Bed {
            board,
            images: &images,
        };
        for part in parts {
            let started = Instant::now();
            let cycles = self.cycles.unwrap_or(part.cycles);
            (part.run)(bed, cycles)?;
            let minutes = started.elapsed().as_secs_f64() / 60.0;
            println!("{}: {minutes:.1} minutes", part.name);
        }
        Ok(())
    }

    fn board(&self) -> Outcome<Board> {
        match Board::named(&self.board).map_err(Failure::new)? {
            Board::BochsPc => Err(Failure::new(
                "bochs-pc is too slow for the long loops; use --board qemu-virt or --board qemu-q35",
            )),
            board => Ok(board),
        }
    }

    fn chosen(&self) -> Outcome<Vec<&'static Part>> {
        if self.parts.is_empty() {
            return Ok(PARTS.iter().collect());
        }
        let find = |name: &String| {
            let part = PARTS.iter().find(|part| part.name == name);
            part.ok_or_else(|| {
                let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
                Failure::new(format!(
                    "there is no part {name}; there are {}",
                    names.join(", ")
                ))
            })
        };
        self.parts.iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(parts: &[&str]) -> Soak {
        Soak {
            board: "qemu-virt".to_owned(),
            parts: parts.iter().map(|name| (*name).to_owned()).collect(),
            cycles: None,
        }
    }

    #[test]
    fn parts_go_by_their_names() {
        assert_eq!(soak(&[]).chosen().unwrap().len(), PARTS.len());
        let some = soak(&["timer", "start-fail"]).chosen().unwrap();
        assert_eq!([some[0].name, some[1].name], ["timer", "start-fail"]);
        let failure = soak(&["tmer"]).chosen().err().unwrap();
        assert!(failure.to_string().contains("timer-smp"), "{failure}");
    }

    #[test]
    fn a_board_that_is_too_slow_is_refused() {
        assert!(soak(&[]).board().is_ok());
        let mut slow = soak(&[]);
        slow.board = "bochs-pc".to_owned();
        assert!(slow.board().unwrap_err().to_string().contains("too slow"));
    }
}
