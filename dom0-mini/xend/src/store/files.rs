//! The files of the store as xend sees them: what is kept, and what is on its way to be.
//!
//! A change is seen by nobody before it outlives a power cut. One order is with the keeper at a time; those behind it wait
//! in line.

use super::keeper::{Files, Mounted, Order, Standing};
use super::partition::Names;
use super::volume::{Change, FILE_MAX, FILES_MAX};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use mgmt_proto::messages::{ErrorCode, Failure};

/// Orders that may wait.
const WAITING: usize = 32;

/// What is wanted of the store.
#[derive(Debug)]
pub(crate) enum Wish {
    /// This change.
    Change(Change),
    /// A new store of these names, whatever is on the disk.
    Make(Names),
}

/// A wish and what follows from it.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    wish: Wish,
    /// For whom it is done.
    pub(crate) then: T,
}

/// The store's files.
#[derive(Debug)]
pub(crate) struct StoreFiles<T> {
    standing: Standing,
    files: Files,
    waiting: VecDeque<Pending<T>>,
    keeper: Keeper<T>,
}

/// What the keeper does.
#[derive(Debug)]
enum Keeper<T> {
    /// It waits for orders.
    Idle,
    /// It adds to the log.
    Logs,
    /// It carries an order out.
    CarriesOut(Pending<T>),
}

impl<T> Keeper<T> {
    /// What it has carried out, or not: it waits for orders now.
    fn end(&mut self) -> Option<Pending<T>> {
        match core::mem::replace(self, Self::Idle) {
            Self::Idle | Self::Logs => None,
            Self::CarriesOut(pending) => Some(pending),
        }
    }
}

impl<T> StoreFiles<T> {
    pub(crate) fn new(mounted: Mounted) -> Self {
        Self {
            standing: mounted.standing,
            files: mounted.files,
            waiting: VecDeque::new(),
            keeper: Keeper::Idle,
        }
    }

    /// Where the store is.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes a wish in; `then` comes back from [`StoreFiles::done`] or [`StoreFiles::failed`].
    ///
    /// # Errors
    /// A sentence for who asked.
    pub(crate) fn order(&mut self, wish: Wish, then: T) -> Result<(), Failure> {
        self.check(&wish)?;
        self.waiting.push_back(Pending { wish, then });
        Ok(())
    }

    fn check(&self, wish: &Wish) -> Result<(), Failure> {
        if self.waiting.len() >= WAITING {
            let sentence = "the store has too much to do";
            return Err(Failure::new(ErrorCode::BUSY, sentence).with_remedy("try again"));
        }
        match (wish, &self.standing) {
            (Wish::Make(_), Standing::Memory) => Err(Failure::new(
                ErrorCode::STORE,
                "there is no disk to make a store on",
            )
            .with_remedy("give Domain-0 a virtio disk")),
            (Wish::Make(_), _) => Ok(()),
            (Wish::Change(_), Standing::Rescue { reason, .. }) => Err(read_only(reason)),
            (Wish::Change(change), _) => self.check_sizes(change),
        }
    }

    fn check_sizes(&self, change: &Change) -> Result<(), Failure> {
        let Change::Put { path, content } = change else {
            return Ok(());
        };
        if content.len() > FILE_MAX {
            let sentence = format!("{path} would have {} KiB", content.len().div_ceil(1024));
            return Err(Failure::new(ErrorCode::TOO_LARGE, sentence)
                .with_remedy("a file in the store has at most 32 KiB"));
        }
        let there: usize = self.files.values().map(Vec::len).sum();
        if there.saturating_add(content.len()) > FILES_MAX {
            return Err(full());
        }
        Ok(())
    }

    /// The next order for the keeper. Text for the log goes along with a change, or alone if nothing else waits.
    pub(crate) fn next(&mut self, log: impl FnOnce() -> Vec<u8>) -> Option<Order> {
        if self.is_busy() {
            return None;
        }
        let is_on_disk = matches!(self.standing, Standing::Disk { .. });
        let log = || if is_on_disk { log() } else { Vec::new() };
        let pending = self.waiting.pop_front();
        let order = match pending.as_ref().map(|pending| &pending.wish) {
            Some(Wish::Make(names)) => Order::Make(*names),
            Some(Wish::Change(change)) => Order::Keep {
                changes: vec![change.clone()],
                log: log(),
            },
            None => Order::Keep {
                changes: Vec::new(),
                log: Some(log()).filter(|text| !text.is_empty())?,
            },
        };
        self.keeper = pending.map_or(Keeper::Logs, Keeper::CarriesOut);
        Some(order)
    }

    /// Whether there is something for the keeper, the log left aside.
    pub(crate) fn has_orders(&self) -> bool {
        !self.is_busy() && !self.waiting.is_empty()
    }

    /// Whether the keeper is at work.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.keeper, Keeper::Idle)
    }

    /// What the keeper was given is done: what was waiting for it.
    pub(crate) fn done(&mut self) -> Option<Pending<T>> {
        let pending = self.keeper.end()?;
        match &pending.wish {
            Wish::Change(change) => self.carry_out(change.clone()),
            Wish::Make(_) => {
                self.files.clear();
                if let Standing::Rescue { size_kib, .. } = self.standing {
                    self.standing = Standing::Disk { size_kib };
                }
            }
        }
        Some(pending)
    }

    /// It was not done: what was waiting for it. With a `reason` the store is not written to any more, and everything that
    /// waits for it has waited in vain.
    pub(crate) fn failed(&mut self, reason: Option<&str>) -> Vec<Pending<T>> {
        let mut pending: Vec<_> = self.keeper.end().into_iter().collect();
        if let Some(reason) = reason {
            if let Standing::Disk { size_kib } | Standing::Rescue { size_kib, .. } = self.standing {
                self.standing = Standing::Rescue {
                    size_kib,
                    reason: reason.into(),
                };
            }
            pending.extend(self.waiting.drain(..));
        }
        pending
    }

    fn carry_out(&mut self, change: Change) {
        match change {
            Change::Put { path, content } => self.files.insert(path, content),
            Change::Remove { path } => self.files.remove(&path),
        };
    }
}

/// Nothing can be kept.
pub(crate) fn read_only(reason: &str) -> Failure {
    Failure::new(
        ErrorCode::STORE,
        format!("the store is read-only: {reason}"),
    )
    .with_remedy("'xenman host init --force' makes a new one; what is on the disk is lost then")
}

/// There is no room.
pub(crate) fn full() -> Failure {
    Failure::new(ErrorCode::STORE, "the store is full")
        .with_remedy("delete what is not needed any more")
}
