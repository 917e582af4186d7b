//! xend as its shell sees it: events in, effects out, one bounded step of work at a time.

mod adopt;
mod auto;
mod autostart;
mod images;
mod life;
mod loads;
mod log;
mod requests;
mod snapshots;
mod stops;
mod store;
mod waits;

use self::log::Log;
use crate::client::Client;
use crate::domain::{Key, Table};
use crate::event::{Effect, Event, Facts, Now, SessionId, StreamId};
use crate::events::EventLog;
use crate::hypervisor::{HostStop, Hypervisor};
use crate::lifecycle::State;
use crate::logbook::Level;
use crate::managed::Managed;
use crate::platform::Architecture;
use crate::session::{Admission, Sessions, Ticket};
use crate::settings::{Domain0, Settings, Severity};
use crate::store::blobs::Blobs;
use crate::store::files::StoreFiles;
use crate::store::keeper::Mounted;
use crate::store::loads::Loads;
use crate::xenstore::Xenstore;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use autostart::Autostart;
use hv_abi::DomId;
use hv_abi::control::domain::DomainInfo;
use mgmt_proto::messages::{
    self, ClientMessage, ErrorCode, Failure, Hello, PROTOCOL_VERSION, Request, ServerMessage,
    Welcome,
};

const SECOND_NS: u64 = 1_000_000_000;

/// xend's name and version.
pub(crate) const NAME: &str = concat!("xend ", env!("CARGO_PKG_VERSION"));

/// The management server.
pub struct Xend<H: Hypervisor> {
    pub(crate) hypervisor: H,
    facts: Facts,
    settings: Settings,
    pub(crate) sessions: Sessions,
    clients: BTreeMap<SessionId, Client<H::Frames>>,
    waits: Vec<waits::Wait>,
    pub(crate) table: Table<H>,
    /// Domains with a job, the next one first.
    jobs: VecDeque<Key>,
    pub(crate) xenstore: Xenstore,
    /// Domains with more requests in their xenstore ring than were answered at once.
    busy_stores: BTreeSet<u16>,
    pub(crate) blobs: Blobs<H::Frames>,
    /// Blobs that are read from the disk.
    loads: Loads<H::Frames, loads::Again>,
    events: EventLog,
    log: Log,
    files: StoreFiles<H::Frames, store::Then>,
    pub(crate) managed: Managed,
    autostart: Autostart,
    now: Now,
    /// There may be new text in the hypervisor's log.
    dmesg_grew: bool,
    /// When progress was last told.
    reported_ns: u64,
    stop: Option<(u64, HostStop)>,
}

impl<H: Hypervisor> Xend<H> {
    /// xend with what its store holds; domains that exist already are taken over. `settings` is the text of
    /// `xend-config.sxp` that came with the machine's start; one in the store is taken instead.
    pub fn new(
        mut hypervisor: H,
        settings: &str,
        mounted: Mounted,
        facts: Facts,
        now: Now,
    ) -> Self {
        let stored = mounted.inventory.files.get(store::CONFIG);
        let stored = stored.map(|file| String::from_utf8_lossy(&file.content).into_owned());
        let text = stored.as_deref().unwrap_or(settings);
        let (settings, remarks) = Settings::read(text, &domain_0(&mut hypervisor));
        let log = Log::new(settings.loglevel, &mounted.log, now);
        let (managed, broken) = Managed::load(&mounted.inventory.files, &settings.policies);
        let remark = mounted.remark.clone();
        let mut xend = Self {
            hypervisor,
            facts,
            log,
            files: StoreFiles::new(mounted),
            managed,
            autostart: Autostart::default(),
            settings,
            sessions: Sessions::default(),
            clients: BTreeMap::new(),
            waits: Vec::new(),
            table: Table::new(),
            jobs: VecDeque::new(),
            xenstore: Xenstore::default(),
            busy_stores: BTreeSet::new(),
            blobs: Blobs::new(),
            loads: Loads::new(),
            events: EventLog::default(),
            now,
            dmesg_grew: false,
            reported_ns: 0,
            stop: None,
        };
        xend.log_line(&format!("{NAME} on {}", xend.facts.board));
        xend.report_store(&remark);
        for remark in remarks {
            let level = match remark.severity {
                Severity::Warning => Level::Warning,
                Severity::Error => Level::Error,
            };
            xend.log_at(level, &format!("{remark}"));
        }
        for reason in broken {
            xend.log_at(Level::Error, &reason);
        }
        xend.set_wall_clock();
        xend.adopt_domains();
        xend.create_from_bundle();
        xend.line_up();
        xend.settle();
        xend
    }

