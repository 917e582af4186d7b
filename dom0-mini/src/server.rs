//! Events in, effects out: the tasks that connect xend with the link, event channels and the clock.
//!
//! Everything is one state behind one cell: tasks borrow it between awaits only, so a borrow never overlaps another.
//! What wakes a task is a [`Signal`]; the interrupt dispatcher and the tasks themselves raise them.

use crate::clock;
use crate::devices::{LinkDevice, Pipe};
use crate::events::{self, Virqs};
use crate::hypervisor::Calls;
use crate::lines::{Line, Lines};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use embassy_executor::{SpawnError, SpawnToken, Spawner};
use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Instant, Timer};
use mgmt_proto::link::{Link, LinkEvent, LinkParameters, SendError};
use static_cell::StaticCell;
use xend::store::keeper::{Keeper, Order};
use xend::{Effect, Event, Now, Xend};

type Wake = Signal<CriticalSectionRawMutex, ()>;

/// The link's device raised its interrupt, or there is something to send.
static LINK: Wake = Signal::new();
/// Event channels are pending.
static EVENTS: Wake = Signal::new();
/// xend has work to do.
static WORK: Wake = Signal::new();
/// xend orders something of the store's keeper.
static STORE: Wake = Signal::new();
/// A deadline changed.
static DEADLINE: Wake = Signal::new();

/// What the tasks share.
struct State {
    xend: Xend<Calls>,
    link: Link,
    pipe: Option<Box<dyn Pipe>>,
    virqs: Virqs,
    lines: Lines,
    /// Ports with events that are being handled; empty between calls.
    ports: Vec<u32>,
    wall_clock_base_s: u64,
}

type Shared = &'static RefCell<State>;

/// Wakes the link's task. Called for its interrupt.
pub(crate) fn link_interrupt() {
    LINK.signal(());
}

/// Wakes the event task. Called for the upcall.
pub(crate) fn upcall() {
    EVENTS.signal(());
}

/// Starts the tasks.
pub(crate) fn spawn(
    spawner: Spawner,
    xend: Xend<Calls>,
    keeper: Keeper,
    device: Option<LinkDevice>,
    virqs: Virqs,
    lines: Lines,
    wall_clock_base_s: u64,
) {
    static STATE: StaticCell<RefCell<State>> = StaticCell::new();
    let parameters = device.as_ref().map(|device| device.parameters);
    let state = STATE.init(RefCell::new(State {
        xend,
        link: Link::server(parameters.unwrap_or(LinkParameters::FAST)),
        pipe: device.map(|device| device.pipe),
        virqs,
        lines,
        ports: Vec::new(),
        wall_clock_base_s,
    }));
    let state: Shared = state;
    start_task(spawner, link_task(state));
    start_task(spawner, events_task(state));
    start_task(spawner, work_task(state));
    start_task(spawner, store_task(state, keeper));
    start_task(spawner, timer_task(state));
    LINK.signal(());
    EVENTS.signal(());
    WORK.signal(());
}

fn start_task<S>(spawner: Spawner, task: Result<SpawnToken<S>, SpawnError>) {
    match task {
        Ok(token) => spawner.spawn(token),
        Err(error) => log::error!("a task could not be started: {error:?}"),
    }
}

impl State {
    fn now(&self) -> Now {
        now(self.wall_clock_base_s)
    }

    /// Gives xend an event and passes on what it wants sent.
    fn handle(&mut self, event: Event<'_>) {
        let now = self.now();
        self.xend.handle(now, event);
        self.flush();
    }

    /// What the store's keeper is to do.
    fn take_order(&mut self) -> Option<Order> {
        let order = self.xend.take_order();
        self.flush();
        order
    }

    /// Moves xend's effects to the link as far as it takes them.
    fn flush(&mut self) {
        let Self { xend, link, .. } = self;
        while let Some(effect) = xend.next_effect(|session, stream| link.ready(session, stream)) {
            match effect {
                Effect::Send {
                    session,
                    stream,
                    bytes,
                } => {
                    if let Err(SendError::TooLarge) = link.send(session, stream, bytes) {
                        log::error!(
                            "a message for session {session} is larger than its stream allows"
                        );
                    }
                }
                Effect::Close(session) => {
                    link.close(now_ms(), session, mgmt_proto::link::Reason::REFUSED)
                }
            }
        }
        LINK.signal(());
        DEADLINE.signal(());
        if xend.has_work() {
            WORK.signal(());
        }
        if xend.has_order() {
            STORE.signal(());
        }
    }

