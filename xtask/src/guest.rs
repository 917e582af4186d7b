//! `cargo xtask guest fetch`: Debian's arm64 kernel and an initramfs to go with it.
//!
//! Apt works with lists and archives of its own under `target/guests` ([`apt`](crate::apt)).

use std::fs;
use std::path::Path;

use argh::FromArgs;
use harness::images::Images;

use crate::apt::{self, Apt, remove};
use crate::failure::Failure;
use crate::{Outcome, initramfs};

/// The package that always depends on the newest kernel of its kind.
const KERNEL: &str = "linux-image-cloud-arm64";
const BUSYBOX: &str = "busybox-static";

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
    let apt = Apt::new(&folder.join("apt"))?;
    apt.update()?;
    let depends = apt.depends(KERNEL)?;
    let kernel = newest_kernel(&depends)
        .ok_or_else(|| Failure::new(format!("the package lists have no {KERNEL}")))?;
    let packages = apt.download(&[kernel, BUSYBOX])?;

    let root = folder.join("root");
    remove(&root)?;
    let mut versions = String::new();
    for package in &packages {
        versions.push_str(&apt::unpack(package, &root)?);
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

fn newest_kernel(depends: &str) -> Option<&str> {
    let dependencies = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    dependencies
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
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
}
