//! `cargo xtask run`: boots a board and stays up.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;
use harness::board::Board;
use harness::host::{BOOT_LIMIT, Host};
use harness::images::Images;
use harness::machine::Disk;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;
use crate::{Outcome, build, bundle, packages};

const POLL: Duration = Duration::from_millis(100);
/// "Stays up": the watchdog of a machine that somebody uses does not bite within a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Size of a disk that is not there yet.
const NEW_DISK_MIB: u64 = 64;

/// Build everything, boot a board in the emulator and stay up until Ctrl-C.
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
pub(crate) struct Run {
    /// the board: qemu-virt (default), qemu-q35 or bochs-pc
    #[argh(option, default = "\"qemu-virt\".to_owned()", arg_name = "NAME")]
    board: String,

    /// the board's memory in MiB (default 1024, on bochs-pc 512)
    #[argh(option, arg_name = "MIB")]
    memory: Option<u32>,

    /// the board's CPUs (default 1)
    #[argh(option, default = "1", arg_name = "N")]
    cpus: u32,

    /// the CPU model, such as ryzen on bochs-pc, or host on qemu-q35: this machine's, by KVM
    #[argh(option, arg_name = "MODEL")]
    cpu: Option<String>,

    /// version of qemu-virt's interrupt controller: 2 or 3 (default 3)
    #[argh(option, arg_name = "VERSION")]
    gic: Option<u8>,

    /// a disk with this raw content, made with 64 MiB if there is no such file (not on bochs-pc)
    #[argh(option, arg_name = "FILE")]
    disk: Option<PathBuf>,

    /// take the members of this boot bundle too; may be repeated
    #[argh(option, arg_name = "FILE")]
    bundle: Vec<PathBuf>,

    /// the hypervisor's command line, such as "loglvl=debug dom0_mem=32M"
    #[argh(option, default = "String::new()", arg_name = "TEXT")]
    append: String,

    /// show the machine's serial console
    #[argh(switch)]
    console: bool,

    /// stay in the foreground and print nothing but where xend is
    #[argh(switch)]
    headless: bool,
}

impl Run {
    pub(crate) fn run(self) -> Outcome {
        let (board, cpu) = self.check()?;
        packages::need(&packages::emulator(board))?;
        if let Some(disk) = &self.disk {
            make_disk(disk)?;
        }
        let images = build::build()?;
        let stop = on_signals()?;

        let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
        let archive = folder.path().join("bundle.cpio");
        bundle::with_dom0(board, &images, &self.bundle)?.write(&archive)?;
        let mut machine = board.machine(&images, archive);
        machine.memory_mib = self.memory.unwrap_or(machine.memory_mib);
        machine.cpu = cpu.unwrap_or(machine.cpu);
        machine.cpus = self.cpus;
        machine.gic = self.gic.unwrap_or(machine.gic);
        machine.options.clone_from(&self.append);
        machine.disk = self.disk.as_ref().map(Disk::file);

        let mut session = Session {
            host: Host::start(&machine, FOREVER)?,
            shown: 0,
        };
        self.wait_until_up(&mut session, &stop)?;
        if self.shows_dashboard() && !stop.load(Ordering::Relaxed) {
            dashboard(&session, &stop)?;
            println!("The machine runs on; Ctrl-C ends it.");
        }
        self.stay(&mut session, &stop)
    }

    /// Whether there is a terminal for the dashboard, and nothing else was asked for.
    fn shows_dashboard(&self) -> bool {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        is_terminal && !self.headless && !self.console
    }

    /// Refuses what is not there, before anything is built.
    fn check(&self) -> Outcome<(Board, Option<&'static str>)> {
        let board = Board::named(&self.board).map_err(Failure::new)?;
        let cpu = self.cpu.as_deref().map(|name| board.cpu(name));
        let cpu = cpu.transpose().map_err(Failure::new)?;
        if self.disk.is_some() && board == Board::BochsPc {
            return Err(Failure::new(
                "bochs-pc has no virtio disk; use --board qemu-virt or qemu-q35".to_owned(),
            ));
        }
        for bundle in &self.bundle {
            File::open(bundle).map_err(Failure::file(bundle))?;
        }
        match (board, self.gic) {
            (_, None) | (Board::QemuVirt, Some(2 | 3)) => Ok((board, cpu)),
            (Board::QemuVirt, Some(other)) => Err(Failure::new(format!(
                "there is no GICv{other} on qemu-virt; use --gic 2 or --gic 3"
            ))),
            (other, Some(_)) => Err(Failure::new(format!(
                "{} has no GIC; --gic is for qemu-virt",
                other.name()
            ))),
        }
    }

