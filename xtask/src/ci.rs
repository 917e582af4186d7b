//! `cargo xtask ci`: exactly what the continuous integration runs.

use std::process::Command;

use argh::FromArgs;
use harness::images::workspace_root;

use crate::{Outcome, command};

/// Run what the continuous integration runs.
#[derive(FromArgs)]
#[argh(subcommand, name = "ci")]
pub(crate) struct Ci {}

impl Ci {
    pub(crate) fn run(self) -> Outcome {
        let root = workspace_root();
        command::run(Command::new(root.join(".ci/run")).current_dir(&root))
    }
}
