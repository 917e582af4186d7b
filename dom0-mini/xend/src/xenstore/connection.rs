//! One guest's connection: its ring page and everything kept on its behalf.
//!
//! Requests are put together byte by byte as the ring delivers them. A guest that breaks the protocol (impossible
//! indices, an oversized payload) is not served any more, is told so in the page's `error` word, and comes back by the
//! reconnection handshake of `docs/misc/xenstore-ring.txt`: it sets the `connection` word, we forget everything about the
//! connection and clear the word.

use super::Limits;
use super::path::Identity;
use super::transaction::Transaction;
use super::watch::{Outgoing, Watches};
use super::wire::{Errno, HEADER_BYTES, Header, PAYLOAD_MAX};
use crate::ring::{ByteRing, RingBroken, SharedPage};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

const REQUESTS: ByteRing = ByteRing::new(0, 1024, 2048, 2052);
const RESPONSES: ByteRing = ByteRing::new(1024, 1024, 2056, 2060);
const SERVER_FEATURES: usize = 2064;
const CONNECTION: usize = 2068;
const ERROR: usize = 2072;

/// Reconnection, and the error word.
const FEATURES: u32 = 1 | 2;

/// In the `connection` word: the guest wants to begin anew.
const RECONNECT: u32 = 1;

/// Why a guest is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its ring indices are impossible.
    Ring(RingBroken),
    /// It announced this many bytes of payload.
    Payload(u32),
}

impl Fault {
    /// The code for the page's error word.
    const fn code(self) -> u32 {
        match self {
            Self::Ring(_) => 2,
            Self::Payload(_) => 3,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(broken) => write!(f, "xenstore {broken}"),
            Self::Payload(length) => write!(
                f,
                "xenstore request of {length} bytes, {PAYLOAD_MAX} are allowed"
            ),
        }
    }
}

/// What happened on a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests answered, errors included.
    pub requests: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Watch events queued.
    pub events: u64,
    /// Watch events merged with others because the guest was slow to read.
    pub merged: u64,
    /// Times the guest broke the protocol.
    pub faults: u64,
}

pub(super) struct Connection {
    pub identity: Identity,
    page: Box<dyn SharedPage>,
    pub incoming: Vec<u8>,
    pub outgoing: Outgoing,
    pub watches: Watches,
    pub transactions: BTreeMap<u32, Transaction>,
    last_transaction: u32,
    /// The guest's event channel must be notified.
    pub notify: bool,
    pub fault: Option<Fault>,
    pub counters: Counters,
}

impl Connection {
    /// A connection over `page`, whose indices are taken as they are: a restored guest carries on with them.
    pub(super) fn new(identity: Identity, page: Box<dyn SharedPage>) -> Self {
        page.store_u32(SERVER_FEATURES, FEATURES);
        Self {
            identity,
            page,
            incoming: Vec::new(),
            outgoing: Outgoing::default(),
            watches: Watches::default(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
            notify: false,
            fault: None,
            counters: Counters::default(),
        }
    }

    /// Begins anew if the guest asks for it.
    pub(super) fn reconnect_if_asked(&mut self) {
        if self.page.load_u32(CONNECTION) != RECONNECT {
            return;
        }
        self.incoming = Vec::new();
        self.outgoing = Outgoing::default();
        self.reset();
        self.fault = None;
        REQUESTS.reset(&*self.page);
        RESPONSES.reset(&*self.page);
        self.page.store_u32(ERROR, 0);
        self.page.store_u32(CONNECTION, 0);
        self.notify = true;
    }

    /// Drops all watches and transactions.
    pub(super) fn reset(&mut self) {
        self.watches = Watches::default();
        self.transactions = BTreeMap::new();
    }

    /// The next complete request, if it is all there.
    pub(super) fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        while self.fault.is_none() {
            let header = Header::parse(&self.incoming);
            let wanted = match header {
                None => HEADER_BYTES.saturating_sub(self.incoming.len()),
                Some(header) => self.wanted(&header)?,
            };
            if let (Some(header), 0) = (header, wanted) {
                let message = core::mem::take(&mut self.incoming);
                return Some((
                    header,
                    message.get(HEADER_BYTES..).unwrap_or_default().to_vec(),
                ));
            }
            if self.take(wanted) == 0 {
                return None;
            }
        }
        None
    }

    /// Moves what waits into the ring, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let (None, Some(bytes)) = (self.fault, self.outgoing.next()) {
            match RESPONSES.put(&*self.page, bytes) {
                Ok(0) => return,
                Ok(count) => {
                    self.outgoing.advance(count);
                    self.notify = true;
                }
                Err(broken) => self.set_fault(Fault::Ring(broken)),
            }
        }
    }

    /// Whether more can be done at once: requests are waiting and replies are not.
    pub(super) fn has_work(&self) -> bool {
        let waiting = REQUESTS.used(&*self.page).is_ok_and(|used| used > 0);
        self.fault.is_none() && !self.outgoing.has_reply() && waiting
    }

    /// Opens a transaction under a number not in use.
    pub(super) fn begin(&mut self, limits: &Limits) -> Result<u32, Errno> {
        if self.transactions.len() >= limits.transactions {
            return Err(Errno::NoSpace);
        }
        let mut id = self.last_transaction;
        loop {
            id = id.wrapping_add(1).max(1);
            if !self.transactions.contains_key(&id) {
                break;
            }
        }
        self.last_transaction = id;
        self.transactions.insert(id, Transaction::tracked());
        Ok(id)
    }

    /// Bytes held by all open transactions.
    pub(super) fn transaction_bytes(&self) -> usize {
        self.transactions.values().map(Transaction::bytes).sum()
    }

    /// Bytes of the current request still to come; a payload too long is a fault.
    fn wanted(&mut self, header: &Header) -> Option<usize> {
        let length = usize::try_from(header.length)
            .ok()
            .filter(|length| *length <= PAYLOAD_MAX);
        let Some(length) = length else {
            self.set_fault(Fault::Payload(header.length));
            return None;
        };
        Some(
            HEADER_BYTES
                .saturating_add(length)
                .saturating_sub(self.incoming.len()),
        )
    }

    /// Takes up to `wanted` bytes out of the ring; returns how many.
    fn take(&mut self, wanted: usize) -> usize {
        let mut buffer = [0; REQUESTS.size() as usize];
        let (buffer, _) = buffer.split_at_mut(wanted.min(REQUESTS.size() as usize));
        match REQUESTS.take(&*self.page, buffer) {
            Ok(count) => {
                self.incoming
                    .extend_from_slice(buffer.get(..count).unwrap_or_default());
                self.notify |= count > 0;
                count
            }
            Err(broken) => {
                self.set_fault(Fault::Ring(broken));
                0
            }
        }
    }

    fn set_fault(&mut self, fault: Fault) {
        self.page.store_u32(ERROR, fault.code());
        self.fault = Some(fault);
        self.notify = true;
        self.counters.faults = self.counters.faults.saturating_add(1);
    }
}
