// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker: many clients on a socket, one pipe to xend.
//!
//! One loop owns the far link and all clients' links. A client's session is a session of the far link
//! under another number. What is true here:
//!
//! - Messages pass when the other side's link has room; until then they stay with the broker and their
//!   credit is not given back. So a client that does not read is not sent to, holds up nobody, and the
//!   broker keeps at most two windows for each of its streams.
//! - A client that vanishes, or is silent for 30 s, has its sessions ended towards xend.
//! - When xend restarts or the pipe to it breaks, all sessions end with that reason.
//! - The socket file is removed at the end; one left behind by a killed broker is replaced, one that a
//!   broker still listens on is not.

use super::{
    Host, LinkError, nonce, now_ms,
    port::{BACKLOG, Port, PortEvent},
    transport::Pipe,
    until,
};
use mgmt_proto::link::{Link, LinkEvent, Reason, STREAMS, SendError};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
};

/// Connections at the same time; more are closed at once.
const MAX_CLIENTS: usize = 64;

/// A connection without a session is closed after this long.
const IDLE_MS: u64 = 60_000;

/// Ends the broker from another thread.
#[derive(Clone)]
pub(crate) struct Stopper(SyncSender<Input>);

impl Stopper {
    /// Tells the clients, removes the socket and makes [`serve`] return.
    pub(crate) fn stop(&self) {
        // A broker that is gone needs no stopping.
        drop(self.0.send(Input::Stop));
    }
}

/// Serves clients on `listen` until stopped, or with an error once the pipe to xend breaks; `ready` is
/// called when clients can connect.
pub(crate) fn serve(
    host: &Host,
    listen: &Path,
    ready: impl FnOnce(Stopper),
) -> Result<(), LinkError> {
    let socket = Socket::listen(listen)?;
    let pipe = host.open()?;
    let (inputs, events) = mpsc::sync_channel(BACKLOG);
    let far = Port::start(
        pipe,
        |parameters| Link::owner(parameters, nonce()),
        &inputs,
        Input::Far,
    );
    accept_from(socket.listener()?, inputs.clone());
    ready(Stopper(inputs.clone()));
    let mut broker = Broker {
        far,
        inputs,
        clients: BTreeMap::new(),
        routes: Vec::new(),
        next_client: 0,
    };
    let end = broker.run(&events);
    broker.end();
    match end {
        End::Stopped => Ok(()),
        End::Gone(Some(error)) => Err(LinkError::unreachable(
            host,
            format!("the connection broke: {error}"),
        )),
        End::Gone(None) => Err(LinkError::unreachable(
            host,
            "the host closed the connection",
        )),
    }
}

/// Why the broker's loop ended.
enum End {
    Stopped,
    Gone(Option<io::Error>),
}

/// The broker's socket; its file goes with it.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn listen(path: &Path) -> Result<Self, LinkError> {
        let failed = |error| LinkError::Listen(path.to_owned(), error);
        match UnixStream::connect(path) {
            Ok(_) => return Err(LinkError::InUse(path.to_owned())),
            // Left behind by a broker that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
        })
    }

    fn listener(&self) -> Result<UnixListener, LinkError> {
        self.listener
            .try_clone()
            .map_err(|error| LinkError::Listen(self.path.clone(), error))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

fn accept_from(listener: UnixListener, inputs: SyncSender<Input>) {
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if inputs.send(Input::Client(stream)).is_err() {
                return;
            }
        }
    });
}

/// What the loop hears.
enum Input {
    Far(PortEvent),
    Client(UnixStream),
    Near(u64, PortEvent),
    Stop,
}

/// A connected client.
struct Client {
    port: Port,
    /// Since when it has had no session.
    idle_since: u64,
}

/// A client's session and its number towards xend, with the messages on their way.
struct Route {
    client: u64,
    near: u16,
    far: u16,
    up: [VecDeque<Vec<u8>>; STREAMS],
    down: [VecDeque<Vec<u8>>; STREAMS],
    /// xend's side has ended, for this reason; the client is told after the last message.
    ended: Option<Reason>,
}

struct Broker {
    far: Port,
    inputs: SyncSender<Input>,
    clients: BTreeMap<u64, Client>,
    routes: Vec<Route>,
    next_client: u64,
}

