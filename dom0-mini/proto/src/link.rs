// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link: one byte pipe shared by many clients, without I/O and without a clock.
//!
//! One side is the *owner* of the pipe (a broker, or a lone xenman), the other the *server* (xend; or
//! the broker, towards each of its clients). What is true here:
//!
//! - The owner begins with Reset and a nonce, which ends all sessions; both sides count frames from 0
//!   again. A server without a link answers anything else with Lost, and the owner begins anew.
//! - Sequenced frames arrive exactly once and in order ([`order`]): a receiver that misses one says so,
//!   the sender goes back; it also goes back when no acknowledgement comes. A damaged frame is ignored.
//! - The owner opens sessions and numbers them. Sessions are independent. One ends with Bye, with a
//!   reset, or when nothing was heard of it for [`SILENCE_MS`]; owners ping every [`PING_MS`].
//! - A message belongs to a session and one of its [`STREAMS`] streams and is cut into frames; streams
//!   and sessions take turns frame by frame, so a long one does not delay a short one.
//! - A stream's sender stops when [`StreamLimit::window`] bytes are unread at the other end: the user
//!   takes a message ([`Link::event`]) and says when it is done with it ([`Link::consumed`]). One frame
//!   is allowed beyond that on stream 0. A server is handed a message only when an answer to it could
//!   be queued ([`Link::ready`]), so a client that does not read is not served, and costs nothing more.
//! - Memory is bounded: per session 208 KiB received and 208 KiB queued at most, per link twice the
//!   window and 40 KiB. A peer that sends more than it may loses the session ([`Reason::PROTOCOL`]).
//!
//! Use: give [`Link::receive`] what arrives, take events until there is none, write what
//! [`Link::transmit`] returns until it returns 0, and call `transmit` again at [`Link::deadline`].

pub mod frame;
mod order;
mod receive;
mod session;
#[cfg(test)]
mod tests;
mod transmit;

use alloc::{collections::VecDeque, vec::Vec};
use core::fmt;
use frame::{Gather, Greeting, Head, Kind};
use order::{Arrival, Incoming, Item, Outgoing, Patience};
use session::Session;

pub use receive::fuzz_link_bytes;

/// The longest payload of a frame.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// A session of which nothing was heard for this long is over.
pub const SILENCE_MS: u64 = 30_000;

/// An owner shows this often that its sessions are alive.
pub const PING_MS: u64 = 10_000;

/// Streams of a session.
pub const STREAMS: usize = 3;

/// The stream for requests and keys.
pub const STREAM_CONTROL: u16 = 0;

/// The stream for chunks of blobs and snapshots.
pub const STREAM_BULK: u16 = 1;

/// The stream for following consoles, logs and events.
pub const STREAM_FOLLOW: u16 = 2;

/// What a stream may carry.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimit {
    /// The longest message.
    pub message: usize,
    /// Bytes that may be on the way or unread at the receiver, frames costing 32 bytes each.
    pub window: usize,
}

/// The streams' limits, by number.
pub const STREAM_LIMITS: [StreamLimit; STREAMS] = [
    StreamLimit {
        message: 40 * 1024,
        window: 48 * 1024,
    },
    StreamLimit {
        message: crate::MAX_MESSAGE,
        window: 112 * 1024,
    },
    StreamLimit {
        message: 24 * 1024,
        window: 32 * 1024,
    },
];

/// The version of the link, in Reset and its answer.
const VERSION: u8 = 1;

/// Byes owed to sessions that are not there; more are dropped, and silence ends those sessions.
const MAX_BYES: usize = 32;

/// How a kind of pipe wants to be used.
#[derive(Clone, Copy, Debug)]
pub struct LinkParameters {
    /// The longest payload of a frame, at most [`MAX_PAYLOAD`].
    pub payload: usize,
    /// Bytes that may be on the way unacknowledged.
    pub window: usize,
    /// How long to wait for an acknowledgement before sending again, at first.
    pub resend_ms: u64,
    /// And at most.
    pub resend_limit_ms: u64,
    /// Sessions at the same time.
    pub sessions: usize,
}

impl LinkParameters {
    /// For sockets and virtio-console.
    pub const FAST: Self = Self {
        payload: MAX_PAYLOAD,
        window: 64 * 1024,
        resend_ms: 300,
        resend_limit_ms: 2_400,
        sessions: 16,
    };

