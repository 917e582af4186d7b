// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xenman.conf`: hosts by name, disks by name, and what the operator prefers. Its sections and the places where it is looked
//! for are those of XenMan; keys that mean nothing here are kept and ignored.
//!
//! Nobody needs one: without it the defaults hold, and the first command that changes it makes it. A value that makes no
//! sense is told of, with its line, by what wants to use it.

mod edit;
mod find;
mod hosts;
mod ini;

use crate::{
    client_log::ClientLog,
    home::{self, Home, PRIVATE},
    output::{harmless, note},
    problem::Problem,
    saved::Saved,
};
use find::{Found, Places};
use ini::{Value, Wrong};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

pub(crate) use hosts::NamedHost;

/// What a new file has in it.
const STANDARD: &str = include_str!("conf/standard.conf");

/// The sections that are no hosts. A disk's begins with [`DISK`].
const SECTIONS: [&str; 6] = [
    "DEFAULT",
    "ENVIRONMENT",
    PATHS,
    "APPLICATION DATA",
    CLIENT,
    IMAGES,
];
const PATHS: &str = "PATHS";
const CLIENT: &str = "CLIENT CONFIGURATION";
const IMAGES: &str = "IMAGE STORE";
const DISK: &str = "DISK ";

/// The configuration that counts, and the operator's folder.
pub(crate) struct Conf {
    home: Home,
    found: Option<Found>,
}

impl Conf {
    /// The configuration of whoever runs this.
    pub(crate) fn of_operator() -> Self {
        Self::of(Home::of_operator(), &Places::default())
    }

    /// The configuration that is found in these places.
    pub(crate) fn of(home: Home, places: &Places) -> Self {
        let found = find::find(places, &home);
        Self { home, found }
    }

