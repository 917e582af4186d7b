//! `cargo xtask guest fetch`: Debian's kernels and an initramfs to go with each.
//!
//! Apt works with lists and archives of its own under `target/guests` ([`apt`](crate::apt)).

use std::fs;
use std::path::Path;

use argh::FromArgs;
use harness::board::Board;
use harness::images::Images;

use crate::apt::{self, Apt, remove};
use crate::failure::Failure;
use crate::{Outcome, bzimage, initramfs};

/// Debian's name for the architecture of a board.
fn debian_name(board: Board) -> &'static str {
    match board {
        Board::QemuVirt => "arm64",
        Board::QemuQ35 | Board::BochsPc => "amd64",
    }
}

/// The package that always depends on the newest kernel of its kind.
fn kernel_package(board: Board) -> String {
    format!("linux-image-cloud-{}", debian_name(board))
}

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
        // One for each architecture.
        for board in [Board::QemuVirt, Board::QemuQ35] {
            let folder = board.debian(&Images::of_workspace());
            if refresh {
                forget(&folder)?;
            }
            fetch(board)?;
            println!("{}", folder.join(board.kernel()).display());
            println!("{}", folder.join("initrd.gz").display());
        }
        Ok(())
    }
}

/// Makes sure that a board's kernel and initramfs are there, and prints their versions.
pub(crate) fn fetch(board: Board) -> Outcome {
    let folder = board.debian(&Images::of_workspace());
    let version = folder.join("VERSION");
    if !version.exists() {
        fetch_packages(board, &folder)?;
    }
    let initrd = folder.join("initrd.gz");
    if !is_newer_than_us(&initrd) {
        let content = initramfs::make(board, &folder.join("root"))?;
        fs::write(&initrd, content).map_err(Failure::file(&initrd))?;
    }
    print!(
        "{}",
        fs::read_to_string(&version).map_err(Failure::file(&version))?
    );
    Ok(())
}

fn fetch_packages(board: Board, folder: &Path) -> Outcome {
    let apt = Apt::new(&folder.join("apt"), debian_name(board))?;
    apt.update()?;
    let meta = kernel_package(board);
    let depends = apt.depends(&meta)?;
    let kernel = newest_kernel(&depends)
        .ok_or_else(|| Failure::new(format!("the package lists have no {meta}")))?;
    let packages = apt.download(&[kernel, BUSYBOX])?;

    let root = folder.join("root");
    remove(&root)?;
    let mut versions = String::new();
    for package in &packages {
        versions.push_str(&apt::unpack(package, &root)?);
    }
    let vmlinuz = root
        .join("boot")
        .join(kernel.replacen("linux-image", "vmlinuz", 1));
    let packed = fs::read(&vmlinuz).map_err(Failure::file(&vmlinuz))?;
    if board.architecture() == "x86_64" {
        // What people have, for `xenman create`; the kernel within, for boot bundles.
        write(&folder.join("bzImage"), &packed)?;
        let kernel = bzimage::unpack(&packed)
            .map_err(|why| Failure::new(format!("{}: {why}", vmlinuz.display())))?;
        write(&folder.join(board.kernel()), &kernel)?;
    } else {
        write(&folder.join(board.kernel()), &packed)?;
    }
    remove(&folder.join("initrd.gz"))?;
    // Last, because it stands for all of them.
    let version = folder.join("VERSION");
    fs::write(&version, versions).map_err(Failure::file(&version))
}

fn write(file: &Path, content: &[u8]) -> Outcome {
    fs::write(file, content).map_err(Failure::file(file))
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
