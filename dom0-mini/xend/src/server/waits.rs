//! Requests that wait for something new: logs, events, consoles.

use super::Xend;
use crate::domain::Key;
use crate::hypervisor::Hypervisor;
use crate::lifecycle::State;
use crate::scrollback::Excerpt;
use crate::session::Ticket;
use alloc::vec;
use alloc::vec::Vec;
use mgmt_proto::messages::{
    ConsoleChunk, ErrorCode, Failure, Follow, MAX_WAIT_MS, Reply, TextChunk,
};

/// Bytes of text in one answer.
const TEXT: usize = 16 * 1024;

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) ticket: Ticket,
    deadline_ns: u64,
    what: What,
}

/// For what.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// xend's log, from a cursor on.
    Log(u64),
    /// The hypervisor's log.
    Dmesg(u64),
    /// Events.
    Events(u64),
    /// A console.
    Console { key: Key, cursor: u64, max: usize },
}

impl<H: Hypervisor> Xend<H> {
    /// Answers at once if there is something, or waits for it.
    pub(super) fn follow(
        &mut self,
        ticket: Ticket,
        what: What,
        wait_ms: u32,
    ) -> Option<Result<Reply, Failure>> {
        let wait_ns = u64::from(wait_ms.min(MAX_WAIT_MS)).saturating_mul(1_000_000);
        let wait = Wait {
            ticket,
            deadline_ns: self.now.mono_ns.saturating_add(wait_ns),
            what,
        };
        if let Some(result) = self.look(what, wait_ms == 0) {
            return Some(result);
        }
        self.waits.push(wait);
        None
    }

    pub(super) fn follow_log(
        &mut self,
        ticket: Ticket,
        follow: Follow,
    ) -> Option<Result<Reply, Failure>> {
        let what = What::Log(follow.cursor.unwrap_or(0));
        self.follow(ticket, what, follow.wait_ms)
    }

    /// Answers the waits that something came for, or whose time is over.
    pub(super) fn serve_waits(&mut self) {
        let mut index = 0;
        while let Some(wait) = self.waits.get(index).copied() {
            let over = wait.deadline_ns <= self.now.mono_ns;
            // Looking at the hypervisor's log is a call: only when there may be something.
            let idle = matches!(wait.what, What::Dmesg(_)) && !self.dmesg_grew && !over;
            let found = if idle {
                None
            } else {
                self.look(wait.what, over)
            };
            match found {
                Some(result) => {
                    self.waits.swap_remove(index);
                    self.sessions.answer(wait.ticket, result);
                }
                None => index = index.saturating_add(1),
            }
        }
        self.dmesg_grew = false;
    }

    /// The next time a wait is over.
    pub(super) fn waits_deadline(&self) -> Option<u64> {
        self.waits.iter().map(|wait| wait.deadline_ns).min()
    }

    /// An answer, if there is something new or it is `over`.
    fn look(&mut self, what: What, over: bool) -> Option<Result<Reply, Failure>> {
        match what {
            What::Log(cursor) => {
                let news = cursor < self.log.book.end() || over;
                news.then(|| Ok(Reply::Text(text(self.log.book.read(cursor, TEXT)))))
            }
            What::Events(cursor) => {
                let news = cursor < self.events.end() || over;
                news.then(|| Ok(Reply::Events(self.events.read(cursor))))
            }
            What::Dmesg(cursor) => self.look_at_dmesg(cursor, over),
            What::Console { key, cursor, max } => self.look_at_console(key, cursor, max, over),
        }
    }

    fn look_at_dmesg(&mut self, cursor: u64, over: bool) -> Option<Result<Reply, Failure>> {
        let mut buffer = vec![0; TEXT];
        match self.hypervisor.log_read(cursor, &mut buffer) {
            Ok(piece) if piece.length > 0 || over => {
                buffer.truncate(piece.length);
                Some(Ok(Reply::Text(TextChunk {
                    next: piece.next,
                    lost: piece.lost,
                    text: buffer,
                })))
            }
            Ok(_) => None,
            Err(errno) => Some(Err(crate::refusal::refused("read its log", errno))),
        }
    }

    fn look_at_console(
        &self,
        key: Key,
        cursor: u64,
        max: usize,
        over: bool,
    ) -> Option<Result<Reply, Failure>> {
        let Some((scrollback, ended)) = self.table.scrollback(key) else {
            return Some(Ok(Reply::Console(ConsoleChunk {
                next: cursor,
                lost: 0,
                ended: true,
                bytes: Vec::new(),
            })));
        };
        let news = cursor < scrollback.end() || ended || over;
        news.then(|| {
            let excerpt = scrollback.read(cursor, max);
            Ok(Reply::Console(ConsoleChunk {
                ended: ended && excerpt.next == scrollback.end(),
                next: excerpt.next,
                lost: excerpt.lost,
                bytes: excerpt.bytes,
            }))
        })
    }

    /// Answers the clients that waited too long for a domain. What nobody waits for any more does not hold a domain up:
    /// it counts as running again, whatever the guest was asked.
    pub(super) fn expire_waiters(&mut self) {
        let now = self.now.mono_ns;
        for (_, domain) in self.table.iter_mut() {
            let before = domain.waiters.len();
            domain.waiters.retain(|waiter| {
                let over = waiter.deadline_ns.is_some_and(|deadline| deadline <= now);
                if over {
                    let sentence =
                        alloc::format!("domain '{}' has not stopped in time", domain.name);
                    let failure = Failure::new(ErrorCode::TIMED_OUT, sentence)
                        .with_remedy("the request stands; wait longer, or destroy it");
                    self.sessions.answer(waiter.ticket, Err(failure));
                }
                !over
            });
            let expired = domain.waiters.len() < before;
            if expired && domain.waiters.is_empty() && domain.state == State::ShuttingDown {
                domain.state = State::Running;
            }
        }
    }

    /// The next time a client has waited too long for a domain.
    pub(super) fn waiters_deadline(&self) -> Option<u64> {
        let waiters = self.table.iter().flat_map(|(_, domain)| &domain.waiters);
        waiters.filter_map(|waiter| waiter.deadline_ns).min()
    }
}

fn text(excerpt: Excerpt) -> TextChunk {
    TextChunk {
        next: excerpt.next,
        lost: excerpt.lost,
        text: excerpt.bytes,
    }
}
