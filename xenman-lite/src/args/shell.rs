// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs for the machine that xenman runs on: `completion` and `man`.

use argh::{ArgsInfo, FromArgValue, FromArgs};

/// Print a script with which a shell completes xenman's command lines, names of the host's domains and images included.
///
/// For bash, write it to ~/.local/share/bash-completion/completions/xenman; for zsh, to a file _xenman in a folder of $fpath; for fish, to
/// ~/.config/fish/completions/xenman.fish.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "completion")]
pub(crate) struct Completion {
    /// bash, zsh or fish
    #[argh(positional)]
    pub(crate) shell: Shell,
}

/// The shells there are scripts for.
#[derive(FromArgValue, Clone, Copy, Debug)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print the manual page; 'xenman man | man -l -' shows it.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "man")]
pub(crate) struct Man {}
