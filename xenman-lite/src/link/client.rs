// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client's session with xend.
//!
//! A thread owns the link; callers on any threads hand it requests and wait for what comes back. When
//! the session ends, every request under way fails with the reason. Dropping the client says Bye.

use super::{
    CONNECT_PATIENCE, Host, LinkError, nonce, now_ms,
    port::{BACKLOG, Port, PortEvent},
    until,
};
use crate::signals::{self, Asked};
use mgmt_proto::{
    link::{Link, LinkEvent, Reason, SendError},
    messages::{
        ClientMessage, Hello, Outcome, PROTOCOL_VERSION, Progress, Reply, Request, RequestBody,
        Response, ServerMessage, Welcome, decode_server, encode,
    },
};
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Requests [`Client::call_many`] keeps under way.
const DEPTH: usize = 8;

/// How long a dropped client tries to say Bye.
const BYE_PATIENCE: Duration = Duration::from_secs(1);

/// How often a connection is tried again when the other side restarted meanwhile.
const RETRY: Duration = Duration::from_millis(200);

/// A session with xend.
pub(crate) struct Client {
    host: Host,
    welcome: Welcome,
    commands: SyncSender<Input>,
    worker: Mutex<Option<JoinHandle<()>>>,
    interrupts: Option<Asked>,
}

/// A request under way.
pub(crate) struct Pending {
    host: Host,
    news: Receiver<News>,
    interrupts: Option<Asked>,
}

/// What the worker hears.
enum Input {
    Port(PortEvent),
    Ask(RequestBody, Sender<News>),
    Finish,
}

/// What becomes of a request, or of the session.
enum News {
    Progress(Progress),
    Answer(Outcome),
    Welcome(Welcome),
    Refused(mgmt_proto::messages::Failure),
    /// The session is over.
    Over(String),
}

impl Client {
    /// Opens a session, waiting for xend's welcome as long as is usual.
    pub(crate) fn connect(host: &Host, name: &str) -> Result<Self, LinkError> {
        Self::connect_within(host, name, CONNECT_PATIENCE)
    }

