//! xend, the machine below it, its clients above it, and a guest that behaves.

use crate::build::kernel::tests::image;
use crate::fake::{Fake, Machine};
use crate::ring::{ByteRing, SharedPage};
use crate::store::keeper::{Keeper, Mounted};
use crate::store::partition::Names;
use crate::store::simulated::{Random, SimulatedDisk};
use crate::{Effect, Event, Facts, Now, Xend};
use hv_abi::control::domain::ShutdownReason;
use hv_abi::layout::arm::RAM0_BASE;
use hv_abi::xen::hvm::param;
use mgmt_proto::blob::{CHUNK, Chunk, blob_id};
use mgmt_proto::messages::{
    self, BlobOpen, BlobPut, ClientMessage, ConsoleRead, Create, DomainRef, ErrorCode, Failure,
    Hello, NamedBlob, Outcome, PROTOCOL_VERSION, Reply, Request, RequestBody, ServerMessage, Token,
};
use std::boxed::Box;
use std::cell::RefMut;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

const CONSOLE_OUT: ByteRing = ByteRing::new(1024, 2048, 3080, 3084);
const STORE_REQUEST: ByteRing = ByteRing::new(0, 1024, 2048, 2052);

/// The answer to a client that is gone.
pub(crate) const VANISHED: ErrorCode = ErrorCode(9999);

pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) xend: Xend<Fake>,
    pub(crate) now: Now,
    pub(crate) inbox: BTreeMap<u16, Vec<ServerMessage>>,
    pub(crate) closed: Vec<u16>,
    /// Does what xend orders of it; none: the test does.
    keeper: Option<Keeper>,
    next_request: u64,
    /// Moments after which session 1 vanishes.
    vanish: Option<u64>,
    /// It has vanished.
    is_gone: bool,
}

pub(crate) fn facts() -> Facts {
    Facts {
        board: "fake".into(),
        arch: "aarch64".into(),
        ..Facts::default()
    }
}

pub(crate) fn kernel() -> Vec<u8> {
    image(70_000, 90_000)
}

pub(crate) fn ramdisk() -> Vec<u8> {
    (0..9_000_u32).map(|i| (i % 251) as u8 + 1).collect()
}

pub(crate) fn config(name: &str) -> String {
    format!("name = '{name}'\nmemory = 2\nkernel = '/k'\nramdisk = '/r'\n")
}

/// Both files of [`config`], as a client names them that has uploaded them.
pub(crate) fn files() -> Vec<NamedBlob> {
    let file = |key: &str, bytes: Vec<u8>| NamedBlob {
        key: key.into(),
        blob: blob_id(&bytes),
        length: bytes.len() as u64,
    };
    vec![file("kernel", kernel()), file("ramdisk", ramdisk())]
}

pub(crate) fn by_name(name: &str) -> DomainRef {
    DomainRef::Name(name.into())
}

impl World {
    pub(crate) fn new() -> Self {
        Self::over(Fake::new())
    }

    /// A xend that starts over a machine that may have domains already.
    pub(crate) fn over(fake: Fake) -> Self {
        Self::begin(fake, "")
    }

    /// A xend with settings.
    pub(crate) fn with_settings(settings: &str) -> Self {
        Self::begin(Fake::new(), settings)
    }

    fn begin(fake: Fake, settings: &str) -> Self {
        let mounted = Mounted::default();
        let xend = Xend::new(fake.clone(), settings, mounted, facts(), Now::default());
        Self::with(fake, xend)
    }

    /// A xend whose store is on a disk.
    pub(crate) fn with_disk(disk: &SimulatedDisk) -> Self {
        let mut random = Random::new(9);
        let names = Names::new(|into| random.fill(into));
        let (keeper, mounted) = Keeper::mount(Some(Box::new(disk.clone())), &names);
        let fake = Fake::new();
        let xend = Xend::new(fake.clone(), "", mounted, facts(), Now::default());
        let mut world = Self::with(fake, xend);
        world.keeper = Some(keeper);
        world
    }

