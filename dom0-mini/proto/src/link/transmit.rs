// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes out: whose turn it is, and what time brings.

use super::{
    Greeting, Head, Item, Kind, Link, PING_MS, Reason, SILENCE_MS, Side, State, VERSION, frame,
};
use alloc::vec::Vec;

/// How often Reset is repeated until it is answered.
const RESET_MS: u64 = 250;

impl Link {
    /// Fills `out` with bytes for the pipe; 0 when there is nothing to send now.
    pub fn transmit(&mut self, now: u64, out: &mut [u8]) -> usize {
        self.tick(now);
        let mut filled = 0;
        while let Some(room) = out.get_mut(filled..).filter(|room| !room.is_empty()) {
            if self.wire_at >= self.wire.len() && !self.next_frame(now) {
                break;
            }
            let waiting = self.wire.get(self.wire_at..).unwrap_or_default();
            let count = waiting.len().min(room.len());
            if let (Some(room), Some(waiting)) = (room.get_mut(..count), waiting.get(..count)) {
                room.copy_from_slice(waiting);
            }
            self.wire_at = self.wire_at.saturating_add(count);
            filled = filled.saturating_add(count);
        }
        filled
    }

    /// What time alone brings: silence, pings, resending.
    fn tick(&mut self, now: u64) {
        let silent_since = |at: u64| now.saturating_sub(at) >= SILENCE_MS;
        let quiet: Vec<u16> = self
            .sessions
            .iter()
            .filter(|session| session.is_open() && silent_since(session.heard_at))
            .map(|session| session.number)
            .collect();
        quiet
            .iter()
            .for_each(|number| self.expel(*number, Reason::SILENCE));
        self.sessions
            .iter_mut()
            .for_each(|session| session.tick(now));
        if !self.is_up() {
            // Nobody to say Bye to.
            self.byes.clear();
            self.sessions
                .retain(|session| session.closing.is_none_or(|(_, at)| at > 0));
            return;
        }
        if silent_since(self.heard_at) && !self.outgoing.is_empty() {
            self.abandon();
            return;
        }
        self.outgoing.tick(now);
        if self.side == Side::Owner {
            for session in self.sessions.iter_mut().filter(|session| session.is_open()) {
                if now.saturating_sub(session.spoke_at) >= PING_MS {
                    session.spoke_at = now;
                    session.sign_due = Some(Kind::PING);
                }
            }
        }
    }

    /// The other side has not taken anything for too long.
    fn abandon(&mut self) {
        match self.side {
            Side::Owner => self.start_anew(),
            Side::Server => {
                self.clear(Reason::SILENCE);
                self.state = State::Down;
            }
        }
    }

    /// Puts the next frame on the wire, if there is one.
    fn next_frame(&mut self, now: u64) -> bool {
        self.wire.clear();
        self.wire_at = 0;
        if let Some(kind) = self.answer.take() {
            return self.put(kind, &self.greeting(self.nonce).encode());
        }
        match self.state {
            State::Down => false,
            State::Resetting { again_at } if now < again_at => false,
            State::Resetting { .. } => {
                self.state = State::Resetting {
                    again_at: now.saturating_add(RESET_MS),
                };
                self.put(Kind::RESET, &self.greeting(self.nonce).encode())
            }
            State::Up => self.next_frame_while_up(now),
        }
    }

    fn next_frame_while_up(&mut self, now: u64) -> bool {
        if !self.incoming.is_gap_due() {
            if self.put_next(now) {
                return true;
            }
            // All that is under way is on the wire: something new, if the window has room.
            if self.outgoing.has_room(self.payload, self.window)
                && let Some(item) = self.choose(now)
            {
                self.outgoing.push(item);
                return self.put_next(now);
            }
        }
        self.incoming
            .answer()
            .is_some_and(|kind| self.put(kind, &[]))
    }

    /// What to send next: what keeps the link going first, then data, sessions taking turns.
    fn choose(&mut self, now: u64) -> Option<Item> {
        if let Some(item) = self.byes.pop_front() {
            return Some(item);
        }
        if let Some(item) = self
            .sessions
            .iter_mut()
            .find_map(|session| session.control())
        {
            self.sent_control(&item, now);
            return Some(item);
        }
        let count = self.sessions.len();
        for step in 0..count {
            let index = self.turn.wrapping_add(step).checked_rem(count)?;
            let session = self.sessions.get_mut(index)?;
            if let Some(item) = session.data(self.payload) {
                session.spoke_at = now;
                self.turn = index.wrapping_add(1);
                return Some(item);
            }
        }
        None
    }

    fn sent_control(&mut self, item: &Item, now: u64) {
        if item.kind == Kind::BYE {
            self.sessions
                .retain(|session| session.number != item.session);
        } else if let Some(session) = self.session(item.session) {
            session.spoke_at = now;
        }
    }

    fn put_next(&mut self, now: u64) -> bool {
        let ack = self.incoming.expected();
        let Some((sequence, item)) = self.outgoing.next(now) else {
            return false;
        };
        let head = Head {
            sequence,
            ack,
            session: item.session,
            stream: item.stream,
            kind: item.kind,
        };
        frame::encode(&head, &item.payload, &mut self.wire);
        self.incoming.told();
        true
    }

    fn put(&mut self, kind: Kind, payload: &[u8]) -> bool {
        let head = Head {
            sequence: 0,
            ack: self.incoming.expected(),
            session: 0,
            stream: 0,
            kind,
        };
        frame::encode(&head, payload, &mut self.wire);
        true
    }

    fn greeting(&self, nonce: u64) -> Greeting {
        Greeting {
            nonce,
            version: VERSION,
            payload: u16::try_from(self.parameters.payload).unwrap_or(u16::MAX),
            window: u32::try_from(self.parameters.window).unwrap_or(u32::MAX),
        }
    }
}
