//! Tarballs: xenman with its manual page and completion, and the images.

use std::path::{Path, PathBuf};

use harness::images::Images;

use super::{Release, TAR, VERSION, files};
use crate::{Outcome, command};

/// xenman, to be put anywhere.
pub(super) fn xenman(release: &Release) -> Outcome<PathBuf> {
    let name = format!("xenman-{VERSION}-{}", release.target);
    let folder = release.folder.join(&name);
    files::copy(&release.xenman, &folder.join("xenman"), files::PROGRAM)?;
    files::write(&folder.join("xenman.1"), release.printed(&["man"])?)?;
    for (shell, file) in [
        ("bash", "xenman.bash"),
        ("zsh", "_xenman"),
        ("fish", "xenman.fish"),
    ] {
        let script = release.printed(&["completion", shell])?;
        files::write(&folder.join("completion").join(file), script)?;
    }
    pack(release, &folder, &name)
}

/// What runs on the devices.
pub(super) fn images(release: &Release, images: &Images) -> Outcome<PathBuf> {
    let name = format!("alcove-{VERSION}");
    let folder = release.folder.join(&name);
    for image in [
        images.hypervisor(),
        images.dom0(),
        images.hypervisor_for("x86_64"),
        images.dom0_for("x86_64"),
    ] {
        let file = image.file_name().unwrap_or_default();
        files::copy(&image, &folder.join(file), files::FILE)?;
    }
    pack(release, &folder, &name)
}

/// Packs a folder with the documents in it, in the order of names, as nobody's.
fn pack(release: &Release, folder: &Path, name: &str) -> Outcome<PathBuf> {
    files::documents(folder)?;
    files::guide(&folder.join("docs/guide"))?;
    let tarball = release.folder.join(format!("{name}.tar.gz"));
    let mut tar = release.packer(TAR.program);
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=go=rX,u+rw",
    ]);
    tar.args(["--format=gnu", "--use-compress-program=gzip -9n"]);
    tar.arg(format!("--mtime=@{}", release.time))
        .arg("-cf")
        .arg(&tarball);
    tar.arg("-C").arg(&release.folder).arg(name);
    command::run(&mut tar)?;
    Ok(tarball)
}
