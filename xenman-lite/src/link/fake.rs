// SPDX-License-Identifier: MIT OR Apache-2.0
//! An xend for tests: the server's end of the link on a socket, answering as the test says. Like an
//! emulator's port it serves one connection at a time.

use super::{
    now_ms,
    port::{BACKLOG, Port, PortEvent},
    transport::Pipe,
    until,
};
use mgmt_proto::{
    link::{Link, LinkEvent, Reason},
    messages::{
        ClientMessage, ErrorCode, Failure, PROTOCOL_VERSION, Progress, Reply, RequestBody,
        Response, ServerMessage, Welcome, decode_client, encode,
    },
};
use std::{
    collections::VecDeque,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

/// How the fake answers a request.
pub(crate) enum Answer {
    /// At once.
    Now(Result<Reply, Failure>),
    /// With a word of progress first.
    After(u64, Result<Reply, Failure>),
    /// Not at all, as a long poll that nothing ends.
    Never,
}

/// What the fake has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Clients' names, in order.
    pub(crate) clients: Vec<String>,
    /// Sessions that are open now.
    pub(crate) open: usize,
    /// Why sessions ended.
    pub(crate) ended: Vec<Reason>,
    /// Requests so far.
    pub(crate) requests: usize,
}

/// The fake.
pub(crate) struct FakeXend {
    path: PathBuf,
    seen: Arc<Mutex<Seen>>,
    inputs: SyncSender<Input>,
}

enum Input {
    Connected(UnixStream),
    Port(PortEvent),
    Restart,
    Stop,
}

impl FakeXend {
    /// Listens on `path` and answers as `handler` says.
    pub(crate) fn start(
        path: &Path,
        handler: impl FnMut(RequestBody) -> Answer + Send + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (inputs, events) = mpsc::sync_channel(BACKLOG);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let server = Server {
            handler: Box::new(handler),
            seen: seen.clone(),
            port: None,
            inputs: inputs.clone(),
            queue: VecDeque::new(),
        };
        thread::spawn(move || server.run(&events));
        let connected = inputs.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if connected.send(Input::Connected(stream)).is_err() {
                    return;
                }
            }
        });
        Self {
            path: path.to_owned(),
            seen,
            inputs,
        }
    }

    /// The host that leads here.
    pub(crate) fn host(&self) -> super::Host {
        super::Host::Unix(self.path.clone())
    }

    /// Looks at what it has seen.
    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    /// Forgets everything, as a machine that was reset, with the pipe still open.
    pub(crate) fn restart(&self) {
        self.inputs.send(Input::Restart).unwrap();
    }

    /// Closes the pipe, as a machine that was turned off.
    pub(crate) fn stop(&self) {
        self.inputs.send(Input::Stop).unwrap();
    }
}

struct Server {
    handler: Box<dyn FnMut(RequestBody) -> Answer + Send>,
    seen: Arc<Mutex<Seen>>,
    port: Option<Port>,
    inputs: SyncSender<Input>,
    /// Answers the link had no room for.
    queue: VecDeque<(u16, u16, Vec<u8>)>,
}

impl Server {
    fn run(mut self, events: &Receiver<Input>) {
        loop {
            let deadline = self.port.as_ref().and_then(Port::deadline);
            match events.recv_timeout(until(deadline)) {
                Ok(Input::Connected(stream)) => {
                    let pipe = Pipe::unix(stream).unwrap();
                    self.port = Some(Port::start(pipe, Link::server, &self.inputs, Input::Port));
                }
                Ok(Input::Port(event)) => {
                    if self
                        .port
                        .as_mut()
                        .is_some_and(|port| port.take(event).is_err())
                    {
                        self.port = None;
                        self.seen.lock().unwrap().open = 0;
                    }
                }
                Ok(Input::Restart) => {
                    if let Some(port) = &mut self.port {
                        port.link = Link::server(mgmt_proto::link::LinkParameters::FAST);
                    }
                }
                Ok(Input::Stop) => return,
                Err(_) => {}
            }
            self.serve();
        }
    }

    fn serve(&mut self) {
        while let Some(event) = self.port.as_mut().and_then(|port| port.link.event()) {
            match event {
                LinkEvent::Opened(_) => self.seen.lock().unwrap().open += 1,
                LinkEvent::Closed { reason, .. } => {
                    let mut seen = self.seen.lock().unwrap();
                    seen.open -= 1;
                    seen.ended.push(reason);
                }
                LinkEvent::Message {
                    session,
                    stream,
                    bytes,
                } => {
                    self.message(session, stream, &bytes);
                    // At once: the link hands out no more of this stream while the answer waits.
                    self.send_queued();
                    self.port.as_mut().unwrap().link.consumed(session, stream);
                }
            }
        }
        self.send_queued();
        if let Some(port) = &mut self.port {
            port.pump();
        }
    }

    fn message(&mut self, session: u16, stream: u16, bytes: &[u8]) {
        match decode_client(bytes).unwrap() {
            ClientMessage::Hello(hello) if hello.version != PROTOCOL_VERSION => {
                let failure = Failure::new(ErrorCode::UNSUPPORTED_VERSION, "another version");
                self.say(session, stream, &ServerMessage::Refused(failure));
                self.send_queued();
                self.port
                    .as_mut()
                    .unwrap()
                    .link
                    .close(now_ms(), session, Reason::REFUSED);
            }
            ClientMessage::Hello(hello) => {
                self.seen.lock().unwrap().clients.push(hello.client);
                let welcome = Welcome {
                    version: PROTOCOL_VERSION,
                    server: "fake 1".into(),
                    board: "none".into(),
                    arch: "aarch64".into(),
                };
                self.say(session, stream, &ServerMessage::Welcome(welcome));
            }
            ClientMessage::Request(request) => {
                self.seen.lock().unwrap().requests += 1;
                let id = request.id;
                let outcome = match (self.handler)(request.body) {
                    Answer::Never => return,
                    Answer::Now(result) => result,
                    Answer::After(done, result) => {
                        let progress = Progress {
                            id,
                            done,
                            total: 2 * done,
                            what: "steps".into(),
                        };
                        self.say(session, stream, &ServerMessage::Progress(progress));
                        result
                    }
                };
                let response = Response {
                    id,
                    outcome: outcome.into(),
                };
                self.say(session, stream, &ServerMessage::Response(response));
            }
        }
    }

    fn say(&mut self, session: u16, stream: u16, message: &ServerMessage) {
        self.queue.push_back((session, stream, encode(message)));
    }

    fn send_queued(&mut self) {
        let Some(port) = &mut self.port else { return };
        let queue = std::mem::take(&mut self.queue);
        for (session, stream, bytes) in queue {
            if let Err(mgmt_proto::link::SendError::Full(bytes)) =
                port.link.send(session, stream, bytes)
            {
                self.queue.push_back((session, stream, bytes));
            }
        }
    }
}
