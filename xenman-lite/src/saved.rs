// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that are saved on this computer, in the folder that `xenman.conf` names: one file each, called as the domain was.

use crate::{
    home::{self, Home},
    output::harmless,
    problem::Problem,
    restore,
};
use mgmt_proto::{
    config::{check_name, suggest},
    snapshot::Manifest,
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The folder, and how its files' names end.
#[derive(Debug)]
pub(crate) struct Saved {
    folder: PathBuf,
    ending: String,
}

/// A saved machine.
#[derive(Debug)]
pub(crate) struct SavedMachine {
    /// What it is restored by.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The file's length.
    pub(crate) bytes: u64,
    /// When it was saved, in nanoseconds since 1970.
    pub(crate) saved_ns: u64,
    /// What its manifest says; `None` if the file is no saved machine, or damaged where that can be seen at once.
    pub(crate) manifest: Option<Manifest>,
}

impl Saved {
    /// Machines in a folder, in files whose names end so.
    pub(crate) fn new(folder: PathBuf, ending: String) -> Self {
        Self { folder, ending }
    }

    /// Where a machine of this name is, or would be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{}", self.ending))
    }

    /// Where a machine of this name is, if it is there.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let path = check_name(name).ok().map(|()| self.path(name));
        path.filter(|path| path.is_file())
    }

    /// Where a machine of this name is to be written. The folder is made, and what is there of another domain is kept.
    pub(crate) fn place_for(
        &self,
        home: &Home,
        name: &str,
        uuid: [u8; 16],
    ) -> Result<PathBuf, Problem> {
        if home.path().is_ok_and(|home| self.folder.starts_with(home)) {
            home.folder()?;
            home::make_folder(&self.folder)?;
        } else {
            fs::create_dir_all(&self.folder)
                .map_err(|error| Problem::file("make", &self.folder.to_string_lossy(), &error))?;
        }
        let path = self.path(name);
        let is_same = |manifest: &Manifest| manifest.uuid == uuid;
        if path.exists() && !manifest(&path).as_ref().is_some_and(is_same) {
            return Err(Problem::new(format!(
                "{} is there, and of another domain",
                path.display()
            ))
            .with_remedy("name a file to save to, or move that one away"));
        }
        Ok(path)
    }

    /// All of them, by name. None if the folder cannot be read.
    pub(crate) fn list(&self) -> Vec<SavedMachine> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut machines: Vec<SavedMachine> = files
            .filter_map(|file| self.machine(&file.path()))
            .collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        machines
    }

    fn machine(&self, path: &Path) -> Option<SavedMachine> {
        let name = path.file_name().and_then(OsStr::to_str)?;
        let name = name
            .strip_suffix(&self.ending)
            .filter(|it| !it.is_empty())?;
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let manifest = manifest(path);
        let saved_ns = manifest.as_ref().and_then(|it| it.saved_ns);
        let written = metadata.modified().unwrap_or(UNIX_EPOCH);
        Some(SavedMachine {
            name: name.to_owned(),
            path: path.to_owned(),
            bytes: metadata.len(),
            saved_ns: saved_ns.unwrap_or_else(|| since_1970(written)),
            manifest,
        })
    }

    /// Deletes a machine's file.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Problem> {
        let Some(path) = self.find(name) else {
            let name = harmless(name);
            let message = format!("there is no '{name}' in {}", self.folder.display());
            return Err(Problem::new(message).with_remedy(self.meant(&name)));
        };
        fs::remove_file(&path)
            .map_err(|error| Problem::file("delete", &path.to_string_lossy(), &error))
    }

    /// What to do about a name that no machine has.
    pub(crate) fn meant(&self, name: &str) -> String {
        let machines = self.list();
        match suggest(name, machines.iter().map(|it| it.name.as_str())) {
            Some(meant) => format!("did you mean '{}'?", harmless(meant)),
            None => "'xenman snapshot list' shows what is saved".to_owned(),
        }
    }
}

fn manifest(path: &Path) -> Option<Manifest> {
    let file = Some(path).filter(|path| path.is_file())?;
    let reader = restore::open(&file.to_string_lossy()).ok();
    reader.map(|(reader, _)| reader.manifest().clone())
}

fn since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
