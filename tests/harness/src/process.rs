//! Child processes that cannot outlive us and cannot hang us.
//!
//! [`bound`] starts a program under `setpriv --pdeathsig` (util-linux), so the kernel kills it when the thread that
//! started it ends; [`spawn`] therefore starts all of them from one thread that lives as long as the program.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::serial::Transcript;

const POLL: Duration = Duration::from_millis(5);

type Order = (Command, Sender<io::Result<Child>>);

static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = channel::<Order>();
    thread::spawn(move || {
        for (mut command, answer) in inbox {
            // The caller may have gone; then nobody wants the child either.
            if let Err(unwanted) = answer.send(command.spawn())
                && let Ok(mut child) = unwanted.0
            {
                end(&mut child);
            }
        }
    });
    orders
});

/// A command for `program` that dies with the thread that spawns it; use it with [`spawn`].
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    if which("setpriv") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Whether `program` is somewhere on the path.
#[must_use]
pub fn which(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Starts `command` from a thread that lives as long as this program.
pub fn spawn(command: Command) -> io::Result<Child> {
    let (answer, result) = channel();
    SPAWNER.send((command, answer)).map_err(io::Error::other)?;
    result.recv().map_err(io::Error::other)?
}

/// Kills a child and takes its exit status, if it has not ended by itself.
pub fn end(child: &mut Child) {
    // Both fail only when the child is gone already, which is what we want.
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits for a child at most `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    Status(i32),
    /// By a signal.
    Signal,
    /// By us, because it took too long.
    TimedOut,
}

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub end: End,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the exit status was 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.end == End::Status(0)
    }
}

/// Runs `command` to its end without input, for at most `limit`.
pub fn run(mut command: Command, limit: Duration) -> io::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let stdout = child.stdout.take().map(Transcript::of_reader);
    let stderr = child.stderr.take().map(Transcript::of_reader);
    let end = match wait(&mut child, limit)? {
        Some(status) => status.code().map_or(End::Signal, End::Status),
        None => {
            end(&mut child);
            End::TimedOut
        }
    };
    let text = |stream: Option<Transcript>| stream.map(|s| s.finish()).unwrap_or_default();
    Ok(Output {
        end,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = bound("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_status_are_collected() {
        let output = run(
            shell("echo out; echo err >&2; exit 3"),
            Duration::from_secs(10),
        )
        .unwrap();
        assert_eq!(output.end, End::Status(3));
        assert_eq!(output.stdout, "out\n");
        assert_eq!(output.stderr, "err\n");
        assert!(!output.success());
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let started = Instant::now();
        let output = run(
            shell("echo begun; exec sleep 60"),
            Duration::from_millis(300),
        )
        .unwrap();
        assert_eq!(output.end, End::TimedOut);
        assert_eq!(output.stdout, "begun\n");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let mut child = thread::spawn(|| spawn(shell("exec sleep 60")).unwrap())
            .join()
            .unwrap();
        assert!(
            wait(&mut child, Duration::from_millis(200))
                .unwrap()
                .is_none()
        );
        end(&mut child);
    }
}
