//! A Rust toolchain that can build for the bare-metal targets, found or made.
//!
//! In this order: the active toolchain, if it has the targets; the toolchain that an earlier call made; `rustup
//! target add`; Debian's `rustc-web` with core and alloc built from Debian's own matching source, linked as rustup
//! toolchain `alcove`. Existing toolchains are never changed or updated, no override is set, and
//! `RUSTUP_AUTO_INSTALL=0` is taken as "rustup shall not download".
//!
//! A toolchain *has* a target when it compiles a two-line crate for it: a folder of libraries that an older compiler
//! left looks right and fails (E0514).

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use harness::process::which;

use crate::Outcome;
use crate::failure::Failure;
use crate::{command, packages};

/// The target of everything that runs on ARM without Linux.
pub(crate) const AARCH64: &str = "aarch64-unknown-none-softfloat";
/// The target of everything that runs on x86 without Linux.
pub(crate) const X86_64: &str = "x86_64-unknown-none";
const TARGETS: [&str; 2] = [AARCH64, X86_64];

const LINKED: &str = "alcove";
const PROBE: &[u8] = b"#![no_std]\nextern crate alloc;\n";
const DEBIAN_PACKAGES: [&str; 7] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rustfmt-web",
    "rust-web-clippy",
    "gcc",
    "libc6-dev",
];
const SCRIPT: &str = include_str!("../debian-core.sh");

/// A toolchain that has the bare-metal targets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// Whatever plain `cargo` is here.
    Active,
    /// Debian's, under the name that rustup knows it by.
    Linked,
    /// Debian's, where there is no rustup.
    Debian,
}

impl Toolchain {
    /// The toolchain to use, made if necessary; found once per run.
    pub(crate) fn find() -> Outcome<Self> {
        static FOUND: OnceLock<Toolchain> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(*found);
        }
        let found = find_or_make()?;
        Ok(*FOUND.get_or_init(|| found))
    }

    /// A cargo command.
    pub(crate) fn cargo(self) -> Command {
        self.tool("cargo")
    }

    fn tool(self, name: &str) -> Command {
        let mut command = match self {
            Toolchain::Debian => Command::new(Path::new("/usr/bin").join(name)),
            Toolchain::Active | Toolchain::Linked => Command::new(name),
        };
        if self == Toolchain::Linked {
            command.env("RUSTUP_TOOLCHAIN", LINKED);
        }
        // Cargo sets these for us, its child; they name *its* compiler, not that of the cargo we start.
        for name in ["CARGO", "RUSTC", "RUSTDOC"] {
            command.env_remove(name);
        }
        command
    }

    fn usable(self) -> bool {
        TARGETS.iter().all(|target| self.compiles_for(target))
    }

    fn compiles_for(self, target: &str) -> bool {
        let Ok(scratch) = tempfile::tempdir() else {
            return false;
        };
        let mut rustc = self.tool("rustc");
        rustc.args([
            "--target",
            target,
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
        ]);
        rustc.arg("--out-dir").arg(scratch.path()).arg("-");
        rustc
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(mut child) = rustc.spawn() else {
            return false;
        };
        let written = child
            .stdin
            .take()
            .is_some_and(|mut input| input.write_all(PROBE).is_ok());
        child.wait().is_ok_and(|status| status.success() && written)
    }
}

fn find_or_make() -> Outcome<Toolchain> {
    if Toolchain::Active.usable() {
        return Ok(Toolchain::Active);
    }
    let rustup = which("rustup");
    if rustup && Toolchain::Linked.usable() {
        return Ok(Toolchain::Linked);
    }
    if rustup && may_download() {
        eprintln!("xtask: adding the bare-metal targets to the active toolchain");
        let added =
            command::succeeds(Command::new("rustup").args(["target", "add"]).args(TARGETS))?;
        if added && Toolchain::Active.usable() {
            return Ok(Toolchain::Active);
        }
        eprintln!("xtask: rustup could not provide the targets; trying Debian's packages");
    }
    if !Toolchain::Debian.usable() {
        make_from_debian()?;
    }
    if !rustup {
        return Ok(Toolchain::Debian);
    }
    command::run(Command::new("rustup").args(["toolchain", "link", LINKED, "/usr"]))?;
    Ok(Toolchain::Linked)
}

fn may_download() -> bool {
    std::env::var_os("RUSTUP_AUTO_INSTALL").as_deref() != Some(OsStr::new("0"))
}

fn make_from_debian() -> Outcome {
    let remedy = format!("or run: rustup target add {}", TARGETS.join(" "));
    // rustc-web conflicts with these, and apt would remove them.
    for package in ["rustc", "cargo", "rustup"] {
        if packages::is_installed(package) {
            return Err(Failure::new(format!(
                "no Rust with the bare-metal targets: Debian's package {package} is in the way of rustc-web; \
                 remove it, {remedy}"
            )));
        }
    }
    install(&DEBIAN_PACKAGES)?;
    install(&[&format!("lld-{}", llvm_version()?)])?;
    build_core()?;
    if Toolchain::Debian.usable() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "Debian's Rust still cannot use the bare-metal targets; {remedy}"
        )))
    }
}

fn install(names: &[&str]) -> Outcome {
    let missing: Vec<_> = names
        .iter()
        .copied()
        .filter(|name| !packages::is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    packages::install(
        &missing,
        "the active Rust toolchain lacks the bare-metal targets",
    )
}

/// The bare-metal targets link with rust-lld, which must be of the compiler's own LLVM.
fn llvm_version() -> Outcome<String> {
    let text = command::output(Command::new("/usr/bin/rustc").arg("-vV"))?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "));
    let major = version.and_then(|version| version.split('.').next());
    major
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("rustc does not say which LLVM it has"))
}

fn build_core() -> Outcome {
    eprintln!("xtask: building core and alloc for the bare-metal targets (a minute, once)");
    let scratch = tempfile::tempdir().map_err(Failure::file(Path::new("/tmp")))?;
    let script = scratch.path().join("debian-core.sh");
    fs::write(&script, SCRIPT).map_err(Failure::file(&script))?;
    let mut command = packages::as_root("bash");
    command.arg(&script).args(TARGETS);
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUSTC_WRAPPER",
    ] {
        command.env_remove(name);
    }
    command::run(&mut command)
}
