// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small xend on a socket, and xenman as an operator runs it.

mod images;
mod usage;
mod xend;

use mgmt_proto::{
    link::{Link, LinkEvent, LinkParameters, Reason, SendError},
    messages::{
        ClientMessage, ErrorCode, Failure, PROTOCOL_VERSION, Request, Response, ServerMessage,
        Welcome, decode_client, encode,
    },
};
use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
pub use xend::{State, manifest};

/// xenman's own folder, in the one it runs in.
pub const OWN: &str = "own";

/// A folder with a fake xend's socket in it.
pub struct Host {
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

impl Host {
    /// Starts a fake xend.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("xend.sock")).unwrap();
        let state = Arc::new(Mutex::new(State::new()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), shared.clone());
                thread::spawn(move || Connection::new(stream, state).run());
            }
        });
        Self { folder, state }
    }

    /// What xend knows.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until something is true of xend.
    pub fn wait_for(&self, what: &str, is_true: impl Fn(&State) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while !is_true(&self.state()) {
            assert!(Instant::now() < give_up, "{what} did not happen");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// `xenman -H … words`, started in the folder.
    pub fn command(&self, words: &str) -> Command {
        let mut command = xenman(self.folder.path(), words);
        command.env(
            "XENMAN_HOST",
            format!("unix:{}", self.path("xend.sock").display()),
        );
        command
    }

    /// The same in a shell, behind `before`.
    pub fn shell(&self, before: &str, words: &str) -> Command {
        let xenman = env!("CARGO_BIN_EXE_xenman");
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{before}; exec {xenman} {words}")])
            .current_dir(self.path(""))
            .env("XENMAN_HOME", self.path(OWN))
            .env(
                "XENMAN_HOST",
                format!("unix:{}", self.path("xend.sock").display()),
            );
        command
    }

    /// `xenman words` on a terminal of its own, which the output is from.
    pub fn on_terminal(&self, words: &str) -> Command {
        let line = format!("{} {words}", env!("CARGO_BIN_EXE_xenman"));
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .current_dir(self.path(""))
            .env("XENMAN_HOME", self.path(OWN))
            .env(
                "XENMAN_HOST",
                format!("unix:{}", self.path("xend.sock").display()),
            )
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        script
    }

    /// Runs `xenman words` to its end.
    pub fn run(&self, words: &str) -> Said {
        Said::of(self.command(words).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs `xenman words` with an input.
    pub fn type_into(&self, words: &str, input: &[u8]) -> Said {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Said::of(child.wait_with_output().unwrap())
    }
}

/// An arm64 Image of these bytes, but for its header.
pub fn arm64_image(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[..64].fill(0);
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes
}

/// xenman without a host, with a folder of its own for what it keeps.
pub fn xenman(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenman"));
    command
        .args(words.split_whitespace())
        .current_dir(folder)
        .env("XENMAN_HOME", folder.join(OWN))
        .env_remove("XENMAN_HOST");
    command
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the status and something in the complaint.
    pub fn failed(&self, status: i32, word: &str) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert!(self.err.contains(word), "{word}: {self:?}");
        assert!(self.err.starts_with("xenman: "), "{self:?}");
    }

    /// Asserts that it went well.
    pub fn done(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }
}

/// One connection: the link, and requests that wait for something to happen.
struct Connection {
    stream: UnixStream,
    link: Link,
    state: Arc<Mutex<State>>,
    waiting: Vec<(u16, u16, Request, Instant)>,
    queue: Vec<(u16, u16, Vec<u8>)>,
    started: Instant,
}

impl Connection {
    fn new(stream: UnixStream, state: Arc<Mutex<State>>) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        Self {
            stream,
            link: Link::server(LinkParameters::FAST),
            state,
            waiting: Vec::new(),
            queue: Vec::new(),
            started: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    fn run(mut self) {
        let mut buffer = [0; 32 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.link.receive(self.now(), &buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => break,
            }
            while let Some(event) = self.link.event() {
                self.event(event);
            }
            self.retry();
            self.flush_queue();
            loop {
                let count = self.link.transmit(self.now(), &mut buffer);
                if count == 0 {
                    break;
                }
                if self.stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        }
        self.state.lock().unwrap().session_ended();
    }

    fn event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Opened(_) => {}
            LinkEvent::Closed { .. } => self.state.lock().unwrap().session_ended(),
            LinkEvent::Message {
                session,
                stream,
                bytes,
            } => {
                self.link.consumed(session, stream);
                match decode_client(&bytes).unwrap() {
                    ClientMessage::Hello(hello) => {
                        let refused = self.state.lock().unwrap().refuse_hello.clone();
                        assert_eq!(hello.version, PROTOCOL_VERSION);
                        let answer = refused.map_or_else(
                            || ServerMessage::Welcome(welcome()),
                            ServerMessage::Refused,
                        );
                        self.queue.push((session, stream, encode(&answer)));
                    }
                    ClientMessage::Request(request) => {
                        self.waiting
                            .push((session, stream, request, Instant::now()));
                    }
                }
            }
        }
    }

    /// Answers what can be answered by now.
    fn retry(&mut self) {
        let mut state = self.state.lock().unwrap();
        let mut still = Vec::new();
        for (session, stream, request, since) in self.waiting.drain(..) {
            match state.answer(&request.body, since.elapsed()) {
                None => still.push((session, stream, request, since)),
                Some(result) => {
                    let response = Response {
                        id: request.id,
                        outcome: result.into(),
                    };
                    self.queue
                        .push((session, stream, encode(&ServerMessage::Response(response))));
                }
            }
        }
        self.waiting = still;
    }

    fn flush_queue(&mut self) {
        let mut still = Vec::new();
        for (session, stream, bytes) in self.queue.drain(..) {
            if let Err(SendError::Full(bytes)) = self.link.send(session, stream, bytes) {
                still.push((session, stream, bytes));
            }
        }
        self.queue = still;
        let refused = self.state.lock().unwrap().refuse_hello.is_some();
        if refused {
            let now = self.now();
            (0..16).for_each(|session| self.link.close(now, session, Reason::REFUSED));
        }
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: PROTOCOL_VERSION,
        server: "xend 0.0.0".into(),
        board: "fake".into(),
        arch: "aarch64".into(),
    }
}

/// xend's word that there is no such domain.
pub fn unknown() -> Failure {
    Failure::new(
        ErrorCode::UNKNOWN_DOMAIN,
        "no domain has this name or number",
    )
}
