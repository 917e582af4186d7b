//! Programs that verbs need, and the Debian packages that have them.
//!
//! A missing one is named and installed through apt: after asking where there is a terminal, at once where there is
//! none. Foreign architectures and existing packages are never touched.

use std::io::{self, IsTerminal, Write};
use std::process::Command;

use harness::board::Board;
use harness::bochs;
pub(crate) use harness::bochs::Tool;
use harness::process::which;

use crate::Outcome;
use crate::command;
use crate::failure::Failure;

/// The emulator of the ARM boards.
pub(crate) const QEMU_ARM: Tool = Tool::new("qemu-system-aarch64", "qemu-system-arm");
/// The emulator of the x86 boards.
pub(crate) const QEMU_X86: Tool = Tool::new("qemu-system-x86_64", "qemu-system-x86");
/// The device tree compiler: tests check our device trees with it.
pub(crate) const DTC: Tool = Tool::new("dtc", "device-tree-compiler");
/// The linker's driver, for programs of this machine.
pub(crate) const CC: Tool = Tool::new("cc", "gcc");

/// Unpacks kernels that are packed so.
pub(crate) const XZ: Tool = Tool::new("xz", "xz-utils");

/// The compiler and decompiler of ACPI tables: tests check our tables with it.
pub(crate) const IASL: Tool = Tool::new("iasl", "acpica-tools");

/// What a board is emulated with.
pub(crate) fn emulator(board: Board) -> Vec<&'static Tool> {
    match board {
        Board::QemuVirt => vec![&QEMU_ARM],
        Board::QemuQ35 => vec![&QEMU_X86],
        Board::BochsPc => bochs::TOOLS.iter().collect(),
    }
}

/// Makes sure that all `tools` are there.
pub(crate) fn need(tools: &[&Tool]) -> Outcome {
    let missing: Vec<_> = tools.iter().filter(|tool| !tool.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<_> = missing.iter().map(|tool| tool.program).collect();
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    install(&packages, &format!("{} not found", programs.join(", ")))
}

/// Installs `packages`, which are wanted because of `why`.
pub(crate) fn install(packages: &[&str], why: &str) -> Outcome {
    let list = packages.join(" ");
    if !which("apt-get") {
        return Err(Failure::new(format!(
            "{why}, and there is no apt-get here; install what Debian calls: {list}"
        )));
    }
    if io::stdin().is_terminal() && !confirmed(&format!("{why}. Install {list} with apt?")) {
        return Err(Failure::new(format!(
            "{why}; install with: apt-get install {list}"
        )));
    }
    eprintln!("xtask: {why}: installing {list}");
    // A stale list may name versions that the mirror no longer has; when even updating fails, what is there is tried.
    if !command::succeeds(apt_get().arg("update"))? {
        eprintln!("xtask: apt-get update failed; trying with the lists there are");
    }
    command::run(
        apt_get()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )
}

/// Whether Debian's package manager has `package` installed.
pub(crate) fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query
        .args(["-W", "-f=${db:Status-Status}", package])
        .stderr(std::process::Stdio::null());
    query
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

/// A command that runs as root.
pub(crate) fn as_root(program: &str) -> Command {
    if is_root() {
        Command::new(program)
    } else {
        let mut command = Command::new("sudo");
        command.arg(program);
        command
    }
}

fn apt_get() -> Command {
    // `env` keeps the variable through sudo.
    let mut command = as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
    // Somebody else may be at it.
    command.args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn confirmed(question: &str) -> bool {
    eprint!("{question} [Y/n] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "" | "y" | "Y" | "yes")
}