    /// For serial lines.
    pub const SERIAL: Self = Self {
        payload: 512,
        window: 4 * 1024,
        resend_ms: 1_000,
        resend_limit_ms: 8_000,
        sessions: 16,
    };
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u8);

impl Reason {
    /// Its user was done.
    pub const DONE: Self = Self(0);
    /// Nothing was heard of it for too long.
    pub const SILENCE: Self = Self(1);
    /// There are too many sessions already.
    pub const FULL: Self = Self(2);
    /// The peer broke the rules of the link.
    pub const PROTOCOL: Self = Self(3);
    /// The peer sent a message larger than its stream allows.
    pub const TOO_LARGE: Self = Self(4);
    /// The link was reset, or the other side restarted.
    pub const LOST: Self = Self(5);
    /// The user refused it, having said why.
    pub const REFUSED: Self = Self(6);
    /// The other side does not speak this link's version.
    pub const VERSION: Self = Self(7);
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::DONE => "the other side ended the session",
            Self::SILENCE => "the other side was silent for 30 s",
            Self::FULL => "there are too many sessions already",
            Self::PROTOCOL => "the other side broke the rules of the link",
            Self::TOO_LARGE => "a message was larger than its stream allows",
            Self::LOST => "the link was reset, or the other side restarted",
            Self::REFUSED => "the session was refused",
            Self::VERSION => "the other side speaks another version of the link",
            _ => "the other side ended the session for a reason unknown here",
        })
    }
}

/// Which end of the pipe this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Resets the link and opens sessions.
    Owner,
    /// Answers.
    Server,
}

/// What happened on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The owner opened a session (on a server only).
    Opened(u16),
    /// A message arrived; [`Link::consumed`] is to be called for it once.
    Message {
        /// Its session.
        session: u16,
        /// Its stream.
        stream: u16,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A session ended from the other side or by silence; nothing more comes of it.
    Closed {
        /// Which one.
        session: u16,
        /// Why.
        reason: Reason,
    },
}

/// Why a message was not queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// There is no such session or stream, or it has ended.
    Closed,
    /// Enough is queued; here is the message back, to be sent when [`Link::ready`] says so.
    Full(Vec<u8>),
    /// The message is larger than its stream allows.
    TooLarge,
}

/// The link's state since the last reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A server that has seen no Reset.
    Down,
    /// An owner that waits for the answer to its Reset, to be repeated at this time.
    Resetting { again_at: u64 },
    /// Both sides agree.
    Up,
}

/// One end of the link.
#[derive(Debug)]
pub struct Link {
    side: Side,
    parameters: LinkParameters,
    state: State,
    nonce: u64,
    payload: usize,
    window: usize,
    heard_at: u64,
    gather: Gather,
    wire: Vec<u8>,
    wire_at: usize,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Frames of the link itself that are due: Reset's answer, or Lost.
    answer: Option<Kind>,
    byes: VecDeque<Item>,
    sessions: Vec<Session>,
    next_session: u16,
    turn: usize,
    event_turn: usize,
}

impl Link {
    /// The owner's end; `nonce` must differ from that of any owner before it.
    #[must_use]
    pub fn owner(parameters: LinkParameters, nonce: u64) -> Self {
        Self::new(
            Side::Owner,
            parameters,
            nonce,
            State::Resetting { again_at: 0 },
        )
    }

    /// The server's end.
    #[must_use]
    pub fn server(parameters: LinkParameters) -> Self {
        Self::new(Side::Server, parameters, 0, State::Down)
    }

    fn new(side: Side, parameters: LinkParameters, nonce: u64, state: State) -> Self {
        let patience = Patience {
            least_ms: parameters.resend_ms,
            most_ms: parameters.resend_limit_ms,
        };
        Self {
            side,
            parameters,
            state,
            nonce,
            payload: parameters.payload.min(MAX_PAYLOAD),
            window: parameters.window,
            heard_at: 0,
            gather: Gather::default(),
            wire: Vec::new(),
            wire_at: 0,
            outgoing: Outgoing::new(patience),
            incoming: Incoming::default(),
            answer: None,
            byes: VecDeque::new(),
            sessions: Vec::new(),
            next_session: 1,
            turn: 0,
            event_turn: 0,
        }
    }

