// SPDX-License-Identifier: MIT OR Apache-2.0
//! One session: its streams' queues and credit, and what it owes the peer.
//!
//! A stream's sender may have at most the stream's window ([`Stream::window`]) on the way or unread at
//! the receiver; the receiver gives credit back as its user consumes messages. Every frame costs its
//! payload and [`FRAME_COST`], so that empty messages are not free. On stream 0 one frame is allowed
//! beyond the credit.

use super::{Reason, STREAM_LIMITS, STREAMS, frame::Kind, order::Item};
use alloc::{collections::VecDeque, vec::Vec};

/// What a frame costs beside its payload.
const FRAME_COST: usize = 32;

/// A message may be queued while no more than this is queued before it.
const QUEUE_READY: usize = 16 * 1024;

/// How long a session that is being closed may take to send its last messages.
pub(super) const CLOSE_MS: u64 = 10_000;

#[derive(Debug, Default)]
pub(super) struct Stream {
    window: usize,
    // To the peer.
    queue: VecDeque<Vec<u8>>,
    offset: usize,
    queued: usize,
    sent: usize,
    // From the peer.
    partial: Vec<u8>,
    partial_cost: usize,
    complete: VecDeque<(Vec<u8>, usize)>,
    delivered: VecDeque<usize>,
    held: usize,
    to_return: usize,
}

impl Stream {
    /// Whether a message may be queued.
    pub(super) fn ready(&self) -> bool {
        self.queued <= QUEUE_READY
    }

    fn push(&mut self, message: Vec<u8>) {
        self.queued = self
            .queued
            .saturating_add(message.len().saturating_add(FRAME_COST));
        self.queue.push_back(message);
    }

    /// The next piece to send, if credit allows it.
    fn piece(&mut self, payload: usize, beyond: bool) -> Option<(Kind, Vec<u8>)> {
        let message = self.queue.front()?;
        let rest = message.get(self.offset..).unwrap_or_default();
        let (piece, more) = rest.split_at_checked(payload).unwrap_or((rest, &[]));
        let cost = piece.len().saturating_add(FRAME_COST);
        let allowed =
            self.sent.saturating_add(cost) <= self.window || (beyond && self.sent <= self.window);
        if !allowed {
            return None;
        }
        let kind = if more.is_empty() {
            Kind::DATA_END
        } else {
            Kind::DATA
        };
        let piece = piece.to_vec();
        self.sent = self.sent.saturating_add(cost);
        self.offset = self.offset.saturating_add(piece.len());
        if kind == Kind::DATA_END {
            let length = message.len().saturating_add(FRAME_COST);
            self.queued = self.queued.saturating_sub(length);
            self.offset = 0;
            self.queue.pop_front();
        }
        Some((kind, piece))
    }

    /// Takes a piece from the peer.
    fn receive(
        &mut self,
        kind: Kind,
        piece: &[u8],
        limit: usize,
        beyond: usize,
    ) -> Result<(), Reason> {
        let cost = piece.len().saturating_add(FRAME_COST);
        let held = self.held.saturating_add(cost);
        if held > self.window.saturating_add(beyond) {
            return Err(Reason::PROTOCOL);
        }
        if self.partial.len().saturating_add(piece.len()) > limit {
            return Err(Reason::TOO_LARGE);
        }
        self.held = held;
        self.partial.extend_from_slice(piece);
        self.partial_cost = self.partial_cost.saturating_add(cost);
        if kind == Kind::DATA_END {
            let message = core::mem::take(&mut self.partial);
            self.complete
                .push_back((message, core::mem::take(&mut self.partial_cost)));
        }
        Ok(())
    }

    fn deliver(&mut self) -> Option<Vec<u8>> {
        let (message, cost) = self.complete.pop_front()?;
        self.delivered.push_back(cost);
        Some(message)
    }

    fn consumed(&mut self) {
        let cost = self.delivered.pop_front().unwrap_or(0);
        self.held = self.held.saturating_sub(cost);
        self.to_return = self.to_return.saturating_add(cost);
    }

    /// Credit worth a frame: a quarter of the window, or anything when the peer may be stuck in the
    /// middle of a message.
    fn credit_due(&mut self) -> Option<u32> {
        let idle = self.complete.is_empty() && self.delivered.is_empty();
        let stuck = idle && !self.partial.is_empty() && self.to_return > 0;
        if !stuck && self.to_return < self.window / 4 {
            return None;
        }
        u32::try_from(core::mem::take(&mut self.to_return)).ok()
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u16,
    /// The user is to be told that it is open.
    pub(super) news: bool,
    /// The peer ended it, or silence did; the user is to be told after the last message.
    pub(super) ended: Option<Reason>,
    /// The user ended it; Bye goes out after the last message, or at this time.
    pub(super) closing: Option<(Reason, u64)>,
    pub(super) heard_at: u64,
    pub(super) spoke_at: u64,
    pub(super) open_due: bool,
    pub(super) sign_due: Option<Kind>,
    pub(super) streams: [Stream; STREAMS],
    next_stream: usize,
}

impl Session {
    pub(super) fn new(number: u16, now: u64) -> Self {
        Self {
            number,
            news: false,
            ended: None,
            closing: None,
            heard_at: now,
            spoke_at: now,
            open_due: false,
            sign_due: None,
            streams: STREAM_LIMITS.map(|limit| Stream {
                window: limit.window,
                ..Stream::default()
            }),
            next_stream: 0,
        }
    }

