//! xend as its shell sees it: events in, effects out, one bounded step of work at a time.

use crate::event::{Effect, Event, Facts, Now, SessionId, StreamId};
use crate::hypervisor::Hypervisor;
use crate::session::{Admission, Sessions, Ticket};
use alloc::format;
use mgmt_proto::messages::{
    self, ClientMessage, ErrorCode, Failure, Hello, HostInfo, PROTOCOL_VERSION, Reply, Request,
    RequestBody, ServerMessage, Welcome,
};

/// xend's name and version.
pub(crate) const NAME: &str = concat!("xend ", env!("CARGO_PKG_VERSION"));

/// The management server.
pub struct Xend<H: Hypervisor> {
    pub(crate) hypervisor: H,
    pub(crate) facts: Facts,
    pub(crate) sessions: Sessions,
    pub(crate) now: Now,
}

impl<H: Hypervisor> Xend<H> {
    /// xend with `settings`, the text of `xend-config.sxp`; domains that exist already are taken over.
    pub fn new(hypervisor: H, settings: &str, facts: Facts, now: Now) -> Self {
        let _ = settings;
        Self {
            hypervisor,
            facts,
            sessions: Sessions::default(),
            now,
        }
    }

    /// Takes in what happened. Short: long work is left for [`Xend::work`].
    pub fn handle(&mut self, now: Now, event: Event<'_>) {
        self.now = now;
        match event {
            Event::SessionOpened(session) => self.sessions.open(session),
            Event::SessionClosed(session) => self.sessions.close(session),
            Event::Message {
                session,
                stream,
                bytes,
            } => self.message(session, stream, bytes),
            Event::Port(_) | Event::DomainsChanged | Event::LogGrew | Event::Tick => {}
        }
    }

    /// The next thing to send, if `ready` says that the session's stream takes a message now. Call it until there is
    /// none after every [`Xend::handle`] and [`Xend::work`], and when a stream becomes ready again.
    pub fn next_effect(
        &mut self,
        ready: impl FnMut(SessionId, StreamId) -> bool,
    ) -> Option<Effect> {
        self.sessions.take(ready)
    }

    /// System time in nanoseconds at which to send [`Event::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Whether [`Xend::work`] has something to do now.
    pub fn has_work(&self) -> bool {
        false
    }

    /// Advances one job by one bounded step (about a millisecond).
    pub fn work(&mut self, now: Now) {
        self.now = now;
    }

    fn message(&mut self, session: SessionId, stream: StreamId, bytes: &[u8]) {
        if !self.sessions.is_open(session) {
            return;
        }
        match messages::decode_client(bytes) {
            Ok(ClientMessage::Hello(hello)) => self.hello(session, stream, hello),
            Ok(ClientMessage::Request(request)) => self.request(session, stream, request),
            Err(rejected) => match rejected.id {
                Some(request) if self.sessions.is_known(session) => {
                    let ticket = Ticket {
                        session,
                        stream,
                        request,
                    };
                    self.sessions.respond(ticket, Err(rejected.failure));
                }
                _ => self.sessions.refuse(session, stream, rejected.failure),
            },
        }
    }

    fn hello(&mut self, session: SessionId, stream: StreamId, hello: Hello) {
        if hello.version != PROTOCOL_VERSION {
            let sentence = format!(
                "the client speaks version {} of the protocol, xend speaks version {PROTOCOL_VERSION}",
                hello.version
            );
            let failure = Failure::new(ErrorCode::UNSUPPORTED_VERSION, sentence)
                .with_remedy("use xenman and xend of the same release");
            return self.sessions.refuse(session, stream, failure);
        }
        self.sessions.introduce(session, hello.client);
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            server: NAME.into(),
            board: self.facts.board.clone(),
            arch: self.facts.arch.clone(),
        };
        self.sessions
            .push(session, stream, &ServerMessage::Welcome(welcome));
    }

    fn request(&mut self, session: SessionId, stream: StreamId, request: Request) {
        let ticket = Ticket {
            session,
            stream,
            request: request.id,
        };
        match self.sessions.admit(ticket) {
            Admission::Admitted => {
                if let Some(result) = self.dispatch(ticket, request.body) {
                    self.sessions.answer(ticket, result);
                }
            }
            Admission::Ignored => {}
            Admission::TooMany => self.sessions.respond(
                ticket,
                Err(Failure::new(ErrorCode::BUSY, "too many requests at once")
                    .with_remedy("wait for an answer first")),
            ),
            Admission::NoHello => self.sessions.refuse(
                session,
                stream,
                Failure::new(
                    ErrorCode::NO_HELLO,
                    "the session does not begin with a hello",
                ),
            ),
        }
    }

    /// Does what is asked; none: the answer comes later.
    fn dispatch(&mut self, _ticket: Ticket, body: RequestBody) -> Option<Result<Reply, Failure>> {
        match body {
            RequestBody::Info => Some(self.info()),
            _ => Some(Err(Failure::new(
                ErrorCode::UNKNOWN_REQUEST,
                "xend does not know this request",
            ))),
        }
    }

    fn info(&mut self) -> Result<Reply, Failure> {
        let host = self.hypervisor.host_info().map_err(|errno| {
            Failure::new(
                ErrorCode::INTERNAL,
                format!("the hypervisor does not tell its facts: {errno:?}"),
            )
        })?;
        let heap = self.hypervisor.heap();
        Ok(Reply::Info(HostInfo {
            total_kib: host.total_kib,
            free_kib: host.free_kib,
            hypervisor_kib: host.hypervisor_kib,
            dom0_kib: host.dom0_kib,
            boot_kib: host.boot_kib,
            store_kib: host.store_kib,
            domains_kib: host.domains_kib,
            cpus: host.cpus,
            arch: self.facts.arch.clone(),
            board: self.facts.board.clone(),
            uptime_ns: host.now_ns,
            hypervisor: self.facts.hypervisor.clone(),
            xend: NAME.into(),
            boot_phases: self.facts.boot_phases.clone(),
            heap_used: heap.used,
            heap_size: heap.size,
            domains: host.domains,
            wall_clock_ns: self.now.wall_ns,
        }))
    }
}