    /// Opens a session within `patience`.
    pub(crate) fn connect_within(
        host: &Host,
        name: &str,
        patience: Duration,
    ) -> Result<Self, LinkError> {
        let give_up = Instant::now() + patience;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            match Self::try_connect(host, name, left, patience) {
                // The other side restarted since the last owner: the second time it knows us.
                Err(None) if Instant::now() + RETRY < give_up => thread::sleep(RETRY),
                Err(None) => return Err(LinkError::unreachable(host, Reason::LOST)),
                Err(Some(error)) => return Err(error),
                Ok(client) => return Ok(client),
            }
        }
    }

    fn try_connect(
        host: &Host,
        name: &str,
        left: Duration,
        patience: Duration,
    ) -> Result<Self, Option<LinkError>> {
        let pipe = host.open()?;
        let (commands, inputs) = mpsc::sync_channel(BACKLOG);
        let port = Port::start(
            pipe,
            |parameters| Link::owner(parameters, nonce()),
            &commands,
            Input::Port,
        );
        let (tell, news) = mpsc::channel();
        let name = name.to_owned();
        let worker = thread::spawn(move || match Worker::new(port, &name, tell) {
            Ok(worker) => worker.run(&inputs),
            Err(SendError::Closed | SendError::Full(_) | SendError::TooLarge) => {}
        });
        let failed = match news.recv_timeout(left) {
            Ok(News::Welcome(welcome)) => {
                let worker = Mutex::new(Some(worker));
                return Ok(Self {
                    host: host.clone(),
                    welcome,
                    commands,
                    worker,
                    interrupts: None,
                });
            }
            Ok(News::Refused(failure)) => LinkError::Failed(failure),
            Ok(News::Over(reason)) if reason == Reason::LOST.to_string() => return Err(None),
            Ok(News::Over(reason)) => LinkError::unreachable(host, reason),
            Ok(News::Progress(_) | News::Answer(_)) | Err(RecvTimeoutError::Disconnected) => {
                LinkError::Nonsense("an answer before the welcome".into())
            }
            Err(RecvTimeoutError::Timeout) => {
                let cause = format!("no answer within {} s", patience.as_secs_f32().ceil());
                LinkError::unreachable(host, cause)
            }
        };
        drop(commands.send(Input::Finish));
        Err(Some(failed))
    }

    /// The same session, whose waits end when the operator interrupts them.
    pub(crate) fn interruptible(mut self, interrupts: Asked) -> Self {
        self.interrupts = Some(interrupts);
        self
    }

    /// What xend said of itself.
    pub(crate) fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Sends a request; its answer can be waited for later.
    pub(crate) fn start(&self, body: RequestBody) -> Pending {
        let (tell, news) = mpsc::channel();
        if let Err(error) = self.commands.send(Input::Ask(body, tell))
            && let Input::Ask(_, tell) = error.0
        {
            drop(tell.send(News::Over("the session is over".into())));
        }
        Pending {
            host: self.host.clone(),
            news,
            interrupts: self.interrupts.clone(),
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&self, body: RequestBody) -> Result<Reply, LinkError> {
        self.start(body).wait()
    }

    /// Sends a request that decides: its answer is waited for even when interrupted.
    pub(crate) fn decide(&self, body: RequestBody) -> Result<Reply, LinkError> {
        let mut pending = self.start(body);
        pending.interrupts = None;
        pending.wait()
    }

    /// Sends a request, hears of its progress, and waits for its answer.
    pub(crate) fn call_with_progress(
        &self,
        body: RequestBody,
        on_progress: impl FnMut(&Progress),
    ) -> Result<Reply, LinkError> {
        self.start(body).wait_with_progress(on_progress)
    }

    /// Sends requests, several under way at a time, and hands their replies to `on_reply` in order; the
    /// first failure ends it, the answers of those under way being waited for; an interruption ends it at once.
    pub(crate) fn call_many(
        &self,
        bodies: impl IntoIterator<Item = RequestBody>,
        mut on_reply: impl FnMut(Reply) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let mut under_way: VecDeque<Pending> = VecDeque::new();
        let mut bodies = bodies.into_iter();
        let mut result = Ok(());
        loop {
            while under_way.len() < DEPTH && result.is_ok() {
                let Some(body) = bodies.next() else { break };
                under_way.push_back(self.start(body));
            }
            let Some(oldest) = under_way.pop_front() else {
                return result;
            };
            let reply = oldest.wait();
            if let Err(error @ LinkError::Interrupted(_)) = reply {
                return Err(error);
            }
            if result.is_ok() {
                result = reply.and_then(&mut on_reply);
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.commands.send(Input::Finish));
        if let Some(worker) = self.worker.lock().ok().and_then(|mut worker| worker.take()) {
            drop(worker.join());
        }
    }
}

impl Pending {
    /// Waits for the answer.
    pub(crate) fn wait(self) -> Result<Reply, LinkError> {
        self.wait_with_progress(|_| {})
    }

    /// Waits for the answer and hears of progress.
    pub(crate) fn wait_with_progress(
        self,
        mut on_progress: impl FnMut(&Progress),
    ) -> Result<Reply, LinkError> {
        loop {
            if let Some(signal) = self.interrupts.as_ref().and_then(Asked::signal) {
                return Err(LinkError::Interrupted(signal));
            }
            match self.news.recv_timeout(signals::LOOK) {
                Ok(News::Progress(progress)) => on_progress(&progress),
                Ok(news) => return self.settle(news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return self.settle(News::Over("the session is over".into()));
                }
            }
        }
    }

    /// Waits for the answer for a while; nothing if it has not come.
    #[cfg(test)]
    pub(crate) fn wait_for(&self, patience: Duration) -> Option<Result<Reply, LinkError>> {
        let give_up = Instant::now() + patience;
        loop {
            match self
                .news
                .recv_timeout(give_up.saturating_duration_since(Instant::now()))
            {
                Ok(News::Progress(_)) => {}
                Ok(news) => return Some(self.settle(news)),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(self.settle(News::Over("the session is over".into())));
                }
            }
        }
    }

    fn settle(&self, news: News) -> Result<Reply, LinkError> {
        match news {
            News::Answer(Outcome::Done(reply)) => Ok(reply),
            News::Answer(Outcome::Failed(failure)) | News::Refused(failure) => {
                Err(LinkError::Failed(failure))
            }
            News::Over(reason) => Err(LinkError::unreachable(&self.host, reason)),
            News::Progress(_) | News::Welcome(_) => {
                Err(LinkError::Nonsense("a second welcome".into()))
            }
        }
    }
}

/// The thread that owns the link.
struct Worker {
    port: Port,
    session: u16,
    greeted: Option<Sender<News>>,
    next_id: u64,
    under_way: HashMap<u64, Sender<News>>,
    /// Requests the link has no room for yet, by stream.
    waiting: VecDeque<(u16, Vec<u8>)>,
    finish_at: Option<Instant>,
}

