//! The files of the store as xend sees them: what is kept, and what is on its way to be.
//!
//! A change is seen by nobody before it outlives a power cut. One order is with the keeper at a time; those behind it wait
//! in line.

use super::keeper::{Files, Mounted, Order, Standing};
use super::volume::{Change, FILE_MAX, FILES_MAX};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use mgmt_proto::messages::{ErrorCode, Failure};

/// Orders that may wait.
const WAITING: usize = 32;

/// A change and what follows from it.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    pub(crate) order: Order,
    /// For whom it is done.
    pub(crate) then: T,
}

/// The store's files.
#[derive(Debug)]
pub(crate) struct StoreFiles<T> {
    standing: Standing,
    files: Files,
    waiting: VecDeque<Pending<T>>,
    /// What the keeper works on; `None` inside: the log alone.
    with_keeper: Option<Option<Pending<T>>>,
}

impl<T> StoreFiles<T> {
    pub(crate) fn new(mounted: Mounted) -> Self {
        Self {
            standing: mounted.standing,
            files: mounted.files,
            waiting: VecDeque::new(),
            with_keeper: None,
        }
    }

    /// Where the store is.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes an order in; `then` comes back from [`StoreFiles::finished`].
    ///
    /// # Errors
    /// A sentence for who asked.
    pub(crate) fn order(&mut self, order: Order, then: T) -> Result<(), Failure> {
        self.check(&order)?;
        self.waiting.push_back(Pending { order, then });
        Ok(())
    }

    fn check(&self, order: &Order) -> Result<(), Failure> {
        if self.waiting.len() >= WAITING {
            let sentence = "the store has too much to do";
            return Err(Failure::new(ErrorCode::BUSY, sentence).with_remedy("try again"));
        }
        match (order, &self.standing) {
            (Order::Make(_), Standing::Memory) => Err(Failure::new(
                ErrorCode::STORE,
                "there is no disk to make a store on",
            )
            .with_remedy("give Domain-0 a virtio disk")),
            (Order::Make(_), _) => Ok(()),
            (Order::Keep { .. }, Standing::Rescue { reason, .. }) => Err(read_only(reason)),
            (Order::Keep { changes, .. }, _) => self.check_sizes(changes),
        }
    }

    fn check_sizes(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut total: usize = self.files.values().map(Vec::len).sum();
        for change in changes {
            if let Change::Put { path, content } = change {
                if content.len() > FILE_MAX {
                    let sentence =
                        format!("{path} would have {} KiB", content.len().div_ceil(1024));
                    return Err(Failure::new(ErrorCode::TOO_LARGE, sentence)
                        .with_remedy("a file in the store has at most 32 KiB"));
                }
                total = total.saturating_add(content.len());
            }
        }
        if total > FILES_MAX {
            return Err(full());
        }
        Ok(())
    }

    /// The next order for the keeper, with text for the log if it goes along; `log` alone if nothing else waits.
    pub(crate) fn next(&mut self, log: impl FnOnce() -> Vec<u8>) -> Option<Order> {
        if self.with_keeper.is_some() {
            return None;
        }
        let log = match self.standing {
            Standing::Disk { .. } => log(),
            _ => Vec::new(),
        };
        let pending = self.waiting.pop_front();
        let order = match pending.as_ref().map(|pending| &pending.order) {
            Some(Order::Make(names)) => Order::Make(*names),
            Some(Order::Keep { changes, .. }) => Order::Keep {
                changes: changes.clone(),
                log,
            },
            None if log.is_empty() => return None,
            None => Order::Keep {
                changes: Vec::new(),
                log,
            },
        };
        self.with_keeper = Some(pending);
        Some(order)
    }

    /// Whether there is something for the keeper, the log left aside.
    pub(crate) fn has_orders(&self) -> bool {
        self.with_keeper.is_none() && !self.waiting.is_empty()
    }

    /// Whether the keeper is at work.
    pub(crate) fn is_busy(&self) -> bool {
        self.with_keeper.is_some()
    }

    /// What the keeper was given is done: what was waiting for it.
    pub(crate) fn done(&mut self) -> Option<Pending<T>> {
        let pending = self.with_keeper.take().flatten()?;
        match &pending.order {
            Order::Keep { changes, .. } => self.carry_out(changes),
            Order::Make(_) => {
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
        let mut pending: Vec<_> = self.with_keeper.take().flatten().into_iter().collect();
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

    fn carry_out(&mut self, changes: &[Change]) {
        for change in changes.iter().cloned() {
            match change {
                Change::Put { path, content } => self.files.insert(path, content),
                Change::Remove { path } => self.files.remove(&path),
            };
        }
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
