//! A managed host: a running machine with xend in it, the broker that owns its management port, and `xenman`.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::board::Board;
use crate::emulator::{self, Emulator};
use crate::images::Images;
use crate::machine::Machine;
use crate::process::{self, Output};
use crate::serial::Transcript;

/// Where `xenman` keeps what it does not keep for a person.
const OWN: &str = "xenman";
/// How long one `xenman` call may take where nothing else is said.
pub const CALL_LIMIT: Duration = Duration::from_secs(60);
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How long a board may take until xend answers.
pub const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// Why a host did not come up.
#[derive(Debug)]
pub enum Error {
    /// The machine did not start.
    Machine(emulator::Error),
    /// A file or a process of ours.
    Io(&'static str, io::Error),
    /// The machine ended; its last lines.
    MachineEnded(String),
    /// The broker ended; what it said.
    BrokerEnded(String),
    /// Xend did not answer in time: what `xenman` said last, and the machine's last lines.
    NoAnswer(String, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Machine(error) => write!(f, "{error}"),
            Error::Io(doing, error) => write!(f, "{doing}: {error}"),
            Error::MachineEnded(tail) => {
                write!(f, "the machine ended; its last lines:\n{tail}")
            }
            Error::BrokerEnded(said) => write!(f, "the broker (xenman serve) ended:\n{said}"),
            Error::NoAnswer(said, tail) => write!(
                f,
                "xend did not answer in time; xenman said: {said}\nthe machine's last lines:\n{tail}"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// A machine whose xend answers. Dropping it ends the broker and the machine.
pub struct Host {
    broker: Child,
    broker_said: Transcript,
    emulator: Emulator,
    xenman: PathBuf,
    /// What xenman last said about an xend that does not answer.
    last_said: String,
    folder: TempDir,
}

impl Host {
    /// Boots `machine` with its broker and waits until xend answers. The machine is ended after `limit`.
    pub fn boot(machine: &Machine, limit: Duration) -> Result<Self, Error> {
        Self::start(machine, limit)?.wait_for_xend(BOOT_LIMIT)
    }

    /// Starts `machine` and its broker, and does not wait.
    pub fn start(machine: &Machine, limit: Duration) -> Result<Self, Error> {
        let xenman = Images::of_workspace().xenman();
        if !xenman.exists() {
            return Err(Error::Machine(emulator::Error::Missing(xenman)));
        }
        let folder = tempfile::Builder::new()
            .prefix("alcove-")
            .tempdir()
            .map_err(|error| Error::Io("making a folder for sockets", error))?;
        let link = folder.path().join("link.sock");
        let log = folder.path().join("serial.log");
        let emulator =
            Emulator::start(machine, &log, Some(&link), limit).map_err(Error::Machine)?;
        if machine.board != Board::BochsPc {
            // What leads to Bochs is there before it starts.
            wait_for_socket(&link, &emulator)?;
        }
        let (broker, broker_said) = start_broker(
            &xenman,
            &machine.link_address(&link),
            &socket_in(folder.path()),
        )?;
        let last_said = String::new();
        Ok(Self {
            broker,
            broker_said,
            emulator,
            xenman,
            last_said,
            folder,
        })
    }

    /// Waits until xend answers through the broker.
    pub fn wait_for_xend(mut self, limit: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + limit;
        while !self.xend_answers()? {
            if Instant::now() > deadline {
                return Err(self.no_answer());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(self)
    }

    /// Whether xend answers by now. An error means that it never will.
    pub fn xend_answers(&mut self) -> Result<bool, Error> {
        self.last_said = match self.xenman_within(["info", "--json"], PROBE_LIMIT) {
            Ok(output) if output.success() => return Ok(true),
            Ok(output) => output.stderr,
            Err(error) => error.to_string(),
        };
        self.check_running()?;
        Ok(false)
    }

    /// The error for a host whose xend has not answered for too long.
    #[must_use]
    pub fn no_answer(&self) -> Error {
        Error::NoAnswer(self.last_said.clone(), self.emulator.last_words())
    }

    /// Makes sure that the machine and the broker are still there.
    pub fn check_running(&mut self) -> Result<(), Error> {
        if !self.emulator.is_running() {
            return Err(Error::MachineEnded(self.emulator.last_words()));
        }
        if !self.broker_is_running() {
            return Err(Error::BrokerEnded(self.broker_said.tail()));
        }
        Ok(())
    }

    /// The socket at which xend is reached.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_in(self.folder.path())
    }

    /// The host in `xenman -H` notation.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// A folder that lives as long as the host, for files that a test needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The machine.
    #[must_use]
    pub fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// What the broker has said.
    #[must_use]
    pub fn broker_said(&self) -> &Transcript {
        &self.broker_said
    }

    /// Whether the broker is still there.
    pub fn broker_is_running(&mut self) -> bool {
        matches!(self.broker.try_wait(), Ok(None))
    }

    /// Runs one `xenman` command to its end.
    pub fn xenman<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> io::Result<Output> {
        self.xenman_within(words, CALL_LIMIT)
    }

    /// Runs one `xenman` command to its end, for at most `limit`.
    pub fn xenman_within<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
        limit: Duration,
    ) -> io::Result<Output> {
        process::run(self.command(words), limit)
    }

    /// The same on another way to this host, such as a [`crate::relay::Relay`].
    pub fn xenman_through<A: AsRef<OsStr>>(
        &self,
        address: &str,
        words: impl IntoIterator<Item = A>,
    ) -> io::Result<Output> {
        let mut command = process::bound(&self.xenman);
        command.arg("-H").arg(address).args(words);
        process::run(command, CALL_LIMIT)
    }

    /// The program `xenman`.
    #[must_use]
    pub fn xenman_program(&self) -> &Path {
        &self.xenman
    }

    /// Starts a `xenman` command that one talks to, such as `console NAME`.
    pub fn session<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> io::Result<Session> {
        Session::start(self.command(words))
    }

    fn command<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        let mut command = process::bound(&self.xenman);
        command.env("XENMAN_HOME", self.folder().join(OWN));
        command.arg("-H").arg(self.address()).args(words);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        process::end(&mut self.broker);
        if thread::panicking() {
            eprintln!("the broker said: {}", self.broker_said.tail());
        }
    }
}

/// A program in conversation. Dropping it ends the program.
pub struct Session {
    child: Child,
    /// `None` once closed.
    input: Option<ChildStdin>,
    output: Transcript,
    errors: Transcript,
}

impl Session {
    /// Starts `command` with its input and outputs in our hands.
    pub fn start(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command)?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let errors = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (output, errors) = (Transcript::of_reader(output), Transcript::of_reader(errors));
        Ok(Self {
            child,
            input,
            output,
            errors,
        })
    }

    /// Types `text`, as it is.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        use io::Write;
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(text.as_bytes())?;
        input.flush()
    }

    /// Ends the program's input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// What the program prints.
    #[must_use]
    pub fn output(&self) -> &Transcript {
        &self.output
    }

    /// What the program complains about.
    #[must_use]
    pub fn errors(&self) -> &Transcript {
        &self.errors
    }

    /// The exit status, if the program ends within `limit` and not by a signal.
    pub fn status(&mut self, limit: Duration) -> io::Result<Option<i32>> {
        Ok(process::wait(&mut self.child, limit)?.and_then(|status| status.code()))
    }

    /// Kills the program at once, as a crash or `kill -9` would.
    pub fn kill(&mut self) {
        process::end(&mut self.child);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("xend.sock")
}

/// The file is there a moment before anybody listens.
fn is_listening(link: &Path) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut listening = sockets.lines().filter(|line| {
        // Num, RefCount, Protocol, Flags (bit 16: it accepts), Type, St, Inode, Path.
        let flags = line.split_ascii_whitespace().nth(3);
        flags == Some("00010000")
    });
    listening.any(|line| line.ends_with(&*link.to_string_lossy()))
}

fn wait_for_socket(link: &Path, emulator: &Emulator) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_listening(link) {
        if !emulator.is_running() || Instant::now() > deadline {
            return Err(Error::MachineEnded(emulator.last_words()));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn start_broker(xenman: &Path, link: &OsStr, socket: &Path) -> Result<(Child, Transcript), Error> {
    let mut command = process::bound(xenman);
    command.env("XENMAN_HOME", socket.with_file_name(OWN));
    command.arg("serve").arg("-H").arg(link);
    command
        .arg("--listen")
        .arg(format!("unix:{}", socket.display()));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut broker =
        process::spawn(command).map_err(|error| Error::Io("starting xenman serve", error))?;
    let said = broker.stderr.take().map(Transcript::of_reader);
    let said = said.unwrap_or_else(|| Transcript::of_reader(io::empty()));
    Ok((broker, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_conversation() {
        let mut session = Session::start(process::bound("cat")).unwrap();
        session.send("hello\n").unwrap();
        session
            .output()
            .expect("hello", Duration::from_secs(10))
            .unwrap();
        session.close_input();
        assert_eq!(session.status(Duration::from_secs(10)).unwrap(), Some(0));
    }
}
