//! Watches, and the messages waiting for a guest to read them.
//!
//! A guest that does not read costs a bounded amount: an event equal to one that still waits is not queued twice, and
//! when too much waits, an event is cut down to "something at or below the watched path changed", of which each watch
//! can have one. So nothing that a guest watches can change without it hearing of it in the end.

use super::path::{self, Resolved};
use super::wire::{Errno, Header, Kind, terminated};
use super::{Limits, transaction::Mutation};
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What a watch costs besides its strings.
const WATCH_OVERHEAD: usize = 64;

/// Events that may wait, before they are cut down.
const EVENTS_MAX: usize = 256;

/// Bytes of events that may wait, before they are cut down.
const EVENT_BYTES_MAX: usize = 32 * 1024;

/// One watch.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// The path as the guest said it.
    pub said: String,
    pub token: String,
    pub target: Resolved,
}

impl Watch {
    fn cost(&self) -> usize {
        let strings = self
            .said
            .len()
            .saturating_add(self.token.len())
            .saturating_add(self.target.path.len());
        strings.saturating_add(WATCH_OVERHEAD)
    }

    /// Whether this watch is about `mutation`.
    pub(super) fn concerns(&self, mutation: &Mutation) -> bool {
        if mutation.exact {
            self.target.path == mutation.path
        } else {
            path::within(&mutation.path, &self.target.path)
        }
    }

    /// The event with which this watch says `path`.
    pub(super) fn event(&self, path: &str) -> Vec<u8> {
        let header = Header {
            kind: Kind::WATCH_EVENT,
            request: 0,
            transaction: 0,
            length: 0,
        };
        header.message(&[terminated(path), terminated(&self.token)].concat())
    }
}

/// The watches of one guest.
#[derive(Default)]
pub(super) struct Watches {
    list: Vec<Watch>,
    bytes: usize,
}

impl Watches {
    pub(super) fn add(&mut self, watch: Watch, limits: &Limits) -> Result<(), Errno> {
        if self.find(&watch.target.path, &watch.token).is_some() {
            return Err(Errno::Exists);
        }
        let bytes = self.bytes.saturating_add(watch.cost());
        if self.list.len() >= limits.watches || bytes > limits.watch_bytes {
            return Err(Errno::TooBig);
        }
        self.bytes = bytes;
        self.list.push(watch);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str, token: &str) -> Result<(), Errno> {
        let place = self.find(path, token).ok_or(Errno::NoEntry)?;
        self.bytes = self.bytes.saturating_sub(self.list.remove(place).cost());
        Ok(())
    }

    /// In the order they were registered.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Watch> {
        self.list.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn find(&self, path: &str, token: &str) -> Option<usize> {
        self.list
            .iter()
            .position(|watch| watch.target.path == path && watch.token == token)
    }
}

/// What waits for room in the response ring: at most one reply, and events.
#[derive(Default)]
pub(super) struct Outgoing {
    queue: VecDeque<Message>,
    /// Bytes of the first message that are in the ring already.
    sent: usize,
    replies: usize,
    events: usize,
    event_bytes: usize,
}

struct Message {
    bytes: Vec<u8>,
    is_reply: bool,
}

impl Outgoing {
    /// Whether a reply waits: no further request is read until it is gone.
    pub(super) fn has_reply(&self) -> bool {
        self.replies > 0
    }

    pub(super) fn reply(&mut self, bytes: Vec<u8>) {
        self.replies = self.replies.saturating_add(1);
        self.queue.push_back(Message {
            bytes,
            is_reply: true,
        });
    }

    /// Queues an event of `watch`, which says `path`. Returns whether nothing was merged or cut down.
    pub(super) fn event(&mut self, watch: &Watch, path: &str) -> bool {
        let event = watch.event(path);
        if self.is_waiting(&event) {
            return false;
        }
        let bytes = self.event_bytes.saturating_add(event.len());
        if self.events < EVENTS_MAX && bytes <= EVENT_BYTES_MAX {
            self.push_event(event);
            return true;
        }
        let short = watch.event(&watch.said);
        if !self.is_waiting(&short) {
            self.push_event(short);
        }
        false
    }

