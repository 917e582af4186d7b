// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the operator wants done.

use std::path::PathBuf;

/// Something for the host, or for the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Attach to the console of the domain with this name.
    Console(String),
    /// Start the managed domain with this name.
    Start(String),
    Pause(Target),
    Unpause(Target),
    Reboot(Target),
    Shutdown(Target),
    Destroy(Target),
    /// Forget the definition of the managed domain with this name.
    Delete(String),
    /// Save into this file, or `store:LABEL`.
    Save(Target, String),
    /// Make a domain from an image.
    Add(Wish),
    Restore(Machine),
    DeleteSaved(Machine),
    /// Ask the host, or the configuration, for what a view shows.
    Fetch(Wanted),
    /// Look at another host.
    Switch(KnownHost),
    Quit,
}

/// A domain to do something to. The number is meant: another domain may have the name by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) domid: u16,
    pub(super) name: String,
}

/// A domain to make from an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) image: String,
    pub(super) name: String,
    pub(super) memory_mib: u64,
    pub(super) vcpus: u64,
    /// Whether the host keeps its definition.
    pub(super) is_managed: bool,
    /// Whether it is to run at once.
    pub(super) is_started: bool,
}

/// A saved machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// What it is called where it is.
    pub(super) label: String,
    pub(super) place: Place,
    /// Its domain, if its file can be read.
    pub(super) domain: Option<(String, [u8; 16])>,
    pub(super) memory_kib: u64,
    pub(super) stored_kib: u64,
    /// In nanoseconds since 1970.
    pub(super) saved_ns: Option<u64>,
}

/// Where a saved machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the host's store.
    Store,
    /// In this file.
    Here(PathBuf),
}

/// What a view needs that no sample brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Images,
    Saved,
    Hosts,
}

/// A host that can be switched to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownHost {
    /// What the operator calls it; its address, if nothing else.
    pub(crate) name: String,
    /// As a HOST argument.
    pub(crate) address: String,
}
