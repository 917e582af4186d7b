//! `cargo xtask soak`: the long loops, which are no part of `test`.

mod domains;
mod timer;

use std::time::{Duration, Instant};

use argh::FromArgs;
use harness::images::Images;
use harness::operator::Trouble;

use crate::failure::Failure;
use crate::{Outcome, build, guest, packages};

/// For what takes a moment, on a machine that is busy with other things too.
const SOON: Duration = Duration::from_secs(60);
/// A machine is ended after this, whatever it does.
const LIMIT: Duration = Duration::from_secs(3600);

/// Repeat things hundreds of times; all memory has to come back, and no wake-up may be lost.
///
/// The parts: create (500 times create and destroy), fail (200 times a start that fails), save (50 times save and restore of
/// a pvh Linux with 4 vCPUs under load on a GICv3), kinds (5 times for each other kind of domain), timer-icount (a timer
/// guest for 10 minutes of its time), timer-smp (several on 2 CPUs, for 30 seconds).
#[derive(FromArgs)]
#[argh(subcommand, name = "soak")]
pub(crate) struct Soak {
    /// what to do, of the parts above; all of it if nothing is said
    #[argh(positional, arg_name = "PART")]
    parts: Vec<String>,
}

/// A part: its name, and what it does.
struct Part {
    name: &'static str,
    run: fn(&Images) -> Result<(), Trouble>,
}

const PARTS: [Part; 6] = [
    Part {
        name: "create",
        run: domains::create_and_destroy,
    },
    Part {
        name: "fail",
        run: domains::fail_to_start,
    },
    Part {
        name: "save",
        run: domains::save_and_restore,
    },
    Part {
        name: "kinds",
        run: domains::save_and_restore_other_kinds,
    },
    Part {
        name: "timer-icount",
        run: timer::under_icount,
    },
    Part {
        name: "timer-smp",
        run: timer::on_two_cpus,
    },
];

impl Soak {
    pub(crate) fn run(self) -> Outcome {
        let parts = chosen(&self.parts)?;
        packages::need(&[&packages::QEMU_ARM])?;
        let images = build::build()?;
        guest::fetch()?;
        let mut took = Vec::new();
        for part in parts {
            println!("\n== {}", part.name);
            let started = Instant::now();
            let outcome = (part.run)(&images);
            outcome.map_err(|trouble| Failure::new(format!("{}: {trouble}", part.name)))?;
            took.push((part.name, started.elapsed()));
        }
        println!();
        for (name, time) in took {
            println!("{name:<14} {:>5.1} minutes", time.as_secs_f64() / 60.0);
        }
        Ok(())
    }
}

fn chosen(names: &[String]) -> Outcome<Vec<&'static Part>> {
    if names.is_empty() {
        return Ok(PARTS.iter().collect());
    }
    let find = |name: &String| {
        let part = PARTS.iter().find(|part| part.name == name);
        let known = PARTS.map(|part| part.name).join(", ");
        part.ok_or_else(|| Failure::new(format!("there is no part {name}; there are {known}")))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_name_and_help_lists_them() {
        assert_eq!(chosen(&[]).unwrap().len(), PARTS.len());
        let one = chosen(&["timer-smp".to_owned()]).unwrap();
        assert_eq!(one.first().unwrap().name, "timer-smp");
        assert!(chosen(&["naps".to_owned()]).is_err());
        let help = Soak::from_args(&["soak"], &["--help"])
            .err()
            .unwrap()
            .output;
        for part in PARTS {
            assert!(help.contains(&format!("{} (", part.name)), "{help}");
        }
    }
}