    /// Tells the hypervisor, and so every guest, what the host's clock says.
    fn set_wall_clock(&mut self) {
        let Some(wall_ns) = self.now.wall_ns else {
            self.log_at(
                Level::Warning,
                "the host has no real-time clock: guests' dates begin in 1970",
            );
            return;
        };
        let base_ns = wall_ns.saturating_sub(self.now.mono_ns);
        let (seconds, rest) = (base_ns / SECOND_NS, base_ns % SECOND_NS);
        let rest = u32::try_from(rest).unwrap_or(0);
        if let Err(errno) = self.hypervisor.set_wall_clock(seconds, rest) {
            self.log_at(
                Level::Error,
                &format!("the wall clock is not set: {errno:?}"),
            );
        }
    }

    /// Takes in what happened. Short: long work is left for [`Xend::work`].
    pub fn handle(&mut self, now: Now, event: Event<'_>) {
        self.now = now;
        match event {
            Event::SessionOpened(session) => {
                self.end_session(session);
                self.sessions.open(session);
            }
            Event::SessionClosed(session) => self.end_session(session),
            Event::Message {
                session,
                stream,
                bytes,
            } => self.message(session, stream, bytes),
            Event::Port(port) => self.port(port),
            Event::DomainsChanged => self.reconcile(),
            Event::LogGrew | Event::Tick => self.dmesg_grew = true,
            Event::Kept(result) => self.kept(result),
        }
        self.settle();
    }

    /// The next thing to send, if `ready` says that the session's stream takes a message now. Call it until there is
    /// none after every [`Xend::handle`] and [`Xend::work`], and when a stream becomes ready again.
    pub fn next_effect(
        &mut self,
        ready: impl FnMut(SessionId, StreamId) -> bool,
    ) -> Option<Effect> {
        let effect = self.sessions.take(ready);
        if let Some(Effect::Close(session)) = effect {
            self.end_session(session);
        }
        effect
    }

