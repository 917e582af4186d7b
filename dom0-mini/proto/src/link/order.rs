// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every sequenced frame exactly once and in order, over a pipe that may lose some: go-back-N.

use super::frame::Kind;
use alloc::{collections::VecDeque, vec::Vec};

/// A sequenced frame, kept until the peer has it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) session: u16,
    pub(super) stream: u16,
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

impl Item {
    /// What it takes of the window.
    fn cost(&self) -> usize {
        self.payload.len().saturating_add(32)
    }
}

/// The sending half: what is under way, and where sending stands.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The first frame's number.
    base: u16,
    under_way: VecDeque<Item>,
    cost: usize,
    /// The next frame to put on the wire, counted from the first.
    next: usize,
    /// Went back since the last progress.
    went_back: bool,
    resend_at: Option<u64>,
    patience_ms: u64,
    limits: Patience,
}

/// How long to wait for an acknowledgement before going back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) least_ms: u64,
    pub(super) most_ms: u64,
}

impl Outgoing {
    pub(super) fn new(limits: Patience) -> Self {
        Self {
            base: 0,
            under_way: VecDeque::new(),
            cost: 0,
            next: 0,
            went_back: false,
            resend_at: None,
            patience_ms: limits.least_ms,
            limits,
        }
    }

    /// Whether another frame of `payload` bytes fits the window; one always does.
    pub(super) fn has_room(&self, payload: usize, window: usize) -> bool {
        self.under_way.is_empty() || self.cost.saturating_add(payload).saturating_add(32) <= window
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// When to go back, once everything is on the wire.
    pub(super) fn resend_at(&self) -> Option<u64> {
        self.resend_at.filter(|_| self.next >= self.under_way.len())
    }

    /// Takes a new frame; it is the last to go out.
    pub(super) fn push(&mut self, item: Item) {
        self.cost = self.cost.saturating_add(item.cost());
        self.under_way.push_back(item);
    }

    /// The next frame to put on the wire and its number.
    pub(super) fn next(&mut self, now: u64) -> Option<(u16, &Item)> {
        let item = self.under_way.get(self.next)?;
        // The window is far below 2^15 frames, so the offset fits.
        let sequence = self.base.wrapping_add(u16::try_from(self.next).ok()?);
        self.next = self.next.saturating_add(1);
        self.resend_at = Some(now.saturating_add(self.patience_ms));
        Some((sequence, item))
    }

    /// The peer has everything before `ack`.
    pub(super) fn acknowledge(&mut self, ack: u16, now: u64) {
        let count = usize::from(ack.wrapping_sub(self.base));
        if count == 0 || count > self.under_way.len() {
            return;
        }
        let done: usize = self.under_way.drain(..count).map(|item| item.cost()).sum();
        self.cost = self.cost.saturating_sub(done);
        self.base = ack;
        self.next = self.next.saturating_sub(count);
        self.went_back = false;
        self.patience_ms = (self.patience_ms / 2).max(self.limits.least_ms);
        self.resend_at = (!self.is_empty()).then(|| now.saturating_add(self.patience_ms));
    }

    /// The peer misses the first frame: goes back, once until there is progress.
    pub(super) fn go_back(&mut self) {
        if !self.went_back {
            self.went_back = true;
            self.next = 0;
        }
    }

    /// Goes back when the peer has been silent for too long after everything was on the wire.
    pub(super) fn tick(&mut self, now: u64) {
        let due = self.resend_at.is_some_and(|at| at <= now);
        if !due || self.is_empty() || self.next < self.under_way.len() {
            return;
        }
        self.next = 0;
        self.went_back = true;
        self.patience_ms = self.patience_ms.saturating_mul(2).min(self.limits.most_ms);
        self.resend_at = Some(now.saturating_add(self.patience_ms));
    }
}

/// What a received number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The frame expected.
    New,
    /// One that was here before.
    Old,
    /// One after the one expected, which is missing.
    Gap,
}

/// The receiving half.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    expected: u16,
    gap_told: bool,
    answer: Option<Kind>,
}

impl Incoming {
    /// The number of the next frame expected, as every frame of ours tells the peer.
    pub(super) fn expected(&self) -> u16 {
        self.expected
    }

    /// Judges a frame's number, and remembers to answer.
    pub(super) fn arrival(&mut self, sequence: u16) -> Arrival {
        match sequence.wrapping_sub(self.expected) {
            0 => Arrival::New,
            1..0x8000 => {
                if !self.gap_told {
                    self.gap_told = true;
                    self.answer = Some(Kind::NACK);
                }
                Arrival::Gap
            }
            _ => {
                self.answer.get_or_insert(Kind::ACK);
                Arrival::Old
            }
        }
    }

    /// The frame expected was taken.
    pub(super) fn advance(&mut self) {
        self.expected = self.expected.wrapping_add(1);
        self.gap_told = false;
        self.answer = Some(Kind::ACK);
    }

    /// The answer that is due; a frame that carries the number stands in for a plain one.
    pub(super) fn answer(&mut self) -> Option<Kind> {
        self.answer.take()
    }

    /// Whether the answer due must go out as its own frame, ahead of others.
    pub(super) fn is_gap_due(&self) -> bool {
        self.answer == Some(Kind::NACK)
    }

    /// A frame with our number went out.
    pub(super) fn told(&mut self) {
        self.answer.take_if(|kind| *kind == Kind::ACK);
    }
}
