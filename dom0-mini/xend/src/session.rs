//! Clients: who is connected, what each still waits for, and what waits to be sent.
//!
//! What is true here: a request under way is in [`Session`]'s list of ids until its one answer is queued; at most
//! [`REQUESTS`] are under way; messages that cannot be sent yet are at most one per request, a progress report and a
//! few refusals. A client that breaks these bounds is told so and closed.

mod repeats;

use crate::event::{Effect, SessionId, StreamId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{string::String, vec, vec::Vec};
use mgmt_proto::messages::{
    self, ErrorCode, Failure, Outcome, Progress, Reply, Response, ServerMessage, Token,
};
#[cfg(test)]
pub(crate) use repeats::KEPT;
use repeats::{Number, Repeats, Turn};

/// Requests of one session that may be under way.
pub(crate) const REQUESTS: usize = 8;

/// Messages that may wait to be sent to one session.
const OUTBOX: usize = 3 * REQUESTS;

/// Characters of a client's name that are shown.
const CLIENT_NAME: usize = 64;

/// Sessions at a time; the link has fewer.
pub(crate) const SESSIONS: usize = 32;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) session: SessionId,
    pub(crate) stream: StreamId,
    pub(crate) request: u64,
    /// If the request carries a token: its answer goes to all who wait for it, whatever session they are in.
    pub(crate) repeat: Option<Number>,
}

impl Ticket {
    /// Of something that nobody asked for.
    pub(crate) const NOBODY: Self = Self {
        session: SessionId::MAX,
        stream: StreamId::MAX,
        request: 0,
        repeat: None,
    };
}

/// One connected client.
#[derive(Debug, Default)]
struct Session {
    client: Option<String>,
    under_way: Vec<u64>,
    outbox: VecDeque<(StreamId, Vec<u8>)>,
    closing: bool,
}

/// All connected clients.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    /// Whose turn it is: the next session at or after this one is served first.
    turn: SessionId,
    repeats: Repeats,
}

/// Whether a request may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is under way now.
    Admitted,
    /// It is a repeat of one under way, or its session is ending: not a word about it.
    Ignored,
    /// The session has too many already.
    TooMany,
    /// The session has not said hello.
    NoHello,
}

impl Sessions {
    /// A client connected. One more than there may be is closed at once.
    pub(crate) fn open(&mut self, id: SessionId) {
        let full = self.open.len() >= SESSIONS;
        self.open.insert(
            id,
            Session {
                closing: full,
                ..Session::default()
            },
        );
    }

    /// A client is gone.
    pub(crate) fn close(&mut self, id: SessionId) {
        self.open.remove(&id);
        self.repeats.leave(id);
    }