    /// System time in nanoseconds at which to send [`Event::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        let stop = self.stop.map(|(deadline, _)| deadline);
        let deadlines = [
            self.waits_deadline(),
            self.waiters_deadline(),
            self.look_again_deadline(),
            self.restart_deadline(),
            self.autostart.due_ns(),
            self.log_due_ns(),
            stop,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether [`Xend::work`] has something to do now.
    pub fn has_work(&self) -> bool {
        let is_ready = |key: &Key| {
            let domain = self.table.get(*key);
            let job = domain.and_then(|domain| domain.job.as_ref());
            job.is_some_and(|job| job.is_ready(&self.sessions))
        };
        !self.busy_stores.is_empty() || self.jobs.iter().any(is_ready)
    }

    /// Advances one job by one bounded step (about a millisecond).
    pub fn work(&mut self, now: Now) {
        self.now = now;
        if let Some(domid) = self.busy_stores.pop_first() {
            self.serve_xenstore(domid);
        }
        self.step_a_job();
        self.settle();
    }

    /// What follows from anything that happened: guests are notified, who waits is answered.
    fn settle(&mut self) {
        for domid in self.xenstore.take_notifications() {
            let domain = self
                .table
                .iter()
                .find(|(_, domain)| domain.domid.is_some_and(|id| id.0 == domid));
            if let Some(backend) = domain.and_then(|(_, domain)| domain.backend.as_ref()) {
                backend.notify_xenstore(&mut self.hypervisor);
            }
        }
        self.look_again();
        self.restart_due();
        self.start_next();
        self.serve_waits();
        self.expire_waiters();
        if let Some((deadline, how)) = self.stop
            && deadline <= self.now.mono_ns
        {
            self.stop = None;
            if let Err(errno) = self.hypervisor.stop_host(how) {
                self.log_line(&format!("the host cannot be stopped: {errno:?}"));
            }
        }
    }

    /// Writes a line to xend's log.
    fn log_line(&mut self, text: &str) {
        self.log_at(Level::Info, text);
    }

    fn log_at(&mut self, level: Level, text: &str) {
        self.log.write(self.now, level, text);
    }

    /// A port of ours is pending.
    fn port(&mut self, port: u32) {
        let Some(key) = self.table.by_port(port) else {
            return;
        };
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        // A domain that is saved stands still, its rings included.
        if !domain.state.is_live() {
            return;
        }
        let Some(backend) = domain.backend.as_ref() else {
            return;
        };
        if backend.is_console(port) {
            domain.serve_console(&mut self.hypervisor, self.now.mono_ns, true);
        } else if let Some(domid) = domain.domid {
            self.serve_xenstore(domid.0);
        }
    }

    /// Looks at both rings of a domain, whether it notified us or not.
    fn serve_rings(&mut self, key: Key) {
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        domain.serve_console(&mut self.hypervisor, self.now.mono_ns, true);
        if let Some(domid) = domain.domid.filter(|_| domain.backend.is_some()) {
            self.serve_xenstore(domid.0);
        }
    }

    /// Looks again at the serial lines of which it is time.
    fn look_again(&mut self) {
        let now_ns = self.now.mono_ns;
        for (_, domain) in self.table.iter_mut() {
            if domain.look_again_ns.is_some_and(|at| at <= now_ns) {
                domain.look_again_ns = None;
                if domain.state.is_live() {
                    domain.serve_console(&mut self.hypervisor, now_ns, false);
                }
            }
        }
    }

    fn look_again_deadline(&self) -> Option<u64> {
        let domains = self.table.iter();
        domains.filter_map(|(_, domain)| domain.look_again_ns).min()
    }

    fn serve_xenstore(&mut self, domid: u16) {
        let saving = self
            .table
            .by_domid(hv_abi::DomId(domid))
            .and_then(|key| self.table.get(key))
            .is_none_or(|domain| domain.state == State::Saving);
        if !saving && self.xenstore.service(domid) {
            self.busy_stores.insert(domid);
        }
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
                        repeat: None,
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
        self.clients.entry(session).or_insert_with(Client::new);
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            server: NAME.into(),
            board: self.facts.board.clone(),
            arch: self.facts.arch.clone(),
        };
        self.sessions
            .push(session, stream, &ServerMessage::Welcome(welcome));
    }

    /// What domains are built for; that of a host that is not known is refused before anything is built.
    fn architecture(&self) -> Architecture {
        Architecture::named(&self.facts.arch).unwrap_or(Architecture::Arm64)
    }

    fn request(&mut self, session: SessionId, stream: StreamId, request: Request) {
        let ticket = Ticket {
            session,
            stream,
            request: request.id,
            repeat: None,
        };
        match self.sessions.admit(ticket) {
            Admission::Admitted => self.admitted(ticket, request),
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

    fn admitted(&mut self, ticket: Ticket, request: Request) {
        let token = request.token.filter(|_| request.body.is_change());
        let ticket = match token {
            None => Some(ticket),
            Some(token) => self.sessions.begin_repeatable(token, ticket),
        };
        let Some(ticket) = ticket else { return };
        if let Some(result) = self.dispatch(ticket, request.body) {
            self.sessions.answer(ticket, result);
        }
    }

    /// A session is over: its waits, its uploads and references, its saves and restores.
    fn end_session(&mut self, session: SessionId) {
        self.sessions.close(session);
        self.clients.remove(&session);
        self.waits.retain(|wait| wait.ticket.session != session);
        self.loads.retain(|again| !again.is_for(session));
        for (_, domain) in self.table.iter_mut() {
            let stays = |ticket: &Ticket| ticket.session != session || ticket.repeat.is_some();
            domain.waiters.retain(|waiter| stays(&waiter.ticket));
        }
        self.abort_saves_and_restores(session, None);
    }
}

/// What Domain-0 was given at boot.
fn domain_0<H: Hypervisor>(hypervisor: &mut H) -> Domain0 {
    let mut first = [DomainInfo::default()];
    let found = hypervisor.list(DomId::ZERO, &mut first).unwrap_or(0);
    let [info] = first;
    Domain0 {
        memory_mib: hypervisor.host_info().map_or(0, |host| host.dom0_kib) / 1024,
        cpus: if found == 0 { 0 } else { info.vcpus },
    }
}