    /// Moves bytes between device and link, and messages from the link to xend. `true`: there may be more.
    fn pump_link(&mut self) -> bool {
        let Self { link, pipe, .. } = self;
        let Some(pipe) = pipe else { return false };
        pipe.acknowledge();
        let now = now_ms();
        let received = pipe.receive(&mut |bytes| link.receive(now, bytes));
        let sent = pipe.send(&mut |buffer| link.transmit(now, buffer));
        let delivered = self.deliver_one();
        received || sent || delivered
    }

    fn deliver_one(&mut self) -> bool {
        let Some(event) = self.link.event() else {
            return false;
        };
        match event {
            LinkEvent::Opened(session) => self.handle(Event::SessionOpened(session)),
            LinkEvent::Closed { session, .. } => self.handle(Event::SessionClosed(session)),
            LinkEvent::Message {
                session,
                stream,
                bytes,
            } => {
                self.handle(Event::Message {
                    session,
                    stream,
                    bytes: &bytes,
                });
                self.link.consumed(session, stream);
            }
        }
        true
    }

    /// Advances one job of xend's by one step. `false`: there was nothing to do.
    fn work_step(&mut self) -> bool {
        if !self.xend.has_work() {
            return false;
        }
        let now = self.now();
        self.xend.work(now);
        self.flush();
        true
    }

    fn take_events(&mut self) {
        let Virqs {
            domains_changed,
            log_grew,
        } = self.virqs;
        let mut ports = core::mem::take(&mut self.ports);
        events::take(|port| ports.push(port));
        for port in ports.drain(..) {
            if self.lines.dispatch(Line::Event(port)) {
                continue;
            }
            self.handle(match port {
                port if port == domains_changed => Event::DomainsChanged,
                port if port == log_grew => Event::LogGrew,
                port => Event::Port(port),
            });
        }
        self.ports = ports;
    }

    /// Microseconds on the clock at which link or xend want to be called.
    fn deadline_us(&self) -> Option<u64> {
        let link = self.link.deadline().map(|ms| ms.saturating_mul(1000));
        let xend = self.xend.next_deadline().map(|ns| ns / 1000 + 1);
        link.into_iter().chain(xend).min()
    }
}

/// System time, and wall-clock time if its base is known.
pub(crate) fn now(wall_clock_base_s: u64) -> Now {
    let mono_ns = clock::now_ns();
    let wall_ns = (wall_clock_base_s != 0).then(|| {
        wall_clock_base_s
            .saturating_mul(1_000_000_000)
            .saturating_add(mono_ns)
    });
    Now { mono_ns, wall_ns }
}

fn now_ms() -> u64 {
    clock::now_ns() / 1_000_000
}

#[embassy_executor::task]
async fn link_task(state: Shared) {
    loop {
        LINK.wait().await;
        while state.borrow_mut().pump_link() {
            yield_now().await;
        }
    }
}

#[embassy_executor::task]
async fn events_task(state: Shared) {
    loop {
        EVENTS.wait().await;
        state.borrow_mut().take_events();
    }
}

#[embassy_executor::task]
async fn work_task(state: Shared) {
    loop {
        WORK.wait().await;
        while state.borrow_mut().work_step() {
            yield_now().await;
        }
    }
}

/// The only task that waits for the disk; all others wait with it.
#[embassy_executor::task]
async fn store_task(state: Shared, mut keeper: Keeper) {
    loop {
        STORE.wait().await;
        let order = state.borrow_mut().take_order();
        if let Some(order) = order {
            let result = keeper.carry_out(&order);
            state.borrow_mut().handle(Event::Kept(result.as_ref()));
        }
    }
}

#[embassy_executor::task]
async fn timer_task(state: Shared) {
    loop {
        let deadline = state.borrow().deadline_us();
        let timer = async {
            match deadline {
                Some(at) => Timer::at(Instant::from_micros(at)).await,
                None => core::future::pending().await,
            }
        };
        if let Either::First(()) = select(timer, DEADLINE.wait()).await {
            state.borrow_mut().handle(Event::Tick);
        }
    }
}