    /// Whether both sides agree on the last reset.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether everything sent has arrived.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.wire_at >= self.wire.len()
            && self.outgoing.is_empty()
            && !self.sessions.iter().any(Session::has_unsent)
    }

    /// Opens a session; messages may be sent on it at once.
    pub fn open(&mut self, now: u64) -> Result<u16, SendError> {
        if self.side != Side::Owner || self.sessions.len() >= self.parameters.sessions {
            return Err(SendError::Closed);
        }
        let mut number = self.next_session.max(1);
        while self.sessions.iter().any(|session| session.number == number) {
            number = number.wrapping_add(1).max(1);
        }
        self.next_session = number.wrapping_add(1);
        let mut session = Session::new(number, now);
        session.open_due = true;
        self.sessions.push(session);
        Ok(number)
    }

    /// Ends a session once what is queued on it is sent. There is no event for it.
    pub fn close(&mut self, now: u64, session: u16, reason: Reason) {
        let deadline = now.saturating_add(session::CLOSE_MS);
        if let Some(session) = self.open_session(session) {
            session.closing = Some((reason, deadline));
            session.news = false;
        }
    }

    /// Whether a message may be queued.
    #[must_use]
    pub fn ready(&self, session: u16, stream: u16) -> bool {
        self.sessions
            .iter()
            .find(|candidate| candidate.number == session && candidate.is_open())
            .and_then(|session| session.streams.get(usize::from(stream)))
            .is_some_and(session::Stream::ready)
    }

    /// Queues a message.
    pub fn send(&mut self, session: u16, stream: u16, message: Vec<u8>) -> Result<(), SendError> {
        let limit = STREAM_LIMITS
            .get(usize::from(stream))
            .ok_or(SendError::Closed)?;
        if message.len() > limit.message {
            return Err(SendError::TooLarge);
        }
        let ready = self.ready(session, stream);
        let session = self.open_session(session).ok_or(SendError::Closed)?;
        if !ready {
            return Err(SendError::Full(message));
        }
        session.push(stream, message);
        Ok(())
    }

    /// The oldest message taken from this stream is dealt with: the peer may send more.
    pub fn consumed(&mut self, session: u16, stream: u16) {
        if let Some(session) = self.session(session) {
            session.consumed(stream);
        }
    }

    /// What happened next; sessions take turns.
    pub fn event(&mut self) -> Option<LinkEvent> {
        let count = self.sessions.len();
        for step in 0..count {
            let index = self.event_turn.wrapping_add(step).checked_rem(count)?;
            if let Some(event) = self.session_event(index) {
                self.event_turn = index.wrapping_add(1);
                return Some(event);
            }
        }
        None
    }

    fn session_event(&mut self, index: usize) -> Option<LinkEvent> {
        let gated = self.side == Side::Server;
        let session = self.sessions.get_mut(index)?;
        let number = session.number;
        if session.closing.is_some() {
            return None;
        }
        if core::mem::take(&mut session.news) {
            return Some(LinkEvent::Opened(number));
        }
        if let Some((stream, bytes)) = session.deliver(gated) {
            return Some(LinkEvent::Message {
                session: number,
                stream,
                bytes,
            });
        }
        let reason = session.ended?;
        self.sessions.remove(index);
        Some(LinkEvent::Closed {
            session: number,
            reason,
        })
    }

    fn session(&mut self, number: u16) -> Option<&mut Session> {
        self.sessions
            .iter_mut()
            .find(|session| session.number == number)
    }

    fn open_session(&mut self, number: u16) -> Option<&mut Session> {
        self.session(number).filter(|session| session.is_open())
    }

    /// The time at which [`Link::transmit`] has something to do even if nothing arrives; it may turn
    /// out to be nothing. While the pipe takes no bytes there is nothing to do at any time.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let link = match self.state {
            State::Resetting { again_at } => Some(again_at),
            State::Down => None,
            State::Up => self.outgoing.resend_at(),
        };
        let sessions = self.sessions.iter().flat_map(|session| {
            let silence = session
                .is_open()
                .then(|| session.heard_at.saturating_add(SILENCE_MS));
            let ping = (self.side == Side::Owner && session.is_open())
                .then(|| session.spoke_at.saturating_add(PING_MS));
            [silence, ping, session.close_at()]
        });
        sessions.chain([link]).flatten().min()
    }
}
