// SPDX-License-Identifier: MIT OR Apache-2.0
//! What arrives: bytes to frames, frames to sessions.

use super::{
    Arrival, Greeting, Head, Incoming, Item, Kind, Link, LinkParameters, MAX_BYES, Outgoing,
    Patience, Reason, Session, Side, State, VERSION, frame,
};
use alloc::vec::Vec;

impl Link {
    /// Takes bytes from the pipe.
    pub fn receive(&mut self, now: u64, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (left, complete) = self.gather.take(rest);
            rest = left;
            if complete {
                let mut encoded = self.gather.frame();
                if let Some((head, payload)) = frame::decode(&mut encoded) {
                    self.frame(now, head, payload);
                }
            }
        }
    }

    fn frame(&mut self, now: u64, head: Head, payload: &[u8]) {
        match (self.side, head.kind) {
            (Side::Server, Kind::RESET) => self.reset_by_owner(now, payload),
            (Side::Owner, Kind::RESET_ACK) => self.reset_answered(now, payload),
            (Side::Owner, Kind::LOST) if self.is_up() => self.start_anew(),
            (Side::Server, _) if !self.is_up() => self.answer = Some(Kind::LOST),
            _ if !self.is_up() => {}
            _ => self.frame_while_up(now, head, payload),
        }
    }

    fn frame_while_up(&mut self, now: u64, head: Head, payload: &[u8]) {
        self.heard_at = now;
        self.outgoing.acknowledge(head.ack, now);
        if head.kind == Kind::NACK {
            self.outgoing.go_back();
        }
        if !head.kind.is_sequenced() {
            return;
        }
        if self.incoming.arrival(head.sequence) == Arrival::New && self.accept(now, head, payload) {
            self.incoming.advance();
        }
    }

    /// Takes a sequenced frame; false: not now, the peer will send it again.
    fn accept(&mut self, now: u64, head: Head, payload: &[u8]) -> bool {
        if head.kind == Kind::OPEN {
            return self.opened_by_owner(now, head.session);
        }
        let Some(session) = self.session(head.session) else {
            return true; // It ended here first; Bye is on its way.
        };
        session.heard_at = now;
        match head.kind {
            Kind::DATA | Kind::DATA_END => {
                if let Err(reason) = session.receive(head.stream, head.kind, payload) {
                    self.expel(head.session, reason);
                }
            }
            Kind::CREDIT => {
                if let Some(amount) = payload.first_chunk::<4>() {
                    session.credit(head.stream, u32::from_le_bytes(*amount));
                }
            }
            Kind::BYE => self.left(head.session, Reason(payload.first().copied().unwrap_or(0))),
            Kind::PING => session.sign_due = Some(Kind::PONG),
            _ => {}
        }
        true
    }

    fn opened_by_owner(&mut self, now: u64, number: u16) -> bool {
        if self.side != Side::Server || number == 0 || self.session(number).is_some() {
            return true;
        }
        if self.sessions.len() >= self.parameters.sessions {
            // A session the user has not yet seen end will make room in a moment.
            if self.sessions.iter().any(|session| session.ended.is_some()) {
                return false;
            }
            self.bye(number, Reason::FULL);
            return true;
        }
        let mut session = Session::new(number, now);
        session.news = true;
        self.sessions.push(session);
        true
    }

    /// The peer ended a session.
    fn left(&mut self, number: u16, reason: Reason) {
        let Some(session) = self.session(number) else {
            return;
        };
        if session.closing.is_some() {
            self.sessions.retain(|session| session.number != number);
        } else if session.ended.is_none() {
            session.ended = Some(reason);
        }
    }

    /// Ends a session from this side, for the user as for the peer.
    pub(super) fn expel(&mut self, number: u16, reason: Reason) {
        self.bye(number, reason);
        self.left(number, reason);
    }

    fn bye(&mut self, session: u16, reason: Reason) {
        if self.byes.len() < MAX_BYES {
            let payload = [reason.0].to_vec();
            self.byes.push_back(Item {
                session,
                stream: 0,
                kind: Kind::BYE,
                payload,
            });
        }
    }

    fn reset_by_owner(&mut self, now: u64, payload: &[u8]) {
        let Some(greeting) = Greeting::decode(payload) else {
            return;
        };
        self.answer = Some(Kind::RESET_ACK);
        if self.is_up() && self.nonce == greeting.nonce {
            return; // A repeat.
        }
        self.clear(Reason::LOST);
        self.nonce = greeting.nonce;
        self.heard_at = now;
        self.agree(greeting);
        self.state = if greeting.version == VERSION {
            State::Up
        } else {
            State::Down
        };
    }

    fn reset_answered(&mut self, now: u64, payload: &[u8]) {
        let Some(greeting) = Greeting::decode(payload) else {
            return;
        };
        if self.is_up() || greeting.nonce != self.nonce {
            return;
        }
        if greeting.version != VERSION {
            self.end_all(Reason::VERSION);
            return;
        }
        self.heard_at = now;
        self.agree(greeting);
        self.state = State::Up;
    }

    /// Both sides send within what both can take.
    fn agree(&mut self, greeting: Greeting) {
        let window = usize::try_from(greeting.window).unwrap_or(usize::MAX);
        self.payload = self
            .parameters
            .payload
            .min(usize::from(greeting.payload))
            .max(16);
        self.window = self.parameters.window.min(window);
    }

    /// The owner's new beginning: the server has lost the link, or has been silent.
    pub(super) fn start_anew(&mut self) {
        self.clear(Reason::LOST);
        self.nonce = self.nonce.wrapping_add(1);
        self.state = State::Resetting { again_at: 0 };
    }

    /// Forgets all that was under way and ends all sessions.
    pub(super) fn clear(&mut self, reason: Reason) {
        let LinkParameters {
            resend_ms,
            resend_limit_ms,
            ..
        } = self.parameters;
        self.outgoing = Outgoing::new(Patience {
            least_ms: resend_ms,
            most_ms: resend_limit_ms,
        });
        self.incoming = Incoming::default();
        self.byes.clear();
        self.end_all(reason);
    }

    fn end_all(&mut self, reason: Reason) {
        self.sessions.retain(|session| session.closing.is_none());
        for session in &mut self.sessions {
            session.ended.get_or_insert(reason);
            session.open_due = false;
        }
    }
}