    fn wait_until_up(&self, session: &mut Session, stop: &AtomicBool) -> Outcome {
        let deadline = Instant::now() + BOOT_LIMIT;
        while !stop.load(Ordering::Relaxed) {
            self.show(session);
            match session.host.xend_answers() {
                Ok(true) => break,
                Ok(false) if Instant::now() < deadline => thread::sleep(POLL),
                Ok(false) => return Err(session.host.no_answer().into()),
                Err(error) => return Err(error.into()),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        println!("xend: {}", session.host.address());
        if !self.headless {
            println!(
                "Try: target/release/xenman -H {} info",
                session.host.address()
            );
        }
        io::stdout()
            .flush()
            .map_err(Failure::file("standard output".as_ref()))
    }

    fn stay(&self, session: &mut Session, stop: &AtomicBool) -> Outcome {
        while !stop.load(Ordering::Relaxed) {
            self.show(session);
            session.host.check_running()?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Passes on what the machine has said since last time.
    fn show(&self, session: &mut Session) {
        if self.console {
            let said = session.host.emulator().serial().since(session.shown);
            session.shown += said.len();
            // A terminal that is gone is no reason to end the machine.
            let _ = io::stdout()
                .write_all(&said)
                .and_then(|()| io::stdout().flush());
        }
    }
}

/// Makes an empty disk, unless there is one.
fn make_disk(path: &Path) -> Outcome {
    if path.exists() {
        return Ok(());
    }
    let made = File::create_new(path).and_then(|file| file.set_len(NEW_DISK_MIB << 20));
    made.map_err(Failure::file(path))?;
    eprintln!(
        "{} is new: an empty disk of {NEW_DISK_MIB} MiB",
        path.display()
    );
    Ok(())
}

/// The dashboard, until the operator leaves it. It has the terminal, and Ctrl-C is a key there.
fn dashboard(session: &Session, stop: &AtomicBool) -> Outcome {
    let mut xenman = Command::new(Images::of_workspace().xenman());
    xenman.arg("-H").arg(session.host.address());
    let mut child = xenman
        .spawn()
        .map_err(|error| Failure::Start("xenman".to_owned(), error))?;
    loop {
        match child.try_wait() {
            Ok(None) if stop.load(Ordering::Relaxed) => break,
            Ok(None) => thread::sleep(POLL),
            Ok(Some(_)) | Err(_) => return Ok(()),
        }
    }
    // It is asked to end, so that it gives the terminal back.
    let mut kill = Command::new("kill");
    let asked = kill.args(["-TERM", &child.id().to_string()]).status();
    let ended = child.wait();
    asked
        .and(ended)
        .map(drop)
        .map_err(|error| Failure::Start("kill".to_owned(), error))
}

struct Session {
    host: Host,
    /// How many bytes of the serial console have been shown.
    shown: usize,
}

fn on_signals() -> Outcome<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(Failure::file("signal handler".as_ref()))?;
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let run = Run::from_args(&["run"], arguments).unwrap();
        run.check()
            .err()
            .map(|failure| failure.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_is_not_there_is_refused_with_a_sentence() {
        assert_eq!(refusal(&["--memory", "2048", "--headless"]), "");
        assert_eq!(refusal(&["--gic", "2"]), "");
        assert!(refusal(&["--gic", "4"]).contains("there is no GICv4"));
        assert!(refusal(&["--board", "qemu-q35", "--gic", "2"]).contains("has no GIC"));
        assert!(refusal(&["--bundle", "/nonexistent"]).starts_with("/nonexistent: "));
        assert!(refusal(&["--board", "rpi4"]).contains("not supported yet"));
        assert_eq!(refusal(&["--board", "bochs-pc", "--cpu", "ryzen"]), "");
        assert!(refusal(&["--cpu", "ryzen"]).contains("there is cortex-a53"));
        assert_eq!(refusal(&["--disk", "d.raw"]), "");
        let on_bochs = ["--board", "bochs-pc", "--disk", "d.raw"];
        assert!(refusal(&on_bochs).contains("has no virtio disk"));
    }

    #[test]
    fn a_disk_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.raw");
        make_disk(&path).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 64 << 20);
        std::fs::write(&path, "mine").unwrap();
        make_disk(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
