// SPDX-License-Identifier: MIT OR Apache-2.0
//! `config` and the verbs below it.

use argh::{ArgsInfo, FromArgs};

/// Configurations: of domains (show, edit, set, check), and of xend, xend-config.sxp (show, set, check).
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "config")]
pub(crate) struct Config {
    #[argh(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum ConfigVerb {
    Show(ConfigShow),
    Edit(ConfigEdit),
    Set(ConfigSet),
    Check(ConfigCheck),
}

/// Show xend's configuration as it is in force, or a managed domain's as it was written.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "show")]
pub(crate) struct ConfigShow {
    /// the name of a managed domain
    #[argh(positional)]
    pub(crate) domain: Option<String>,
}

/// Edit a managed domain's configuration, with the editor that VISUAL or EDITOR names.
///
/// It is refused if somebody else changed it meanwhile, or if there is an error in it; the edited text is kept then. What runs is not
/// changed: the configuration has effect at the domain's next start.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "edit")]
pub(crate) struct ConfigEdit {
    /// the domain's name
    #[argh(positional)]
    pub(crate) domain: String,
}

/// Give xend another configuration, or a managed domain. One with an error is refused, and the last one holds.
///
/// A domain's has effect at its next start. Files that it names as before stay what they are; others are uploaded.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "set")]
pub(crate) struct ConfigSet {
    /// a file like xend-config.sxp; or the name of a managed domain, and then
    #[argh(positional, arg_name = "domain|file")]
    pub(crate) what: String,
    /// its configuration file
    #[argh(positional)]
    pub(crate) file: Option<String>,
}

impl ConfigSet {
    /// Whose configuration is set, if it is a domain's; and the file.
    pub(crate) fn whose(&self) -> (Option<&str>, &str) {
        match &self.file {
            Some(file) => (Some(&self.what), file),
            None => (None, &self.what),
        }
    }
}

/// Check a configuration file: that of a domain here, xend's (*.sxp) by asking the host.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "check")]
pub(crate) struct ConfigCheck {
    /// the configuration file
    #[argh(positional, arg_name = "file")]
    pub(crate) file: String,
    /// settings that count more than the file's
    #[argh(positional, arg_name = "key=value")]
    pub(crate) overrides: Vec<String>,
}
