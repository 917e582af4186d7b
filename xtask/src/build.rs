//! `cargo xtask build`: all images and tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use argh::FromArgs;
use harness::images::{Images, workspace_root};
use serde_json::Value;

use crate::failure::Failure;
use crate::toolchain::{AARCH64, Toolchain, X86_64};
use crate::{Outcome, command, image, packages};

/// Build all images and tools (always optimised).
#[derive(FromArgs)]
#[argh(subcommand, name = "build")]
pub(crate) struct Build {
    /// accepted for habit's sake: images and tools are always release builds
    #[argh(switch)]
    #[expect(dead_code, reason = "both spellings of the command mean the same")]
    release: bool,
}

impl Build {
    pub(crate) fn run(self) -> Outcome {
        let images = build()?;
        let built = [
            images.hypervisor(),
            images.dom0(),
            images.hypervisor_for("x86_64"),
            images.dom0_for("x86_64"),
            images.xenman(),
        ];
        for path in built {
            let size = fs::metadata(&path).map_err(Failure::file(&path))?.len();
            println!("{} ({} KiB)", path.display(), size.div_ceil(1024));
        }
        Ok(())
    }
}

/// Builds everything and says where it is.
pub(crate) fn build() -> Outcome<Images> {
    packages::need(&[&packages::CC])?;
    let images = Images::of_workspace();
    for architecture in ["aarch64", "x86_64"] {
        command::make_folder(&images.guests_for(architecture))?;
    }
    hypervisor(&images)?;
    dom0(&images)?;
    guests(&images)?;
    xenman(&images)?;
    Ok(images)
}

fn hypervisor(images: &Images) -> Outcome {
    let what = ["-p", "arch-aarch64", "--bin", "hv-aarch64"];
    let elf = only(bare_metal(AARCH64, &what)?)?;
    replace(&read(&elf)?, &images.folder().join("hv-aarch64.elf"))?;
    flat_image(&elf, &images.hypervisor())?;
    let what = ["-p", "arch-x86_64", "--bin", "hv-x86_64"];
    elf_image(X86_64, &what, &images.hypervisor_for("x86_64"))
}

fn dom0(images: &Images) -> Outcome {
    let what = ["-p", "dom0-mini", "--bin", "dom0-mini"];
    elf_image(AARCH64, &what, &images.dom0())?;
    elf_image(X86_64, &what, &images.dom0_for("x86_64"))
}

/// Builds an image that stays an ELF file, and puts it in place without what only a debugger wants: that would stay in
/// memory with the boot bundle. The whole file goes beside it.
fn elf_image(target: &str, what: &[&str], to: &Path) -> Outcome {
    let built = only(bare_metal(target, what)?)?;
    replace(&read(&built)?, &to.with_extension("elf"))?;
    stripped(&built, to)
}

fn stripped(elf: &Path, to: &Path) -> Outcome {
    let stripped = image::strip(read(elf)?);
    let stripped = stripped.map_err(|why| Failure::new(format!("{}: {why}", elf.display())))?;
    replace(&stripped, to)
}

/// Guests that are for one architecture only, as `guest!` has it in their source.
const ARM_GUESTS: [&str; 8] = [
    "bench_uart",
    "gic",
    "hostile_cpus",
    "hostile_firmware",
    "hostile_gic",
    "hostile_mmio",
    "hostile_registers",
    "serial",
];
const X86_GUESTS: [&str; 10] = [
    "cpus_by_calls",
    "hostile_cpuid",
    "hostile_crs",
    "hostile_mmio_x86",
    "hostile_msrs",
    "hostile_ports",
    "hostile_tables",
    "hostile_triple",
    "hostile_x2apic",
    "vectors_kept",
];

fn guests(images: &Images) -> Outcome {
    let what = ["-p", "guests", "--bins"];
    for (elf, name) in named(bare_metal(AARCH64, &what)?) {
        if !X86_GUESTS.contains(&name.as_str()) {
            flat_image(&elf, &images.guest_for("aarch64", &name))?;
        }
    }
    for (elf, name) in named(bare_metal(X86_64, &what)?) {
        if !ARM_GUESTS.contains(&name.as_str()) {
            stripped(&elf, &images.guest_for("x86_64", &name))?;
        }
    }
    Ok(())
}