impl Broker {
    /// Runs until stopped, or until the pipe to xend is gone.
    fn run(&mut self, events: &Receiver<Input>) -> End {
        loop {
            self.pump();
            match events.recv_timeout(until(self.deadline())) {
                Ok(Input::Far(event)) => {
                    if let Err(error) = self.far.take(event) {
                        return End::Gone(error);
                    }
                }
                Ok(Input::Client(stream)) => self.welcome(stream),
                Ok(Input::Near(client, event)) => {
                    let gone = self
                        .clients
                        .get_mut(&client)
                        .is_some_and(|c| c.port.take(event).is_err());
                    if gone {
                        self.vanished(client);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.drop_idle(),
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return End::Stopped,
            }
            self.far_events();
            self.near_events();
            self.pass_on();
        }
    }

    fn deadline(&self) -> Option<u64> {
        let near = self
            .clients
            .values()
            .filter_map(|client| client.port.deadline());
        near.chain(self.far.deadline()).min()
    }

    fn pump(&mut self) {
        self.far.pump();
        self.clients
            .values_mut()
            .for_each(|client| client.port.pump());
    }

    fn welcome(&mut self, stream: UnixStream) {
        if self.clients.len() >= MAX_CLIENTS {
            return;
        }
        let Ok(pipe) = Pipe::unix(stream) else { return };
        let id = self.next_client;
        self.next_client += 1;
        let port = Port::start(pipe, Link::server, &self.inputs, move |event| {
            Input::Near(id, event)
        });
        self.clients.insert(
            id,
            Client {
                port,
                idle_since: now_ms(),
            },
        );
    }

    /// The client's connection is gone, and its sessions with it.
    fn vanished(&mut self, client: u64) {
        self.clients.remove(&client);
        let far = &mut self.far.link;
        self.routes.retain(|route| {
            let stays = route.client != client;
            if !stays {
                far.close(now_ms(), route.far, Reason::DONE);
            }
            stays
        });
    }

    fn drop_idle(&mut self) {
        let now = now_ms();
        let busy = |id: u64| self.routes.iter().any(|route| route.client == id);
        for (id, client) in &mut self.clients {
            if busy(*id) {
                client.idle_since = now;
            }
        }
        self.clients
            .retain(|_, client| now.saturating_sub(client.idle_since) < IDLE_MS);
    }

    fn near_events(&mut self) {
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for id in ids {
            while let Some(event) = self
                .clients
                .get_mut(&id)
                .and_then(|client| client.port.link.event())
            {
                self.near_event(id, event);
            }
        }
    }

    fn near_event(&mut self, client: u64, event: LinkEvent) {
        match event {
            LinkEvent::Opened(near) => self.opened(client, near),
            LinkEvent::Message {
                session,
                stream,
                bytes,
            } => {
                let route = self
                    .routes
                    .iter_mut()
                    .find(|route| (route.client, route.near) == (client, session));
                if let Some(queue) = route.and_then(|route| route.up.get_mut(usize::from(stream))) {
                    queue.push_back(bytes);
                }
            }
            LinkEvent::Closed { session, reason } => {
                let far = &mut self.far.link;
                self.routes.retain(|route| {
                    let stays = (route.client, route.near) != (client, session);
                    if !stays {
                        far.close(now_ms(), route.far, reason);
                    }
                    stays
                });
            }
        }
    }

    fn opened(&mut self, client: u64, near: u16) {
        match self.far.link.open(now_ms()) {
            Ok(far) => self.routes.push(Route {
                client,
                near,
                far,
                up: Default::default(),
                down: Default::default(),
                ended: None,
            }),
            Err(_) => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.port.link.close(now_ms(), near, Reason::FULL);
                }
            }
        }
    }

    fn far_events(&mut self) {
        while let Some(event) = self.far.link.event() {
            match event {
                LinkEvent::Message {
                    session,
                    stream,
                    bytes,
                } => {
                    let route = self.routes.iter_mut().find(|route| route.far == session);
                    if let Some(queue) =
                        route.and_then(|route| route.down.get_mut(usize::from(stream)))
                    {
                        queue.push_back(bytes);
                    }
                }
                LinkEvent::Closed { session, reason } => {
                    for route in self.routes.iter_mut().filter(|route| route.far == session) {
                        route.ended = Some(reason);
                    }
                }
                LinkEvent::Opened(_) => {}
            }
        }
    }

    /// Passes on what there is room for.
    fn pass_on(&mut self) {
        let Self {
            far,
            clients,
            routes,
            ..
        } = self;
        routes.retain_mut(|route| {
            let Some(client) = clients.get_mut(&route.client) else {
                return false;
            };
            let near = &mut client.port.link;
            for (stream, (up, down)) in (0..).zip(route.up.iter_mut().zip(&mut route.down)) {
                pass(
                    up,
                    near,
                    (route.near, stream),
                    &mut far.link,
                    (route.far, stream),
                );
                pass(
                    down,
                    &mut far.link,
                    (route.far, stream),
                    near,
                    (route.near, stream),
                );
            }
            let Some(reason) = route
                .ended
                .filter(|_| route.down.iter().all(VecDeque::is_empty))
            else {
                return true;
            };
            near.close(now_ms(), route.near, reason);
            false
        });
    }

    /// Tells the clients that it is over, as far as they listen.
    fn end(&mut self) {
        for route in &self.routes {
            if let Some(client) = self.clients.get_mut(&route.client) {
                client.port.link.close(now_ms(), route.near, Reason::LOST);
            }
        }
        self.pump();
        thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Passes messages from one link to the other while it has room, and gives their credit back.
fn pass(
    queue: &mut VecDeque<Vec<u8>>,
    from: &mut Link,
    (from_session, from_stream): (u16, u16),
    to: &mut Link,
    (to_session, to_stream): (u16, u16),
) {
    while let Some(message) = queue.pop_front() {
        if let Err(SendError::Full(message)) = to.send(to_session, to_stream, message) {
            queue.push_front(message);
            return;
        }
        from.consumed(from_session, from_stream);
    }
}
