//! Debian's packages for another architecture, fetched without touching the machine.
//!
//! Apt works with lists and archives of its own, for the foreign architecture only: no dpkg architecture is added and
//! nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::process::which;

use crate::failure::Failure;
use crate::{Outcome, command, packages};

/// Where packages come from on a machine that is not Debian.
const SOURCES: &str = "\
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
";
/// The package with Debian's keys, which other distributions have too.
const KEYRING: &str = "debian-archive-keyring";

/// Apt with a state of its own.
pub(crate) struct Apt {
    folder: PathBuf,
    /// As Debian calls it.
    architecture: &'static str,
}

impl Apt {
    /// For an architecture, with its state in a folder.
    pub(crate) fn new(folder: &Path, architecture: &'static str) -> Outcome<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if !which(program) {
                let sentence = format!("fetching Debian's packages needs {program}");
                return Err(Failure::new(sentence));
            }
        }
        command::make_folder(&folder.join("lists/partial"))?;
        command::make_folder(&folder.join("archives/partial"))?;
        let apt = Self {
            folder: folder.to_owned(),
            architecture,
        };
        if !is_debian() {
            if !packages::is_installed(KEYRING) {
                packages::install(&[KEYRING], "Debian's packages are to be checked")?;
            }
            let sources = apt.sources();
            fs::write(&sources, SOURCES).map_err(Failure::file(&sources))?;
        }
        Ok(apt)
    }

    /// Brings the lists up to date.
    pub(crate) fn update(&self) -> Outcome {
        command::run(self.command("apt-get").args(["-q", "update"]))
    }

    /// What a package depends on, as apt-cache prints it.
    pub(crate) fn depends(&self, name: &str) -> Outcome<String> {
        command::output(self.command("apt-cache").args(["depends", name]))
    }

    fn sources(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |key: &str, value: &str| {
            command.args(["-o", &format!("{key}={value}")]);
        };
        set("APT::Architecture", self.architecture);
        set("APT::Architectures", self.architecture);
        // The sandbox user cannot write here; what is fetched is checked by signature all the same.
        set("APT::Sandbox::User", "root");
        set("Acquire::Languages", "none");
        set(
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
            "false",
        );
        set(
            "Dir::State::Lists",
            &self.folder.join("lists").to_string_lossy(),
        );
        set("Dir::State::status", "/dev/null");
        set(
            "Dir::Cache::Archives",
            &self.folder.join("archives").to_string_lossy(),
        );
        set("Dir::Cache::pkgcache", "");
        set("Dir::Cache::srcpkgcache", "");
        if !is_debian() {
            set("Dir::Etc::SourceList", &self.sources().to_string_lossy());
            set("Dir::Etc::SourceParts", "/dev/null");
        }
        command
    }

    /// Downloads packages and returns their files in the same order.
    pub(crate) fn download(&self, names: &[&str]) -> Outcome<Vec<PathBuf>> {
        let folder = self.folder.join("packages");
        remove(&folder)?;
        command::make_folder(&folder)?;
        let mut apt_get = self.command("apt-get");
        command::run(
            apt_get
                .args(["-q", "download"])
                .args(names)
                .current_dir(&folder),
        )?;
        names
            .iter()
            .map(|name| package_file(&folder, name))
            .collect()
    }
}

fn package_file(folder: &Path, name: &str) -> Outcome<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Failure::file(folder))?;
    let prefix = format!("{name}_");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(&prefix))
        })
        .ok_or_else(|| Failure::new(format!("apt did not download {name}")))
}

/// Unpacks a package under a folder; its name and version, as a line.
pub(crate) fn unpack(package: &Path, root: &Path) -> Outcome<String> {
    command::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
    name_and_version(package)
}

fn name_and_version(package: &Path) -> Outcome<String> {
    let mut query = Command::new("dpkg-deb");
    query
        .args(["-W", "--showformat", "${Package} ${Version}\\n"])
        .arg(package);
    command::output(&mut query)
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian")
}

/// Removes a file or folder, if it is there.
pub(crate) fn remove(path: &Path) -> Outcome {
    if !path.exists() {
        return Ok(());
    }
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(Failure::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_found_by_its_whole_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("busybox-static-extra_1_arm64.deb"), "").unwrap();
        assert!(package_file(dir.path(), "busybox-static").is_err());
        let wanted = dir.path().join("busybox-static_1%3a2_arm64.deb");
        fs::write(&wanted, "").unwrap();
        assert_eq!(package_file(dir.path(), "busybox-static").unwrap(), wanted);
    }
}