    /// A xend over a machine.
    pub(crate) fn with(fake: Fake, xend: Xend<Fake>) -> Self {
        let mut world = Self {
            fake,
            xend,
            now: Now::default(),
            inbox: BTreeMap::new(),
            closed: Vec::new(),
            keeper: None,
            next_request: 1,
            vanish: None,
            is_gone: false,
        };
        world.connect(1);
        world
    }

    pub(crate) fn machine(&self) -> RefMut<'_, Machine> {
        self.fake.0.borrow_mut()
    }

    pub(crate) fn event(&mut self, event: Event<'_>) {
        self.xend.handle(self.now, event);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.xend.next_effect(|_, _| true) {
            match effect {
                Effect::Send { session, bytes, .. } => {
                    let message =
                        messages::decode_server(&bytes).expect("xend's messages are read");
                    self.inbox.entry(session).or_default().push(message);
                }
                Effect::Close(session) => self.closed.push(session),
            }
        }
    }

    pub(crate) fn connect(&mut self, session: u16) {
        self.connect_as(session, "test");
    }

    pub(crate) fn connect_as(&mut self, session: u16, client: &str) {
        if session == 1 {
            (self.vanish, self.is_gone) = (None, false);
        }
        self.event(Event::SessionOpened(session));
        let hello = Hello {
            version: PROTOCOL_VERSION,
            client: client.into(),
        };
        self.send(session, &ClientMessage::Hello(hello));
        let first = self.inbox.get_mut(&session).and_then(Vec::pop);
        assert!(
            matches!(first, Some(ServerMessage::Welcome(_))),
            "{first:?}"
        );
    }

    /// Session 1 vanishes after so many more moments: messages to xend, steps of its work, and orders that the keeper
    /// carries out. From then on its requests get no answer.
    pub(crate) fn vanish_after(&mut self, moments: u64) {
        self.vanish = Some(moments);
        self.vanish_if_it_is_time();
    }

    /// Whether session 1 has vanished.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    fn moment_passes(&mut self) {
        self.vanish = self.vanish.map(|left| left.saturating_sub(1));
        self.vanish_if_it_is_time();
    }

    fn vanish_if_it_is_time(&mut self) {
        if self.vanish == Some(0) && !self.is_gone {
            self.is_gone = true;
            self.event(Event::SessionClosed(1));
        }
    }

    pub(crate) fn send(&mut self, session: u16, message: &ClientMessage) {
        if session == 1 && self.is_gone {
            return;
        }
        let bytes = messages::encode(message);
        self.event(Event::Message {
            session,
            stream: 1,
            bytes: &bytes,
        });
        self.moment_passes();
    }

    /// Sends a request; its id.
    pub(crate) fn post(&mut self, session: u16, body: RequestBody) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.send(
            session,
            &ClientMessage::Request(Request {
                id,
                body,
                token: None,
            }),
        );
        id
    }

    /// Sends a request with a token; its id.
    pub(crate) fn post_repeatable(&mut self, session: u16, token: u8, body: RequestBody) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        let token = Some(Token([token; 16]));
        self.send(
            session,
            &ClientMessage::Request(Request { id, body, token }),
        );
        id
    }

    /// Lets xend work, at most so many steps; whether it had more to do.
    pub(crate) fn work(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            if !self.xend.has_work() {
                return false;
            }
            self.now.mono_ns += 1_000_000;
            self.xend.work(self.now);
            self.drain();
            self.moment_passes();
        }
        self.xend.has_work()
    }

    /// Lets xend and the keeper do all they have to.
    pub(crate) fn finish(&mut self) {
        assert!(!self.work(100_000), "xend never comes to rest");
        while self.keep() {
            assert!(!self.work(100_000), "xend never comes to rest");
        }
    }

    /// Lets the keeper carry an order out, if there is one.
    pub(crate) fn keep(&mut self) -> bool {
        let Some(keeper) = self.keeper.as_mut() else {
            return false;
        };
        let order = self.xend.take_order();
        let result = order.as_ref().map(|order| keeper.carry_out(order));
        match &result {
            Some(result) => {
                self.event(Event::Kept(result.as_ref()));
                self.moment_passes();
            }
            None => self.drain(),
        }
        result.is_some()
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now.mono_ns += milliseconds * 1_000_000;
        self.event(Event::Tick);
    }

    pub(crate) fn answer(&mut self, session: u16, id: u64) -> Option<Result<Reply, Failure>> {
        let inbox = self.inbox.entry(session).or_default();
        let is_it = |message: &ServerMessage| matches!(message, ServerMessage::Response(response) if response.id == id);
        let place = inbox.iter().position(is_it)?;
        match inbox.remove(place) {
            ServerMessage::Response(response) => Some(match response.outcome {
                Outcome::Done(reply) => Ok(reply),
                Outcome::Failed(failure) => Err(failure),
            }),
            _ => None,
        }
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask_as(&mut self, session: u16, body: RequestBody) -> Result<Reply, Failure> {
        let id = self.post(session, body);
        self.finish();
        if session == 1 && self.is_gone {
            return Err(Failure::new(VANISHED, "the client is gone"));
        }
        self.answer(session, id).expect("every request is answered")
    }

    pub(crate) fn ask(&mut self, body: RequestBody) -> Result<Reply, Failure> {
        self.ask_as(1, body)
    }

    pub(crate) fn code(&mut self, body: RequestBody) -> ErrorCode {
        match self.ask(body) {
            Err(failure) => failure.code,
            Ok(reply) => panic!("not refused: {reply:?}"),
        }
    }

    /// Uploads a file as a blob of a session.
    pub(crate) fn upload(&mut self, session: u16, bytes: &[u8]) -> Result<(), Failure> {
        let open = BlobOpen {
            id: blob_id(bytes),
            length: bytes.len() as u64,
        };
        let state = match self.ask_as(session, RequestBody::BlobOpen(open))? {
            Reply::Blob(state) => state,
            other => panic!("{other:?}"),
        };
        let Some(upload) = state.upload else {
            return Ok(());
        };
        for (index, raw) in bytes.chunks(CHUNK).enumerate() {
            let put = BlobPut {
                upload,
                index: index as u32,
                chunk: Chunk::encode(raw),
            };
            self.ask_as(session, RequestBody::BlobPut(put))?;
        }
        self.ask_as(session, RequestBody::BlobCommit(upload))
            .map(drop)
    }

    pub(crate) fn create_request(config: String, paused: bool) -> RequestBody {
        RequestBody::Create(Create {
            config,
            origin: "test.cfg".into(),
            files: files(),
            paused,
        })
    }

    /// Creates a domain; its domid.
    pub(crate) fn create(&mut self, config: String) -> Result<u16, Failure> {
        self.upload(1, &kernel())?;
        self.upload(1, &ramdisk())?;
        match self.ask(Self::create_request(config, false))? {
            Reply::Created(created) => Ok(created.domid),
            other => panic!("{other:?}"),
        }
    }

    /// Rings a domain's port, named by its parameter, at Domain-0.
    pub(crate) fn ring(&mut self, domid: u16, param: u32) {
        let port = {
            let mut machine = self.machine();
            let remote = machine.domain(domid).params[&param] as u32;
            machine.port_to(domid, remote)
        };
        self.event(Event::Port(port));
    }

    /// The guest prints something.
    pub(crate) fn print(&mut self, domid: u16, text: &str) {
        let page = self.machine().domain(domid).console();
        CONSOLE_OUT.put(&page, text.as_bytes()).unwrap();
        self.ring(domid, param::CONSOLE_EVTCHN);
    }

    /// The guest prints something, and tells nobody.
    pub(crate) fn print_quietly(&mut self, domid: u16, text: &str) {
        let page = self.machine().domain(domid).console();
        CONSOLE_OUT.put(&page, text.as_bytes()).unwrap();
    }

    /// What the guest finds typed.
    pub(crate) fn typed(&self, domid: u16) -> Vec<u8> {
        let ring = ByteRing::new(0, 1024, 3072, 3076);
        let page = self.machine().domain(domid).console();
        let mut bytes = [0; 1024];
        let count = ring.take(&page, &mut bytes).unwrap();
        bytes[..count].to_vec()
    }

    /// The guest writes a node of its home.
    pub(crate) fn guest_writes(&mut self, domid: u16, path: &str, value: &str) {
        let payload = [path.as_bytes(), &[0], value.as_bytes()].concat();
        let header = [11_u32, 7, 0, payload.len() as u32];
        let bytes: Vec<u8> = header
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .chain(payload)
            .collect();
        let page = self.machine().domain(domid).xenstore();
        assert_eq!(STORE_REQUEST.put(&page, &bytes).unwrap(), bytes.len());
        self.ring(domid, param::STORE_EVTCHN);
        // Take the reply, as a guest would.
        let produced = page.load_u32(2060);
        page.store_u32(2056, produced);
    }

    /// The guest has booted so far that it listens to requests.
    pub(crate) fn boot(&mut self, domid: u16) {
        self.guest_writes(domid, "control/feature-poweroff", "1");
        self.guest_writes(domid, "control/feature-reboot", "1");
    }

    /// The guest stops.
    pub(crate) fn stop(&mut self, domid: u16, reason: ShutdownReason) {
        self.machine().domain(domid).shutdown = Some(reason);
        self.event(Event::DomainsChanged);
        self.finish();
    }

    pub(crate) fn console(&mut self, name: &str) -> Result<(String, bool), Failure> {
        let read = ConsoleRead {
            domain: by_name(name),
            cursor: None,
            wait_ms: 0,
            max: 10_000,
        };
        match self.ask(RequestBody::ConsoleRead(read))? {
            Reply::Console(chunk) => Ok((String::from_utf8(chunk.bytes).unwrap(), chunk.ended)),
            other => panic!("{other:?}"),
        }
    }

    /// Names and states as `list` shows them, without Domain-0.
    pub(crate) fn list(&mut self) -> Vec<(String, &'static str)> {
        match self.ask(RequestBody::List) {
            Ok(Reply::List(list)) => list
                .into_iter()
                .skip(1)
                .map(|line| (line.name, line.state.name()))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn domids(&self) -> Vec<u16> {
        self.machine().domains.keys().copied().collect()
    }

    /// Every guest has booted.
    pub(crate) fn guests_boot(&mut self) {
        for domid in self.domids() {
            self.boot(domid);
        }
    }

    /// Every guest that was asked to shut down or reboot does so.
    pub(crate) fn guests_obey(&mut self) {
        for domid in self.domids() {
            let node = format!("/local/domain/{domid}/control/shutdown");
            let reason = match self.xend.xenstore.read_text(&node) {
                Some("poweroff") => ShutdownReason::POWEROFF,
                Some("reboot") => ShutdownReason::REBOOT,
                _ => continue,
            };
            self.stop(domid, reason);
        }
    }

    /// Everything back to what it was before the first domain.
    pub(crate) fn assert_clean(&mut self, what: &str) {
        let held = self.machine().held();
        assert_eq!(held, (crate::fake::FREE, 0, 0, 0, 0), "{what}");
        assert!(
            self.xend.xenstore.list("/local/domain").is_empty(),
            "{what}"
        );
        assert!(self.xend.xenstore.list("/vm").is_empty(), "{what}");
        self.xend.xenstore.verify().unwrap();
    }
}

#[test]
fn a_created_domain_has_everything_where_it_belongs() {
    let mut world = World::new();
    let domid = world.create(config("guest")).unwrap();
    let mut machine = world.machine();
    let domain = machine.domain(domid);
    assert!(domain.started && !domain.paused);
    let context = domain.context.unwrap();
    assert_eq!(context.entry, RAM0_BASE);
    assert_eq!(domain.read(RAM0_BASE, 70_000), kernel());
    assert_eq!(domain.read(RAM0_BASE + 70_000, 20_000), vec![0; 20_000]);
    let initrd = RAM0_BASE + 0x2_0000;
    assert_eq!(domain.read(initrd, 9000), ramdisk());
    assert_eq!(domain.read(context.argument, 4), [0xd0, 0x0d, 0xfe, 0xed]);
    assert_eq!(domain.frames.len(), 512 + 2);
    assert_eq!((machine.mapped, machine.ports.len()), (2, 2));
    drop(machine);
    assert_eq!(world.list(), [("guest".into(), "blocked")]);
}
