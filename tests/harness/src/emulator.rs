//! A running machine.
//!
//! It ends when its [`Emulator`] is dropped, when its time is up, or when this program ends, whichever is first. Its
//! serial line is always recorded; when a test fails, the record is kept and its place printed.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::board::Board;
use crate::bochs::{self, Bochs};
use crate::images::Images;
use crate::machine::{Disk, Machine, Serial};
use crate::process;
use crate::serial::Transcript;

/// Why a machine did not start.
#[derive(Debug)]
pub enum Error {
    /// A file that the machine boots from is not there.
    Missing(PathBuf),
    /// A tool that the emulator needs is not there.
    Tool(&'static bochs::Tool),
    /// What Bochs boots could not be made.
    Bochs(&'static str, String),
    /// The emulator could not be started.
    Start(&'static str, io::Error),
    /// The serial log could not be made or read.
    Log(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(path) => {
                write!(
                    f,
                    "{} is missing; `cargo xtask build` makes it",
                    path.display()
                )
            }
            Error::Tool(tool) => write!(
                f,
                "{} is not there; Debian's package {} has it",
                tool.program, tool.package
            ),
            Error::Bochs(doing, why) => write!(f, "{doing}: {}", why.trim_end()),
            Error::Start(program, error) => write!(f, "cannot start {program}: {error}"),
            Error::Log(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// A machine that runs until this is dropped.
pub struct Emulator {
    child: Arc<Mutex<Child>>,
    serial: Transcript,
    log: PathBuf,
    /// What Bochs needs besides, until it has ended.
    bochs: Option<Bochs>,
    /// Dropped with us, which tells the watchdog to stop.
    _watchdog: Sender<()>,
}

impl Emulator {
    /// Starts `machine`, to be ended after `limit` at the latest, with its serial line in the file `log`.
    pub fn start(
        machine: &Machine,
        log: &Path,
        link: Option<&Path>,
        limit: Duration,
    ) -> Result<Self, Error> {
        for file in [
            Some(&machine.kernel),
            machine.initrd.as_ref(),
            machine.disk.as_ref().map(Disk::path),
        ] {
            if let Some(file) = file.filter(|file| !file.exists()) {
                return Err(Error::Missing(file.clone()));
            }
        }
        print_version_once(machine.board.emulator());
        let log_error = |error| Error::Log(log.to_owned(), error);
        File::create(log).map_err(log_error)?;
        let serial = Transcript::of_file(log).map_err(log_error)?;
        let (command, bochs) = match machine.board {
            Board::QemuVirt | Board::QemuQ35 => (machine.command(Serial::File(log), link), None),
            Board::BochsPc => {
                let bochs = Bochs::prepare(machine, log, link)?;
                (bochs.command(), Some(bochs))
            }
        };
        let child = process::spawn(command)
            .map_err(|error| Error::Start(machine.board.emulator(), error))?;
        let child = Arc::new(Mutex::new(child));
        let watchdog = watch(Arc::clone(&child), limit);
        Ok(Self {
            child,
            serial,
            log: log.to_owned(),
            bochs,
            _watchdog: watchdog,
        })
    }

    /// What the machine says on its serial line.
    #[must_use]
    pub fn serial(&self) -> &Transcript {
        &self.serial
    }

    /// The last lines of the serial line, and what the emulator itself complains about.
    #[must_use]
    pub fn last_words(&self) -> String {
        let complaint = self.bochs.as_ref().map(Bochs::complaint);
        self.serial.tail() + &complaint.unwrap_or_default()
    }

    /// Whether the emulator is still there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// The emulator's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Waits until the machine has switched itself off; says whether it did within `limit`.
    #[must_use]
    pub fn ends_within(&self, limit: Duration) -> bool {
        let deadline = SystemTime::now() + limit;
        while self.is_running() {
            if SystemTime::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Copies the serial log to where it survives, prints where that is, and shows its last lines.
    pub fn keep_log(&self, name: &str) {
        let folder = Images::of_workspace().failed();
        let kept = folder.join(format!("{name}.serial.log"));
        let copied = fs::create_dir_all(&folder).and_then(|()| fs::copy(&self.log, &kept));
        match copied {
            Ok(_) => eprintln!("serial log kept as {}; its end:", kept.display()),
            Err(error) => eprintln!("the serial log could not be kept ({error}); its end:"),
        }
        eprintln!("{}", self.last_words());
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        process::end(&mut self.child());
        if thread::panicking() {
            self.keep_log(
                thread::current()
                    .name()
                    .unwrap_or("machine")
                    .replace("::", "-")
                    .as_str(),
            );
        }
    }
}

fn watch(child: Arc<Mutex<Child>>, limit: Duration) -> Sender<()> {
    let (watchdog, dropped) = channel();
    thread::spawn(move || {
        if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the machine was ended: its {} s are over", limit.as_secs());
            process::end(&mut child.lock().unwrap_or_else(PoisonError::into_inner));
        }
    });
    watchdog
}

fn print_version_once(program: &'static str) {
    static PRINTED: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let mut printed = PRINTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !printed.contains(&program) {
        printed.push(program);
        eprintln!("emulator: {}", version(program));
    }
}

/// An emulator's version as it names it.
#[must_use]
pub fn version(program: &str) -> String {
    if program == Board::BochsPc.emulator() {
        return bochs::version();
    }
    let mut command = Command::new(program);
    command.arg("--version");
    let output = process::run(command, Duration::from_secs(20));
    let text = output.map(|output| output.stdout).unwrap_or_default();
    text.lines()
        .next()
        .unwrap_or("unknown version of QEMU")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_is_named_before_anything_starts() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::qemu_virt("/no/hypervisor", "/no/bundle");
        let log = dir.path().join("serial.log");
        let error = Emulator::start(&machine, &log, None, Duration::from_secs(1))
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("/no/hypervisor is missing"));
        assert!(!log.exists());
    }
}
