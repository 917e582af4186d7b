//! xenman as a Debian package.
//!
//! The name `xm` is left to Xen's own tools: the package has none of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DPKG_DEB, GZIP, Release, VERSION, files};
use crate::failure::Failure;
use crate::{Outcome, command};

/// Who answers for the package.
const MAINTAINER: &str = "Alcove maintainers <maintainers@alcove.invalid>";

/// Where files go, and what xenman prints into them.
const PRINTED: [(&str, &[&str]); 4] = [
    ("usr/share/man/man1/xenman.1", &["man"]),
    (
        "usr/share/bash-completion/completions/xenman",
        &["completion", "bash"],
    ),
    (
        "usr/share/zsh/vendor-completions/_xenman",
        &["completion", "zsh"],
    ),
    (
        "usr/share/fish/vendor_completions.d/xenman.fish",
        &["completion", "fish"],
    ),
];

/// The package's own folder of documents.
const DOC: &str = "usr/share/doc/xenman";

/// What of it a Debian package has packed.
const PACKED: [&str; 2] = [
    "usr/share/man/man1/xenman.1",
    "usr/share/doc/xenman/changelog",
];

/// Makes the package.
pub(super) fn xenman(release: &Release) -> Outcome<PathBuf> {
    let architecture = architecture(&release.target)?;
    let name = format!("xenman_{VERSION}_{architecture}");
    let root = release.folder.join(&name);
    lay_out(release, &root)?;
    let program = fs::read(&release.xenman).map_err(Failure::file(&release.xenman))?;
    let size: u64 = lengths(&root)?
        .iter()
        .map(|length| length.div_ceil(1024))
        .sum();
    let sums = md5sums(&root)?;
    let control = control(architecture, size, &libc_version(&program)?);
    files::write(&root.join("DEBIAN/control"), control)?;
    files::write(&root.join("DEBIAN/md5sums"), sums)?;
    let package = release.folder.join(format!("{name}.deb"));
    let mut build = release.packer(DPKG_DEB.program);
    build
        .args(["--root-owner-group", "-Zxz", "--build"])
        .arg(&root)
        .arg(&package);
    build.stdout(std::process::Stdio::null());
    command::run(&mut build)?;
    Ok(package)
}

fn lay_out(release: &Release, root: &Path) -> Outcome {
    files::copy(
        &release.xenman,
        &root.join("usr/bin/xenman"),
        files::PROGRAM,
    )?;
    for (path, words) in PRINTED {
        files::write(&root.join(path), release.printed(words)?)?;
    }
    let doc = root.join(DOC);
    files::documents(&doc)?;
    files::guide(&doc.join("guide"))?;
    rename(&doc.join("CHANGELOG.md"), &doc.join("changelog"))?;
    files::write(&doc.join("copyright"), copyright(&doc)?)?;
    for path in PACKED {
        command::run(Command::new(GZIP.program).arg("-9n").arg(root.join(path)))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Outcome {
    fs::rename(from, to).map_err(Failure::file(from))
}

/// The licences in the form Debian reads. Apache's is in /usr/share/common-licenses; it stays here as a file, too.
fn copyright(doc: &Path) -> Outcome<String> {
    let mit = doc.join("LICENSE-MIT");
    let mit = fs::read_to_string(&mit).map_err(Failure::file(&mit))?;
    let indented = |line: &str| match line.trim_end() {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    };
    let mit: String = mit.lines().map(indented).collect();
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: Alcove\n\n\
         Files: *\nCopyright: the Alcove authors\nLicense: MIT or Apache-2.0\n\nLicense: MIT\n{mit}\n\
         License: Apache-2.0\n See /usr/share/common-licenses/Apache-2.0, and LICENSE-APACHE beside this file.\n"
    ))
}

/// Debian's name of an architecture.
fn architecture(target: &str) -> Outcome<&'static str> {
    match target.split('-').next() {
        Some("x86_64") => Ok("amd64"),
        Some("aarch64") => Ok("arm64"),
        _ => Err(Failure::new(format!(
            "no Debian package is made for {target}"
        ))),
    }
}

fn control(architecture: &str, size_kib: u64, libc: &str) -> String {
    format!(
        "Package: xenman\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {size_kib}\nDepends: libc6 (>= {libc}), libgcc-s1\nSection: admin\nPriority: optional\n\
         Description: command line of the Alcove hypervisor\n \
         xenman creates, looks at, saves, restores and stops the domains of a host that runs\n \
         Alcove, an embedded and edge hypervisor, and shows them in a dashboard.\n"
    )
}

/// The oldest C library that has all that a program wants: the latest version that it names.
fn libc_version(program: &[u8]) -> Outcome<String> {
    const PREFIX: &[u8] = b"GLIBC_2.";
    let named = program
        .windows(PREFIX.len() + 3)
        .filter(|it| it.starts_with(PREFIX));
    let minor = named.filter_map(|it| {
        let digits = it
            .get(PREFIX.len()..)?
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let digits: Vec<u8> = digits.copied().collect();
        String::from_utf8(digits).ok()?.parse::<u32>().ok()
    });
    let latest = minor.max();
    latest
        .map(|minor| format!("2.{minor}"))
        .ok_or_else(|| Failure::new("xenman names no version of the C library"))
}

fn lengths(root: &Path) -> Outcome<Vec<u64>> {
    let length = |path: PathBuf| Ok(fs::metadata(&path).map_err(Failure::file(&path))?.len());
    files::below(root)?.into_iter().map(length).collect()
}

/// The files' sums, as dpkg checks them.
fn md5sums(root: &Path) -> Outcome<String> {
    let files = files::below(root)?;
    let files = files.iter().filter_map(|path| path.strip_prefix(root).ok());
    command::output(Command::new("md5sum").args(files).current_dir(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_c_library_that_is_named_is_wanted() {
        let program = b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.17\0GLIBC_PRIVATE\0and more behind";
        assert_eq!(libc_version(program).unwrap(), "2.34");
        assert!(libc_version(b"nothing of it").is_err());
    }

    #[test]
    fn a_machine_has_debians_name() {
        assert_eq!(architecture("x86_64-unknown-linux-gnu").unwrap(), "amd64");
        assert_eq!(architecture("aarch64-unknown-linux-gnu").unwrap(), "arm64");
        assert!(architecture("riscv64gc-unknown-linux-gnu").is_err());
    }

    #[test]
    fn the_control_file_is_one_that_dpkg_reads() {
        let control = control("amd64", 12, "2.34");
        for line in control.lines().filter(|line| !line.starts_with(' ')) {
            assert!(
                line.split_once(": ")
                    .is_some_and(|(_, value)| !value.is_empty()),
                "{line}"
            );
        }
        assert!(control.ends_with(".\n") && control.contains("Depends: libc6 (>= 2.34)"));
    }
}