    /// The operator's folder.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    fn get(&self, section: &str, key: &str) -> Result<Option<Value>, Problem> {
        match &self.found {
            Some(found) => found
                .ini
                .get(section, key)
                .map_err(|wrong| self.wrong(&wrong)),
            None => Ok(None),
        }
    }

    fn text(&self, section: &str, key: &str) -> Result<Option<String>, Problem> {
        let value = self.get(section, key)?;
        Ok(value.map(|value| value.text))
    }

    /// A value as Python's ConfigParser took it for a boolean.
    fn boolean(&self, section: &str, key: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.get(section, key)? else {
            return Ok(None);
        };
        match value.text.to_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => Ok(Some(true)),
            "0" | "no" | "false" | "off" => Ok(Some(false)),
            _ => Err(self.senseless(key, &value, "write yes or no")),
        }
    }

    fn senseless(&self, key: &str, value: &Value, remedy: &str) -> Problem {
        let message = format!("'{}' does not do for {key}", harmless(&value.text));
        let line = value.line;
        self.wrong(&Wrong { line, message }).with_remedy(remedy)
    }

    fn wrong(&self, wrong: &Wrong) -> Problem {
        let path = self.found.as_ref().map(|found| found.path.display());
        let place = path.map(|path| format!("{path}:{}: ", wrong.line));
        let message = harmless(&wrong.message);
        Problem::new(format!("{}{message}", place.unwrap_or_default()))
    }

    /// The host that is meant where none is named.
    pub(crate) fn default_host(&self) -> Result<Option<String>, Problem> {
        self.text(CLIENT, "default_host")
    }

    /// The image that domains are made from where none is named.
    pub(crate) fn default_image(&self) -> Result<Option<String>, Problem> {
        self.text(IMAGES, "default_image")
    }

    /// Sets the image that domains are made from where none is named; the file that was written.
    pub(crate) fn set_default_image(&self, name: &str) -> Result<PathBuf, Problem> {
        self.change(|text| edit::set(text, IMAGES, "default_image", name))
    }

    /// Whether the dashboard asks before it does what cannot be undone.
    pub(crate) fn confirms(&self) -> Result<bool, Problem> {
        Ok(self.boolean(CLIENT, "confirm_dialog")?.unwrap_or(true))
    }

    /// Where machines are saved on this computer.
    pub(crate) fn saved(&self) -> Result<Saved, Problem> {
        let ending = match self.get(PATHS, "snapshot_file_ext")? {
            Some(value) if value.text.contains('/') => {
                let remedy = "write an ending such as .snapshot.xm";
                return Err(self.senseless("snapshot_file_ext", &value, remedy));
            }
            Some(value) => value.text,
            None => ".snapshot.xm".to_owned(),
        };
        let folder = match self.text(PATHS, "snapshots_dir")? {
            Some(path) => self.place(&path)?,
            None => self.home.path()?.join("snapshots"),
        };
        Ok(Saved::new(folder, ending))
    }

    /// A path as the file has it: `~/` is the operator's, and one that is not absolute begins in the operator's folder.
    fn place(&self, path: &str) -> Result<PathBuf, Problem> {
        let Some(below) = path.strip_prefix("~/") else {
            return Ok(match Path::new(path) {
                path if path.is_absolute() => path.to_owned(),
                path => self.home.path()?.join(path),
            });
        };
        match env::var_os("HOME").filter(|home| !home.is_empty()) {
            Some(home) => Ok(Path::new(&home).join(below)),
            None => Err(Problem::new(format!("where is {path}? HOME is not set"))
                .with_remedy("write a path that begins with '/' into xenman.conf")),
        }
    }

    /// The log of what was asked of which host, unless it is switched off.
    pub(crate) fn log(&self) -> Result<Option<ClientLog>, Problem> {
        const KEY: &str = "log_file";
        let wanted = self.boolean(CLIENT, "enable_log")?;
        if wanted == Some(false) {
            return Ok(None);
        }
        let name = match self.get(CLIENT, KEY)? {
            Some(value) if value.text.contains('/') || value.text.starts_with('.') => {
                let remedy = "write the name of a file: it is in ~/.xenman";
                return Err(self.senseless(KEY, &value, remedy));
            }
            Some(value) => value.text,
            None => "xenman.log".to_owned(),
        };
        Ok(Some(ClientLog::new(self.home.clone(), name)))
    }

    /// What stands for a named disk in a domain's configuration: `TARGET,VDEV,MODE`.
    pub(crate) fn disk(&self, name: &str) -> Result<Option<String>, Problem> {
        let section = format!("{DISK}{name}");
        if !self.found.as_ref().is_some_and(|it| it.ini.has(&section)) {
            return Ok(None);
        }
        let target = self.part_of_disk(&section, "target")?;
        let vdev = self.part_of_disk(&section, "vdev")?;
        let mode = match self.get(&section, "mode")? {
            None => "w".to_owned(),
            Some(value) if matches!(value.text.as_str(), "r" | "ro" | "w" | "rw") => value.text,
            Some(value) => return Err(self.senseless("mode", &value, "write r or w")),
        };
        Ok(Some(format!("{target},{vdev},{mode}")))
    }

    fn part_of_disk(&self, section: &str, key: &str) -> Result<String, Problem> {
        match self.get(section, key)? {
            Some(value) if value.text.contains([',', '\'', '"', '\\']) => {
                let remedy = "a disk's values have no commas, quotes and '\\'";
                Err(self.senseless(key, &value, remedy))
            }
            Some(value) => Ok(value.text),
            None => Err(Problem::new(format!("there is no '{key}' in [{section}]"))
                .with_remedy(format!("write it into {}", self.name()))),
        }
    }

    /// The file's name, for messages.
    fn name(&self) -> String {
        let path = self.found.as_ref().map(|found| found.path.display());
        path.map_or_else(|| find::NAME.to_owned(), |path| path.to_string())
    }

    /// Writes the file with a change. If there is none of the operator's, one is made: as a copy of everybody's, if that is
    /// what counts.
    fn change(
        &self,
        change: impl FnOnce(&str) -> Result<String, Problem>,
    ) -> Result<PathBuf, Problem> {
        let (path, start) = match &self.found {
            Some(found) if !found.is_shared => (found.path.clone(), found.text.as_str()),
            Some(found) => (self.new_file()?, found.text.as_str()),
            None => (self.new_file()?, STANDARD),
        };
        let path = fs::canonicalize(&path).unwrap_or(path);
        let _lock = home::lock(path.parent().unwrap_or(Path::new("/")))?;
        let before = find::read_again(&path)?;
        if before.is_none() && self.found.is_some() {
            let from = self.name();
            note(&format!(
                "xenman: {} begins as a copy of {from}",
                path.display()
            ));
        }
        let text = change(before.as_deref().unwrap_or(start))?;
        let mode = fs::metadata(&path).map_or(PRIVATE, |it| it.permissions().mode() & 0o777);
        home::replace(&path, text.as_bytes(), mode)?;
        Ok(path)
    }

    /// Where the operator's file is to be.
    fn new_file(&self) -> Result<PathBuf, Problem> {
        Ok(self.home.folder()?.join(find::NAME))
    }
}

#[cfg(test)]
pub(crate) mod tests;