    /// The bytes to put into the ring next.
    pub(super) fn next(&self) -> Option<&[u8]> {
        self.queue.front()?.bytes.get(self.sent..)
    }

    /// Notes that `count` of them are in the ring.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count);
        let done = self
            .queue
            .front()
            .is_some_and(|message| self.sent >= message.bytes.len());
        if done && let Some(message) = self.queue.pop_front() {
            self.sent = 0;
            self.forget(&message);
        }
    }

    /// Everything that waits, message by message; of the first only what is not in the ring yet.
    pub(super) fn messages(&self) -> impl Iterator<Item = Vec<u8>> {
        let whole = self
            .queue
            .iter()
            .skip(1)
            .map(|message| message.bytes.clone());
        self.next().map(<[u8]>::to_vec).into_iter().chain(whole)
    }

    /// Continues with what waited when the domain was saved. What is not a whole event counts as a reply: no request is
    /// read before it is gone.
    pub(super) fn restore(&mut self, messages: impl Iterator<Item = Vec<u8>>) {
        *self = Self::default();
        for message in messages {
            let header =
                Header::parse(&message).filter(|header| header.message_bytes() == message.len());
            match header.map(|header| header.kind) {
                Some(Kind::WATCH_EVENT) => self.push_event(message),
                _ => self.reply(message),
            }
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.queue.iter().map(|message| message.bytes.len()).sum()
    }

    fn is_waiting(&self, event: &[u8]) -> bool {
        let begun = usize::from(self.sent > 0);
        self.queue
            .iter()
            .skip(begun)
            .any(|message| message.bytes == event)
    }

    fn push_event(&mut self, bytes: Vec<u8>) {
        self.events = self.events.saturating_add(1);
        self.event_bytes = self.event_bytes.saturating_add(bytes.len());
        self.queue.push_back(Message {
            bytes,
            is_reply: false,
        });
    }

    fn forget(&mut self, message: &Message) {
        if message.is_reply {
            self.replies = self.replies.saturating_sub(1);
        } else {
            self.events = self.events.saturating_sub(1);
            self.event_bytes = self.event_bytes.saturating_sub(message.bytes.len());
        }
    }
}

/// A watch of Domain-0's own, made by the rest of xend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub(super) u32);

/// A guest changed something that xend watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The watch that noticed.
    pub watch: WatchId,
    /// The path, by host domid.
    pub path: String,
}

/// xend's own watches, and what they noticed.
#[derive(Default)]
pub(super) struct InnerWatches {
    list: Vec<(WatchId, String)>,
    next: u32,
    changes: VecDeque<Change>,
}

/// Changes that may wait for xend, before they are cut down to the watched path.
const CHANGES_MAX: usize = 1024;

impl InnerWatches {
    pub(super) fn add(&mut self, path: &str) -> WatchId {
        let id = WatchId(self.next);
        self.next = self.next.wrapping_add(1);
        self.list.push((id, path.to_string()));
        id
    }

    pub(super) fn remove(&mut self, id: WatchId) {
        self.list.retain(|(other, _)| *other != id);
        self.changes.retain(|change| change.watch != id);
    }

    pub(super) fn notice(&mut self, mutation: &Mutation) {
        for (watch, watched) in &self.list {
            let concerned = if mutation.exact {
                mutation.path == *watched
            } else {
                path::within(&mutation.path, watched)
            };
            if !concerned {
                continue;
            }
            let path = if self.changes.len() < CHANGES_MAX {
                &mutation.path
            } else {
                watched
            };
            let change = Change {
                watch: *watch,
                path: path.clone(),
            };
            if !self.changes.contains(&change) {
                self.changes.push_back(change);
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Change> {
        core::mem::take(&mut self.changes).into()
    }
}
