// SPDX-License-Identifier: MIT OR Apache-2.0
//! `host` and the verbs below it.

use argh::{ArgsInfo, FromArgs};

/// Hosts: the names that xenman.conf gives them (add, list, rm), and the store of one (init).
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "host")]
pub(crate) struct HostGroup {
    #[argh(subcommand)]
    pub(crate) verb: HostVerb,
}

#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum HostVerb {
    Add(HostAdd),
    List(HostList),
    Rm(HostRm),
    Init(HostInit),
}

/// Give a host a name, for -H NAME. It is written into xenman.conf; ~/.xenman/xenman.conf is made if there is none.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "add")]
pub(crate) struct HostAdd {
    /// its name
    #[argh(positional)]
    pub(crate) name: String,
    /// where it is: unix:PATH or serial:/dev/tty…[@BAUD]
    #[argh(positional)]
    pub(crate) address: String,
}

/// List the hosts that have names.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub(crate) struct HostList {}

/// Remove a host's name from xenman.conf.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "rm")]
pub(crate) struct HostRm {
    /// its name
    #[argh(positional)]
    pub(crate) name: String,
}

/// Make a new store on the host's disk. An empty disk gets one by itself, when the host starts.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "init")]
pub(crate) struct HostInit {
    /// whatever is on the disk; it is lost then
    #[argh(switch)]
    pub(crate) force: bool,
}
