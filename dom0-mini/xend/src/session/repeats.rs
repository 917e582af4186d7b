//! Requests that a client may repeat, in another session if its own broke: they carry a token.
//!
//! What is true here: of the requests with one token one is carried out; those that come while it is under way wait for
//! the same answer. What was done is remembered for the last [`KEPT`] tokens; what failed is not, for nothing remains of
//! it and a repeat tries anew.

use super::Ticket;
use crate::event::SessionId;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use mgmt_proto::messages::{Failure, Reply, Token};

/// Tokens remembered.
pub(crate) const KEPT: usize = 64;

/// The number of a request that carries a token.
pub(crate) type Number = u32;

/// What becomes of a request with a token.
pub(super) enum Turn {
    /// It is carried out, under this number.
    First(Number),
    /// It is under way already, and answered with it.
    Joined,
    /// It was done.
    Done(Box<Reply>),
}

#[derive(Debug)]
struct Known {
    token: Token,
    number: Number,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    /// These wait for its answer.
    UnderWay(Vec<Ticket>),
    Done(Box<Reply>),
}

/// The last requests with tokens.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: VecDeque<Known>,
    next: Number,
}

impl Repeats {
    /// A request with a token has come.
    pub(super) fn begin(&mut self, token: Token, ticket: Ticket) -> Turn {
        if let Some(known) = self.known.iter_mut().find(|known| known.token == token) {
            return match &mut known.fate {
                Fate::Done(reply) => Turn::Done(reply.clone()),
                Fate::UnderWay(tickets) => {
                    tickets.push(ticket);
                    Turn::Joined
                }
            };
        }
        if self.known.len() >= KEPT {
            self.forget_one();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.known.push_back(Known {
            token,
            number,
            fate: Fate::UnderWay(vec![ticket]),
        });
        Turn::First(number)
    }

    /// The oldest one that is done goes. Those under way are bounded by the requests that sessions may have.
    fn forget_one(&mut self) {
        let is_done = |known: &Known| matches!(known.fate, Fate::Done(_));
        if let Some(place) = self.known.iter().position(is_done) {
            self.known.remove(place);
        }
    }

    /// The answer is there: who waits for it.
    pub(super) fn end(&mut self, number: Number, result: &Result<Reply, Failure>) -> Vec<Ticket> {
        let place = self.known.iter().position(|known| known.number == number);
        let Some(known) = place.and_then(|place| self.known.get_mut(place)) else {
            return Vec::new();
        };
        let Fate::UnderWay(tickets) = &mut known.fate else {
            return Vec::new();
        };
        let tickets = core::mem::take(tickets);
        match (result, place) {
            (Ok(reply), _) => known.fate = Fate::Done(Box::new(reply.clone())),
            (Err(_), Some(place)) => drop(self.known.remove(place)),
            (Err(_), None) => {}
        }
        tickets
    }

    /// Who waits for the answer.
    pub(super) fn waiting(&self, number: Number) -> &[Ticket] {
        let known = self.known.iter().find(|known| known.number == number);
        match known.map(|known| &known.fate) {
            Some(Fate::UnderWay(tickets)) => tickets,
            Some(Fate::Done(_)) | None => &[],
        }
    }

    /// A session is over: nobody waits there any more.
    pub(super) fn leave(&mut self, session: SessionId) {
        for known in &mut self.known {
            if let Fate::UnderWay(tickets) = &mut known.fate {
                tickets.retain(|ticket| ticket.session != session);
            }
        }
    }
}