impl Worker {
    fn new(mut port: Port, name: &str, greeted: Sender<News>) -> Result<Self, SendError> {
        let session = port.link.open(now_ms())?;
        let hello = Hello {
            version: PROTOCOL_VERSION,
            client: name.to_owned(),
        };
        port.link
            .send(session, 0, encode(&ClientMessage::Hello(hello)))?;
        Ok(Self {
            port,
            session,
            greeted: Some(greeted),
            next_id: 1,
            under_way: HashMap::new(),
            waiting: VecDeque::new(),
            finish_at: None,
        })
    }

    fn run(mut self, inputs: &Receiver<Input>) {
        let reason = loop {
            self.port.pump();
            let patience = match self.finish_at {
                Some(at) if self.is_finished(at) => break "the session is over".into(),
                Some(_) => Duration::from_millis(10),
                None => until(self.port.deadline()),
            };
            let input = match inputs.recv_timeout(patience) {
                Ok(input) => input,
                Err(RecvTimeoutError::Timeout) => Input::Port(PortEvent::Bytes(Vec::new())),
                Err(RecvTimeoutError::Disconnected) => break "the client is gone".into(),
            };
            if let Err(reason) = self.input(input).and_then(|()| self.links_events()) {
                break reason;
            }
            self.send_waiting();
        };
        self.end(reason);
        // Whoever asks from now on finds the channel closed.
    }

    fn is_finished(&self, at: Instant) -> bool {
        self.port.is_flushed() || !self.port.link.is_up() || at <= Instant::now()
    }

    fn input(&mut self, input: Input) -> Result<(), String> {
        match input {
            Input::Port(event) => self.port.take(event).map_err(|error| gone(error.as_ref())),
            Input::Ask(body, tell) => {
                let id = self.next_id;
                self.next_id += 1;
                let stream = body.stream();
                let bytes = encode(&ClientMessage::Request(Request {
                    id,
                    body,
                    token: None,
                }));
                self.under_way.insert(id, tell);
                self.waiting.push_back((stream, bytes));
                Ok(())
            }
            Input::Finish => {
                self.port.link.close(now_ms(), self.session, Reason::DONE);
                self.finish_at = Some(Instant::now() + BYE_PATIENCE);
                Ok(())
            }
        }
    }

    /// Gives the link what it has room for; a stream that is full holds up only itself.
    fn send_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut full = Vec::new();
        for (stream, bytes) in waiting {
            if full.contains(&stream) {
                self.waiting.push_back((stream, bytes));
                continue;
            }
            if let Err(SendError::Full(bytes)) = self.port.link.send(self.session, stream, bytes) {
                full.push(stream);
                self.waiting.push_back((stream, bytes));
            }
        }
    }

    fn links_events(&mut self) -> Result<(), String> {
        while let Some(event) = self.port.link.event() {
            match event {
                LinkEvent::Message {
                    session,
                    stream,
                    bytes,
                } => {
                    self.port.link.consumed(session, stream);
                    let message = decode_server(&bytes).map_err(|failure| failure.to_string())?;
                    self.message(message);
                }
                LinkEvent::Closed { reason, .. } => return Err(reason.to_string()),
                LinkEvent::Opened(_) => {}
            }
        }
        Ok(())
    }

    fn message(&mut self, message: ServerMessage) {
        // Whoever asked may have lost interest: then nobody hears it.
        match message {
            ServerMessage::Welcome(welcome) => {
                if let Some(greeted) = self.greeted.take() {
                    drop(greeted.send(News::Welcome(welcome)));
                }
            }
            ServerMessage::Refused(failure) => {
                let asked = self.under_way.drain().map(|(_, tell)| tell);
                for tell in asked.chain(self.greeted.take()) {
                    drop(tell.send(News::Refused(failure.clone())));
                }
            }
            ServerMessage::Response(Response { id, outcome }) => {
                if let Some(tell) = self.under_way.remove(&id) {
                    drop(tell.send(News::Answer(outcome)));
                }
            }
            ServerMessage::Progress(progress) => {
                if let Some(tell) = self.under_way.get(&progress.id) {
                    drop(tell.send(News::Progress(progress)));
                }
            }
        }
    }

    fn end(mut self, reason: String) {
        let asked = self.under_way.drain().map(|(_, tell)| tell);
        for tell in asked.chain(self.greeted.take()) {
            drop(tell.send(News::Over(reason.clone())));
        }
    }
}

fn gone(error: Option<&io::Error>) -> String {
    match error {
        Some(error) => format!("the connection broke: {error}"),
        None => "the other side closed the connection".into(),
    }
}