/// Files with their names.
fn named(files: Vec<PathBuf>) -> impl Iterator<Item = (PathBuf, String)> {
    files.into_iter().filter_map(|file| {
        let name = file.file_name()?.to_str()?.to_owned();
        Some((file, name))
    })
}

fn xenman(images: &Images) -> Outcome {
    let mut cargo = Toolchain::find()?.cargo();
    cargo.args(["build", "--release", "-p", "xenman-lite", "--bin", "xenman"]);
    command::run(cargo.current_dir(workspace_root()))?;
    link_second_name(&images.xenman(), "xm")
}

/// Builds for a machine without an operating system, and returns the ELF files made.
fn bare_metal(target: &str, what: &[&str]) -> Outcome<Vec<PathBuf>> {
    let mut cargo = Toolchain::find()?.cargo();
    cargo
        .arg("build")
        .args(what)
        .args(["--target", target, "--profile", "image"]);
    executables(cargo.current_dir(workspace_root()))
}

fn executables(cargo: &mut Command) -> Outcome<Vec<PathBuf>> {
    cargo
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let messages = command::output(cargo)?;
    Ok(messages.lines().filter_map(executable).collect())
}

fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    message.get("executable")?.as_str().map(PathBuf::from)
}

fn only(mut files: Vec<PathBuf>) -> Outcome<PathBuf> {
    files
        .pop()
        .ok_or_else(|| Failure::new("cargo names no executable"))
}

fn flat_image(elf: &Path, to: &Path) -> Outcome {
    let about = |why: &str| Failure::new(format!("{}: {why}", elf.display()));
    let flat = image::flatten(&read(elf)?).map_err(|why| about(&why))?;
    if !image::is_arm64_image(&flat) {
        return Err(about("does not begin with a Linux Image header"));
    }
    replace(&flat, to)
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(Failure::file(path))
}

/// Puts a file in place at once, so that a machine starting meanwhile sees the old or the new one.
fn replace(content: &[u8], to: &Path) -> Outcome {
    let new = to.with_extension("new");
    fs::write(&new, content).map_err(Failure::file(&new))?;
    fs::rename(&new, to).map_err(Failure::file(to))
}

fn link_second_name(program: &Path, name: &str) -> Outcome {
    let link = program.with_file_name(name);
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link).map_err(Failure::file(&link))?;
    }
    let target = program.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(target, &link).map_err(Failure::file(&link))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guests whose source says that they are for an architecture.
    fn guests_for(architecture: &str) -> Vec<String> {
        let claim = format!("guests::guest!(\"{architecture}\", ");
        let sources = fs::read_dir(workspace_root().join("tests/guests/src/bin")).unwrap();
        let sources = sources.map(|entry| entry.unwrap().path());
        let claims = |path: &PathBuf| {
            let main = if path.is_dir() {
                path.join("main.rs")
            } else {
                path.clone()
            };
            fs::read_to_string(main).unwrap().contains(&claim)
        };
        let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = sources.filter(claims).map(name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn guests_for_one_architecture_are_those_that_say_so() {
        assert_eq!(guests_for("aarch64"), ARM_GUESTS);
        assert_eq!(guests_for("x86_64"), X86_GUESTS);
    }

    #[test]
    fn executables_are_taken_from_cargos_messages() {
        let artifact = r#"{"reason":"compiler-artifact","executable":"/t/hv-aarch64"}"#;
        assert_eq!(executable(artifact), Some(PathBuf::from("/t/hv-aarch64")));
        assert_eq!(
            executable(r#"{"reason":"compiler-artifact","executable":null}"#),
            None
        );
        assert_eq!(executable("Compiling"), None);
    }

    #[test]
    fn an_elf_without_an_image_header_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let elf = dir.path().join("text");
        fs::write(&elf, "text").unwrap();
        let failure = flat_image(&elf, &dir.path().join("flat")).unwrap_err();
        assert!(failure.to_string().starts_with(elf.to_str().unwrap()));
    }

    #[test]
    fn the_second_name_can_be_linked_again() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("xenman");
        fs::write(&program, "it").unwrap();
        link_second_name(&program, "xm").unwrap();
        link_second_name(&program, "xm").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("xm")).unwrap(), "it");
    }
}
