//! `cargo xtask check-deps`: the dependency law.
//!
//! The packages' graph is checked against the arrows in docs/style.md and the crates the hypervisor may use
//! ([`graph`]); the sources against what may be named where ([`text`], [`names`]).

mod graph;
mod names;
mod text;

use std::process::Command;

use argh::FromArgs;
use harness::images::workspace_root;

use crate::failure::Failure;
use crate::{Outcome, command};

/// Check the dependency law: who may depend on whom, and what may be named where.
#[derive(FromArgs)]
#[argh(subcommand, name = "check-deps")]
pub(crate) struct CheckDeps {}

impl CheckDeps {
    pub(crate) fn run(self) -> Outcome {
        check()?;
        println!("The dependency law holds.");
        Ok(())
    }
}

/// Checks the workspace and prints every violation.
pub(crate) fn check() -> Outcome {
    let mut violations = graph::violations(&metadata()?);
    violations.extend(text::violations(&workspace_root())?);
    for violation in &violations {
        eprintln!("check-deps: {violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "the dependency law is broken in {count} places"
        ))),
    }
}

fn metadata() -> Outcome<serde_json::Value> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["metadata", "--format-version", "1"])
        .current_dir(workspace_root());
    let text = command::output(&mut cargo)?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("cargo metadata: {error}")))
}