    /// Whether a client is connected and not on its way out.
    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.open.get(&id).is_some_and(|session| !session.closing)
    }

    /// Whether a client's name is known already.
    pub(crate) fn is_known(&self, id: SessionId) -> bool {
        self.open
            .get(&id)
            .is_some_and(|session| session.client.is_some())
    }

    /// A client said its name.
    pub(crate) fn introduce(&mut self, id: SessionId, client: String) {
        if let Some(session) = self.open.get_mut(&id) {
            session.client = Some(client);
        }
    }

    /// How a client calls itself, fit for a sentence.
    pub(crate) fn client_name(&self, id: SessionId) -> String {
        let session = self.open.get(&id);
        let name = session.and_then(|session| session.client.as_deref());
        let name = name.unwrap_or_default().chars();
        let name: String = name.filter(|c| !c.is_control()).take(CLIENT_NAME).collect();
        if name.is_empty() {
            "a client without a name".into()
        } else {
            name
        }
    }

    /// Begins a request.
    pub(crate) fn admit(&mut self, ticket: Ticket) -> Admission {
        let Some(session) = self.open.get_mut(&ticket.session) else {
            return Admission::Ignored;
        };
        if session.closing || session.under_way.contains(&ticket.request) {
            return Admission::Ignored;
        }
        if session.client.is_none() {
            return Admission::NoHello;
        }
        if session.under_way.len() >= REQUESTS {
            return Admission::TooMany;
        }
        session.under_way.push(ticket.request);
        Admission::Admitted
    }

    /// Begins an admitted request with a token: the ticket it is carried out for, or none if it is not.
    pub(crate) fn begin_repeatable(&mut self, token: Token, ticket: Ticket) -> Option<Ticket> {
        match self.repeats.begin(token, ticket) {
            Turn::First(number) => Some(Ticket {
                repeat: Some(number),
                ..ticket
            }),
            Turn::Joined => None,
            Turn::Done(reply) => {
                self.answer(ticket, Ok(*reply));
                None
            }
        }
    }

    /// Queues the one answer to a request under way; without one (its session ended) nothing.
    pub(crate) fn answer(&mut self, ticket: Ticket, result: Result<Reply, Failure>) {
        let Some(number) = ticket.repeat else {
            return self.answer_one(ticket, result);
        };
        for ticket in self.repeats.end(number, &result) {
            self.answer_one(ticket, result.clone());
        }
    }

    fn answer_one(&mut self, ticket: Ticket, result: Result<Reply, Failure>) {
        let Some(session) = self.open.get_mut(&ticket.session) else {
            return;
        };
        let before = session.under_way.len();
        session.under_way.retain(|id| *id != ticket.request);
        if session.under_way.len() < before {
            self.respond(ticket, result);
        }
    }

    /// Queues an answer to something that was never under way.
    pub(crate) fn respond(&mut self, ticket: Ticket, result: Result<Reply, Failure>) {
        let response = Response {
            id: ticket.request,
            outcome: result.into(),
        };
        self.push(
            ticket.session,
            ticket.stream,
            &ServerMessage::Response(response),
        );
    }

    /// Queues a word about how far a request has come, unless something waits already.
    pub(crate) fn progress(&mut self, ticket: Ticket, done: u64, total: u64, what: &str) {
        let tickets = match ticket.repeat {
            Some(number) => self.repeats.waiting(number).to_vec(),
            None => vec![ticket],
        };
        for ticket in tickets {
            self.progress_of_one(ticket, done, total, what);
        }
    }

    fn progress_of_one(&mut self, ticket: Ticket, done: u64, total: u64, what: &str) {
        let idle = self
            .open
            .get(&ticket.session)
            .is_some_and(|session| session.outbox.is_empty());
        if idle {
            let progress = Progress {
                id: ticket.request,
                done,
                total,
                what: what.into(),
            };
            self.push(
                ticket.session,
                ticket.stream,
                &ServerMessage::Progress(progress),
            );
        }
    }

    /// Tells a client why its session ends, and ends it.
    pub(crate) fn refuse(&mut self, id: SessionId, stream: StreamId, failure: Failure) {
        self.push(id, stream, &ServerMessage::Refused(failure));
        if let Some(session) = self.open.get_mut(&id) {
            session.closing = true;
        }
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, id: SessionId, stream: StreamId, message: &ServerMessage) {
        let Some(session) = self.open.get_mut(&id) else {
            return;
        };
        if session.closing {
            return;
        }
        if session.outbox.len() >= OUTBOX {
            let failure = Failure::new(
                ErrorCode::BUSY,
                "too many requests at once, and their answers are not read",
            );
            let last = messages::encode(&ServerMessage::Refused(failure));
            session.outbox.push_back((stream, last));
            session.closing = true;
            return;
        }
        session
            .outbox
            .push_back((stream, messages::encode(&within_bounds(message))));
    }

    /// Messages that wait for a session's client.
    pub(crate) fn waiting(&self, id: SessionId) -> usize {
        self.open.get(&id).map_or(0, |session| session.outbox.len())
    }

    /// Takes the next thing to send, one session after the other, among those that `ready` accepts.
    pub(crate) fn take(
        &mut self,
        mut ready: impl FnMut(SessionId, StreamId) -> bool,
    ) -> Option<Effect> {
        let later = self.open.range(self.turn..);
        let order: Vec<SessionId> = later
            .chain(self.open.range(..self.turn))
            .map(|(id, _)| *id)
            .collect();
        order
            .into_iter()
            .find_map(|id| self.take_from(id, &mut ready))
    }

    fn take_from(
        &mut self,
        id: SessionId,
        ready: &mut impl FnMut(SessionId, StreamId) -> bool,
    ) -> Option<Effect> {
        let session = self.open.get_mut(&id)?;
        let place = session
            .outbox
            .iter()
            .position(|(stream, _)| ready(id, *stream));
        if let Some((stream, bytes)) = place.and_then(|place| session.outbox.remove(place)) {
            self.turn = id.wrapping_add(1);
            return Some(Effect::Send {
                session: id,
                stream,
                bytes,
            });
        }
        if session.closing && session.outbox.is_empty() {
            self.open.remove(&id);
            return Some(Effect::Close(id));
        }
        None
    }
}

/// A message no reader would accept is a mistake of ours: its place takes one that says so.
fn within_bounds(message: &ServerMessage) -> ServerMessage {
    match message {
        ServerMessage::Response(response)
            if messages::encode(message).len() > mgmt_proto::MAX_MESSAGE =>
        {
            ServerMessage::Response(Response {
                id: response.id,
                outcome: Outcome::Failed(Failure::new(
                    ErrorCode::TOO_LARGE,
                    "the answer does not fit a message",
                )),
            })
        }
        message => message.clone(),
    }
}