/// A fuzz body: any bytes at all into both ends of a link, which must neither panic nor hold more than
/// their bound. The first byte of the input picks the side and whether the link is up before.
pub fn fuzz_link_bytes(bytes: &[u8]) {
    let Some((pick, bytes)) = bytes.split_first() else {
        return;
    };
    let mut link = if pick & 1 == 0 {
        Link::server(LinkParameters::FAST)
    } else {
        Link::owner(LinkParameters::FAST, 1)
    };
    if pick & 2 != 0 {
        let greeting = Greeting {
            nonce: 1,
            version: VERSION,
            payload: 512,
            window: 4096,
        };
        let kind = if pick & 1 == 0 {
            Kind::RESET
        } else {
            Kind::RESET_ACK
        };
        let head = Head {
            sequence: 0,
            ack: 0,
            session: 0,
            stream: 0,
            kind,
        };
        link.frame(0, head, &greeting.encode());
    }
    // Frames made of the input, and the input itself as it is.
    let mut out = [0; 700];
    for (piece, now) in bytes.chunks(24).zip((0u64..).step_by(3000)) {
        let mut wire = Vec::new();
        if let Some((fields, payload)) = piece.split_first_chunk::<4>() {
            let [sequence, session, stream, kind] = *fields;
            let head = Head {
                sequence: u16::from(sequence),
                ack: u16::from(stream >> 4),
                session: u16::from(session & 7),
                stream: u16::from(stream & 3),
                kind: Kind(kind),
            };
            frame::encode(&head, payload, &mut wire);
        }
        link.receive(now, &wire);
        link.receive(now, piece);
        while let Some(event) = link.event() {
            if let super::LinkEvent::Message {
                session,
                stream,
                bytes,
            } = event
            {
                link.consumed(session, stream);
                let _ = link.send(session, stream, bytes);
            }
        }
        while link.transmit(now, &mut out) > 0 {}
        assert!(link.sessions.len() <= LinkParameters::FAST.sessions);
    }
}
