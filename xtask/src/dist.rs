//! `cargo xtask dist`: what is handed out: xenman as a tarball and as a Debian package, and the images as a tarball.
//!
//! Contents are laid out in folders below `target/dist/` and packed by Debian's own programs, with the time of
//! SOURCE_DATE_EPOCH, or of the commit: the same sources make the same packages.

mod deb;
mod files;
mod tarball;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use argh::FromArgs;
use harness::images::{Images, workspace_root};

use crate::failure::Failure;
use crate::packages::{self, Tool};
use crate::toolchain::Toolchain;
use crate::{Outcome, apt, build, command};

/// The release's version: that of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const TAR: Tool = Tool::new("tar", "tar");
const GZIP: Tool = Tool::new("gzip", "gzip");
const DPKG_DEB: Tool = Tool::new("dpkg-deb", "dpkg");
const STRIP: Tool = Tool::new("strip", "binutils");
const GIT: Tool = Tool::new("git", "git");

/// Make what is handed out, in target/dist: xenman as .tar.gz and .deb, and the images as .tar.gz.
#[derive(FromArgs)]
#[argh(subcommand, name = "dist")]
pub(crate) struct Dist {}

impl Dist {
    pub(crate) fn run(self) -> Outcome {
        packages::need(&[&TAR, &GZIP, &DPKG_DEB, &STRIP, &GIT])?;
        let images = build::build()?;
        let release = Release::new(&images)?;
        for package in [
            tarball::xenman(&release)?,
            deb::xenman(&release)?,
            tarball::images(&release, &images)?,
        ] {
            let size = fs::metadata(&package)
                .map_err(Failure::file(&package))?
                .len();
            println!("{} ({} KiB)", package.display(), size.div_ceil(1024));
        }
        Ok(())
    }
}

/// What is packed, and where.
struct Release {
    folder: PathBuf,
    /// xenman, without what only a debugger wants.
    xenman: PathBuf,
    /// As the compiler calls this machine.
    target: String,
    /// Seconds since 1970 that all files are said to be of.
    time: u64,
}

impl Release {
    /// Begins with an empty folder.
    fn new(images: &Images) -> Outcome<Self> {
        let folder = workspace_root().join("target/dist");
        apt::remove(&folder)?;
        command::make_folder(&folder)?;
        let xenman = folder.join("stripped");
        let mut strip = Command::new(STRIP.program);
        command::run(strip.arg("-o").arg(&xenman).arg(images.xenman()))?;
        Ok(Self {
            folder,
            xenman,
            target: target()?,
            time: time()?,
        })
    }

    /// A program that packs, which takes its time from us.
    fn packer(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOURCE_DATE_EPOCH", self.time.to_string());
        command
    }

    /// What xenman prints.
    fn printed(&self, words: &[&str]) -> Outcome<String> {
        command::output(Command::new(&self.xenman).args(words))
    }
}

/// This machine, as the compiler calls it.
fn target() -> Outcome<String> {
    let about = command::output(Toolchain::find()?.cargo().arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Failure::new("the compiler does not say for which machine it is"))
}

/// SOURCE_DATE_EPOCH, or when the commit was made.
fn time() -> Outcome<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new(GIT.program);
            git.args(["log", "-1", "--format=%ct"])
                .current_dir(workspace_root());
            command::output(&mut git)?
        }
    };
    text.trim().parse().map_err(|_| {
        let message = format!(
            "'{}' is no number of seconds: set SOURCE_DATE_EPOCH to one",
            text.trim()
        );
        Failure::new(message)
    })
}