    /// Whether the user may still send on it.
    pub(super) fn is_open(&self) -> bool {
        self.ended.is_none() && self.closing.is_none()
    }

    pub(super) fn push(&mut self, stream: u16, message: Vec<u8>) {
        if let Some(stream) = self.streams.get_mut(usize::from(stream)) {
            stream.push(message);
        }
    }

    fn item(&self, stream: u16, kind: Kind, payload: Vec<u8>) -> Item {
        Item {
            session: self.number,
            stream,
            kind,
            payload,
        }
    }

    /// The next frame that is not data: open, credit, a sign of life, and Bye when all is sent.
    pub(super) fn control(&mut self) -> Option<Item> {
        if self.ended.is_some() {
            return None;
        }
        if core::mem::take(&mut self.open_due) {
            return Some(self.item(0, Kind::OPEN, Vec::new()));
        }
        for (stream, number) in self.streams.iter_mut().zip(0..) {
            if let Some(credit) = stream.credit_due() {
                return Some(self.item(number, Kind::CREDIT, credit.to_le_bytes().to_vec()));
            }
        }
        if let Some(kind) = self.sign_due.take() {
            return Some(self.item(0, kind, Vec::new()));
        }
        let (reason, deadline) = self.closing?;
        let all_sent = self.streams.iter().all(|stream| stream.queue.is_empty());
        if !all_sent && deadline > 0 {
            return None;
        }
        Some(self.item(0, Kind::BYE, [reason.0].to_vec()))
    }

    /// The next piece of data, its streams taking turns.
    pub(super) fn data(&mut self, payload: usize) -> Option<Item> {
        if self.ended.is_some() {
            return None;
        }
        for turn in 0..STREAMS {
            let index = self.next_stream.wrapping_add(turn) % STREAMS;
            let stream = self.streams.get_mut(index)?;
            if let Some((kind, piece)) = stream.piece(payload, index == 0) {
                self.next_stream = index.wrapping_add(1) % STREAMS;
                return Some(self.item(u16::try_from(index).ok()?, kind, piece));
            }
        }
        None
    }

    /// Takes a piece of data from the peer.
    pub(super) fn receive(&mut self, stream: u16, kind: Kind, piece: &[u8]) -> Result<(), Reason> {
        if !self.is_open() {
            return Ok(()); // Nobody will read it.
        }
        let index = usize::from(stream);
        let limit = STREAM_LIMITS.get(index).ok_or(Reason::PROTOCOL)?;
        let beyond = if index == 0 {
            super::MAX_PAYLOAD.saturating_add(FRAME_COST)
        } else {
            0
        };
        let stream = self.streams.get_mut(index).ok_or(Reason::PROTOCOL)?;
        stream.receive(kind, piece, limit.message, beyond)
    }

    /// The peer has room again.
    pub(super) fn credit(&mut self, stream: u16, amount: u32) {
        if let Some(stream) = self.streams.get_mut(usize::from(stream)) {
            let amount = usize::try_from(amount).unwrap_or(usize::MAX);
            stream.sent = stream.sent.saturating_sub(amount);
        }
    }

    /// A received message, its streams in order; `gated` ones wait until an answer could be queued.
    pub(super) fn deliver(&mut self, gated: bool) -> Option<(u16, Vec<u8>)> {
        let gated = gated && self.ended.is_none();
        self.streams
            .iter_mut()
            .zip(0..)
            .find_map(|(stream, number)| {
                if gated && !stream.ready() {
                    return None;
                }
                Some((number, stream.deliver()?))
            })
    }

    pub(super) fn consumed(&mut self, stream: u16) {
        if let Some(stream) = self.streams.get_mut(usize::from(stream)) {
            stream.consumed();
        }
    }

    /// When Bye goes out at the latest; nothing once that time is over.
    pub(super) fn close_at(&self) -> Option<u64> {
        self.closing
            .map(|(_, deadline)| deadline)
            .filter(|deadline| *deadline > 0)
    }

    /// Notes that it is time for Bye, whatever is still queued.
    pub(super) fn tick(&mut self, now: u64) {
        if let Some((_, deadline)) = &mut self.closing
            && *deadline <= now
        {
            *deadline = 0;
        }
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.open_due
            || self.closing.is_some()
            || self.streams.iter().any(|stream| !stream.queue.is_empty())
    }
}

#[cfg(test)]
impl Session {
    /// Bytes it holds.
    pub(super) fn memory(&self) -> usize {
        let stream = |stream: &Stream| stream.queued.saturating_add(stream.held);
        self.streams.iter().map(stream).sum()
    }
}

#[cfg(test)]
impl Stream {
    /// Makes the sender break the rules.
    pub(super) fn forget_limits(&mut self) {
        self.window = usize::MAX;
    }
}
