// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completion of command lines in a shell: `completion SHELL`, and the names that its scripts ask the host for.
//!
//! A script is made from the same definitions as `--help` ([`level`]). All three work alike: they walk over the words that
//! are typed, from level to level, until they know what the next word can be.

mod bash;
mod fish;
mod level;
mod names;
#[cfg(test)]
mod tests;
mod zsh;

use crate::{
    args::{Arguments, Completion, Shell},
    output::Output,
    problem::Problem,
};
use argh::ArgsInfo;

pub(crate) use level::{Level, OptionOf, Place, levels, summary};
pub(crate) use names::{print as print_names, print_hosts};

/// `completion`.
pub(crate) fn completion(completion: &Completion, output: Output) -> Result<(), Problem> {
    output.bytes(script(completion.shell).as_bytes())
}

fn script(shell: Shell) -> String {
    let levels = level::complete_levels(&Arguments::get_args_info());
    match shell {
        Shell::Bash => bash::script(&levels),
        Shell::Zsh => zsh::script(&levels),
        Shell::Fish => fish::script(&levels),
    }
}
