//! `cargo xtask guest fetch`: Debian's arm64 kernel and an initramfs to go with it.
//!
//! Apt works with lists and archives of its own under `target/guests`, for the foreign architecture only, so nothing
//! on the machine changes: no dpkg architecture is added and nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use argh::FromArgs;
use harness::images::Images;
use harness::process::which;

use crate::failure::Failure;
use crate::{Outcome, command, initramfs, packages};

const ARCHITECTURE: &str = "arm64";
/// The package that always depends on the newest kernel of its kind.
const KERNEL: &str = "linux-image-cloud-arm64";
const BUSYBOX: &str = "busybox-static";
/// Where packages come from on a machine that is not Debian.
const SOURCES: &str = "\
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
";
/// The package with Debian's keys, which other distributions have too.
const KEYRING: &str = "debian-archive-keyring";

/// Guests for tests and demonstrations.
#[derive(FromArgs)]
#[argh(subcommand, name = "guest")]
pub(crate) struct Guest {
    #[argh(subcommand)]
    verb: GuestVerb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum GuestVerb {
    Fetch(Fetch),
}

/// Fetch Debian's kernel and busybox and make an initramfs (cached).
#[derive(FromArgs)]
#[argh(subcommand, name = "fetch")]
struct Fetch {
    /// fetch again even if there is a kernel
    #[argh(switch)]
    refresh: bool,
}

impl Guest {
    pub(crate) fn run(self) -> Outcome {
        let GuestVerb::Fetch(Fetch { refresh }) = self.verb;
        let folder = Images::of_workspace().debian();
        if refresh {
            forget(&folder)?;
        }
        fetch()?;
        println!("{}", folder.join("Image").display());
        println!("{}", folder.join("initrd.gz").display());
        println!("The x86 guest comes with the x86 hypervisor.");
        Ok(())
    }
}

/// Makes sure that the kernel and the initramfs are there, and prints their versions.
pub(crate) fn fetch() -> Outcome {
    let folder = Images::of_workspace().debian();
    let version = folder.join("VERSION");
    if !version.exists() {
        fetch_packages(&folder)?;
    }
    let initrd = folder.join("initrd.gz");
    if !is_newer_than_us(&initrd) {
        let content = initramfs::make(&folder.join("root"))?;
        fs::write(&initrd, content).map_err(Failure::file(&initrd))?;
    }
    print!(
        "{}",
        fs::read_to_string(&version).map_err(Failure::file(&version))?
    );
    Ok(())
}

fn fetch_packages(folder: &Path) -> Outcome {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if !which(program) {
            return Err(Failure::new(format!(
                "fetching Debian's kernel needs {program}"
            )));
        }
    }
    let apt = Apt::new(&folder.join("apt"))?;
    command::run(apt.command("apt-get").args(["-q", "update"]))?;
    let depends = command::output(apt.command("apt-cache").args(["depends", KERNEL]))?;
    let kernel = newest_kernel(&depends)
        .ok_or_else(|| Failure::new(format!("the package lists have no {KERNEL}")))?;
    let packages = apt.download(&[kernel, BUSYBOX])?;

    let root = folder.join("root");
    remove(&root)?;
    let mut versions = String::new();
    for package in &packages {
        command::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root))?;
        versions.push_str(&name_and_version(package)?);
    }
    let image = folder.join("Image");
    let vmlinuz = root
        .join("boot")
        .join(kernel.replacen("linux-image", "vmlinuz", 1));
    fs::copy(&vmlinuz, &image).map_err(Failure::file(&vmlinuz))?;
    remove(&folder.join("initrd.gz"))?;
    // Last, because it stands for all of them.
    let version = folder.join("VERSION");
    fs::write(&version, versions).map_err(Failure::file(&version))
}

/// Apt with a state of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path) -> Outcome<Self> {
        command::make_folder(&folder.join("lists/partial"))?;
        command::make_folder(&folder.join("archives/partial"))?;
        let apt = Self {
            folder: folder.to_owned(),
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

    fn sources(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |key: &str, value: &str| {
            command.args(["-o", &format!("{key}={value}")]);
        };
        set("APT::Architecture", ARCHITECTURE);
        set("APT::Architectures", ARCHITECTURE);
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
    fn download(&self, names: &[&str]) -> Outcome<Vec<PathBuf>> {
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

fn newest_kernel(depends: &str) -> Option<&str> {
    let dependencies = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    dependencies
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
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

/// Whether a file was made after this program, and so by the current version of it.
fn is_newer_than_us(file: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let ours = std::env::current_exe()
        .ok()
        .and_then(|path| modified(&path));
    matches!((modified(file), ours), (Some(file), Some(ours)) if file > ours)
}

fn forget(folder: &Path) -> Outcome {
    remove(&folder.join("VERSION"))
}

fn remove(path: &Path) -> Outcome {
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
    fn the_meta_package_names_the_kernel() {
        let depends = "linux-image-cloud-arm64\n  Depends: linux-image-6.1.0-1-cloud-arm64\n";
        assert_eq!(
            newest_kernel(depends),
            Some("linux-image-6.1.0-1-cloud-arm64")
        );
        assert_eq!(newest_kernel("N: Unable to locate package"), None);
    }

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
