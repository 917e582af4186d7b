//! The store that Xen's guests and tools talk through: the server side of Xen's public `docs/misc/xenstore.txt` and
//! `io/xs_wire.h`, for guests over their ring pages and for xend by plain calls.
//!
//! - A tree of nodes ([`Permissions`] each) is shared by everybody; homes are `/local/domain/<host domid>`.
//! - A guest knows itself by its *guest* domid; the two numbers are exchanged wherever a path, a permission or a number
//!   crosses its connection, backend paths included. *Values* are never translated: what xend writes for a guest to read
//!   (`domid`, `backend`, `frontend-id`), it writes in the guest's terms.
//! - xend acts as Domain-0: it may do everything and pays for nothing.
//! - Everything a guest can make the store hold is charged to it and bounded by [`Limits`].
//! - A fault of one guest ends the service for that guest only, until it reconnects.
//!
//! Nothing here does I/O: the embedder calls [`Xenstore::service`] when a guest's event channel fires and notifies those
//! that [`Xenstore::take_notifications`] names after any call.

mod connection;
mod fuzz;
mod operation;
mod path;
mod permission;
mod request;
mod snapshot;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watch;
pub mod wire;

pub use connection::{Counters, Fault};
pub use fuzz::fuzz_xenstore;
pub use path::{ABSOLUTE_MAX, RELATIVE_MAX};
pub use permission::{Access, EXCEPTIONS_MAX, Permissions};
pub use snapshot::SnapshotError;
pub use tree::Usage;
pub use watch::{Change, WatchId};
pub use wire::Errno;

use crate::ring::SharedPage;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use connection::Connection;
use path::{Identity, SPECIAL};
use permission::Actor;
use request::{Answer, Request};
use transaction::{Draft, Mutation};
use tree::Tree;
use watch::InnerWatches;
use wire::{Header, Kind, PAYLOAD_MAX};

/// Requests answered in one call of [`Xenstore::service`].
const REQUESTS_PER_CALL: usize = 32;

/// What one domain may make the store hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes it owns.
    pub nodes: usize,
    /// Bytes of the nodes it owns: paths, values, permissions and 64 for each node.
    pub bytes: usize,
    /// Watches.
    pub watches: usize,
    /// Bytes of its watches.
    pub watch_bytes: usize,
    /// Open transactions.
    pub transactions: usize,
    /// Bytes of all its open transactions.
    pub transaction_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 1000,
            bytes: 128 * 1024,
            watches: 128,
            watch_bytes: 32 * 1024,
            transactions: 10,
            transaction_bytes: 128 * 1024,
        }
    }
}

/// The store.
pub struct Xenstore {
    tree: Tree,
    connections: BTreeMap<u16, Connection>,
    introduced: BTreeSet<u16>,
    inner: InnerWatches,
    limits: Limits,
}

impl Xenstore {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self {
            tree: Tree::new(),
            connections: BTreeMap::new(),
            introduced: BTreeSet::new(),
            inner: InnerWatches::default(),
            limits,
        }
    }

    /// Connects a domain over its ring page. Its home is xend's to create.
    pub fn introduce(
        &mut self,
        domid: u16,
        guest_domid: u16,
        page: Box<dyn SharedPage>,
    ) -> Result<(), Errno> {
        if domid == Actor::DOMAIN_0.0 {
            return Err(Errno::Invalid);
        }
        if !self.introduced.insert(domid) {
            return Err(Errno::Exists);
        }
        let identity = Identity {
            host: domid,
            guest: guest_domid,
        };
        self.connections
            .insert(domid, Connection::new(identity, page));
        self.announce(SPECIAL[0]);
        Ok(())
    }

    /// Forgets a domain: its connection, its home, whatever else it owns, and every right it was given.
    pub fn release(&mut self, domid: u16) {
        self.connections.remove(&domid);
        let was_there = self.introduced.remove(&domid);
        let mut mutations = self.remove_tree(&path::home(domid));
        while let Some(path) = self.owned_by(domid) {
            mutations.extend(self.remove_tree(&path));
        }
        self.withdraw_rights(domid);
        self.fire(Actor::DOMAIN_0, &mutations);
        if was_there {
            self.announce(SPECIAL[1]);
        }
    }

    /// Answers the requests that wait in a domain's ring. Returns whether to call again: a call answers a bounded number.
    pub fn service(&mut self, domid: u16) -> bool {
        for _ in 0..REQUESTS_PER_CALL {
            let Some(connection) = self.connections.get_mut(&domid) else {
                return false;
            };
            connection.reconnect_if_asked();
            connection.flush();
            if connection.outgoing.has_reply() {
                return false;
            }
            let Some((header, payload)) = connection.receive() else {
                return false;
            };
            self.answer(domid, header, &payload);
        }
        self.connections
            .get(&domid)
            .is_some_and(Connection::has_work)
    }

    /// The domains whose event channel must be notified since this was last asked.
    pub fn take_notifications(&mut self) -> Vec<u16> {
        let due = |connection: &mut Connection| core::mem::take(&mut connection.notify);
        self.connections
            .iter_mut()
            .filter_map(|(domid, connection)| due(connection).then_some(*domid))
            .collect()
    }

    /// Why a domain is not served, if it is not.
    pub fn fault(&self, domid: u16) -> Option<Fault> {
        self.connections.get(&domid)?.fault
    }

    /// What happened on a domain's connection.
    pub fn counters(&self, domid: u16) -> Counters {
        self.connections
            .get(&domid)
            .map(|connection| connection.counters)
            .unwrap_or_default()
    }

    /// What a domain owns.
    pub fn usage(&self, domid: u16) -> Usage {
        self.tree.usage(domid)
    }

    /// The value at `path`.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.tree.get(path).map(|node| node.value.as_slice())
    }

    /// The value at `path`, if it is text.
    pub fn read_text(&self, path: &str) -> Option<&str> {
        core::str::from_utf8(self.read(path)?).ok()
    }

    /// The names of the children of `path`.
    pub fn list(&self, path: &str) -> Vec<String> {
        self.tree.children(path)
    }

    /// Sets the value at `path`, creating what is missing.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Errno> {
        if value.len() > PAYLOAD_MAX {
            return Err(Errno::TooBig);
        }
        self.as_domain_0(path, |draft, actor| {
            operation::write(draft, actor, path, value)
        })
    }

    /// Makes sure there is a node at `path`.
    pub fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        self.as_domain_0(path, |draft, actor| operation::make(draft, actor, path))
    }

    /// Makes sure there is nothing at `path`.
    pub fn rm(&mut self, path: &str) -> Result<(), Errno> {
        self.as_domain_0(path, |draft, actor| operation::remove(draft, actor, path))
    }

    /// Sets the permissions of the node at `path` (or of `@introduceDomain`, `@releaseDomain`).
    pub fn set_permissions(&mut self, path: &str, permissions: Permissions) -> Result<(), Errno> {
        if permissions.exceptions.len() > EXCEPTIONS_MAX {
            return Err(Errno::NoSpace);
        }
        self.as_domain_0(path, |draft, actor| {
            operation::set_permissions(draft, actor, path, permissions)
        })
    }

    /// The permissions of the node at `path`.
    pub fn permissions(&self, path: &str) -> Option<&Permissions> {
        self.tree.get(path).map(|node| &node.permissions)
    }

    /// Watches `path` and everything below it for changes that guests make.
    pub fn watch(&mut self, path: &str) -> WatchId {
        self.inner.add(path)
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: WatchId) {
        self.inner.remove(watch);
    }

    /// What guests changed under xend's watches since this was last asked, each path once.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.inner.take()
    }

    /// Everything of a domain that a restored one needs: its home, its watches, the numbers of its open transactions, and
    /// what is half-way between us and its ring.
    pub fn export(&self, domid: u16) -> Result<Vec<u8>, SnapshotError> {
        snapshot::export(self, domid)
    }

    /// Puts what [`Xenstore::export`] gave, or whatever pretends to be that, in place of the home and the watches of a
    /// domain just introduced. Its open transactions will end with EAGAIN.
    pub fn import(&mut self, domid: u16, bytes: &[u8]) -> Result<(), SnapshotError> {
        snapshot::import(self, domid, bytes)
    }

    /// Checks the invariants of the whole store; the error names the one that does not hold.
    pub fn verify(&self) -> Result<(), String> {
        self.tree.verify()?;
        let unequal = |(domid, connection): (&u16, &Connection)| {
            let usage = self.tree.usage(*domid);
            usage.nodes > self.limits.nodes
                || usage.bytes > self.limits.bytes
                || connection.watches.len() > self.limits.watches
                || connection.watches.bytes() > self.limits.watch_bytes
                || connection.transactions.len() > self.limits.transactions
                || connection.transaction_bytes() > self.limits.transaction_bytes
                || connection.outgoing.held() > snapshot::OUTGOING_MAX
        };
        match self
            .connections
            .iter()
            .find(|connection| unequal(*connection))
        {
            Some((domid, _)) => Err(alloc::format!("domain {domid} exceeds a limit")),
            None => Ok(()),
        }
    }

    fn answer(&mut self, domid: u16, header: Header, payload: &[u8]) {
        let Self {
            tree,
            connections,
            introduced,
            limits,
            ..
        } = self;
        let Some(connection) = connections.get_mut(&domid) else {
            return;
        };
        let answer = Request {
            tree,
            connection,
            introduced,
            limits,
            header,
            payload,
        }
        .execute();
        connection.counters.requests = connection.counters.requests.saturating_add(1);
        match answer {
            Ok(Answer {
                payload,
                mutations,
                watch,
            }) => {
                connection.outgoing.reply(header.message(&payload));
                if let Some(watch) = watch {
                    connection.outgoing.event(&watch, &watch.said);
                }
                self.fire(Actor(domid), &mutations);
            }
            Err(errno) => {
                connection.counters.errors = connection.counters.errors.saturating_add(1);
                let header = Header {
                    kind: Kind::ERROR,
                    ..header
                };
                connection
                    .outgoing
                    .reply(header.message(&wire::terminated(errno.name())));
            }
        }
        if let Some(connection) = self.connections.get_mut(&domid) {
            connection.flush();
        }
    }

    fn as_domain_0(
        &mut self,
        path: &str,
        operation: impl FnOnce(&mut Draft<'_>, Actor) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !path::is_absolute(path) && !SPECIAL.contains(&path) {
            return Err(Errno::Invalid);
        }
        let actor = Actor::DOMAIN_0;
        let ((), mutations) = request::at_once(&mut self.tree, actor, &self.limits, |draft| {
            operation(draft, actor)
        })?;
        self.fire(actor, &mutations);
        Ok(())
    }

    /// Tells everybody who watches, in the order of the changes; xend hears only of what guests did.
    fn fire(&mut self, by: Actor, mutations: &[Mutation]) {
        if mutations.is_empty() {
            return;
        }
        for mutation in mutations {
            if !by.is_privileged() {
                self.inner.notice(mutation);
            }
            for (domid, connection) in &mut self.connections {
                if may_know(&self.tree, Actor(*domid), mutation) {
                    tell(connection, mutation);
                }
            }
        }
        self.connections.values_mut().for_each(Connection::flush);
    }

    /// Fires the watches on a special name.
    fn announce(&mut self, special: &str) {
        self.fire(
            Actor::DOMAIN_0,
            &[Mutation {
                path: special.to_string(),
                before: None,
                exact: false,
            }],
        );
    }

    fn remove_tree(&mut self, path: &str) -> Vec<Mutation> {
        let actor = Actor::DOMAIN_0;
        let remove = |draft: &mut Draft<'_>| operation::remove(draft, actor, path);
        request::at_once(&mut self.tree, actor, &self.limits, remove)
            .map_or_else(|_| Vec::new(), |((), done)| done)
    }

    /// The first path that a domain owns.
    fn owned_by(&self, domid: u16) -> Option<String> {
        if self.tree.usage(domid).nodes == 0 {
            return None;
        }
        let mut removable = self
            .tree
            .all()
            .filter(|(path, _)| path::parent(path).is_some());
        removable
            .find(|(_, node)| node.permissions.owner == domid)
            .map(|(path, _)| path.to_string())
    }

    fn withdraw_rights(&mut self, domid: u16) {
        let named = |permissions: &Permissions| {
            permissions
                .exceptions
                .iter()
                .any(|(other, _)| *other == domid)
        };
        let nodes = self.tree.all().filter(|(_, node)| named(&node.permissions));
        let nodes: Vec<_> = nodes
            .map(|(path, node)| (path.to_string(), node.clone()))
            .collect();
        for (path, mut node) in nodes {
            node.permissions
                .exceptions
                .retain(|(other, _)| *other != domid);
            node.generation = self.tree.next_generation();
            self.tree.insert(path, node);
        }
    }
}

impl Default for Xenstore {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

/// Only who may read a node, before or after the change, or list it, hears of it.
fn may_know(tree: &Tree, actor: Actor, mutation: &Mutation) -> bool {
    let may_read = |permissions: &Permissions| permissions.allow(actor, Access::Read);
    let may_read_at = |path: &str| {
        tree.get(path)
            .is_some_and(|node| may_read(&node.permissions))
    };
    mutation.before.as_ref().is_some_and(may_read)
        || may_read_at(&mutation.path)
        || path::parent(&mutation.path).is_some_and(may_read_at)
}

fn tell(connection: &mut Connection, mutation: &Mutation) {
    for watch in connection
        .watches
        .iter()
        .filter(|watch| watch.concerns(mutation))
    {
        let path = connection
            .identity
            .say(&mutation.path, watch.target.relative);
        if connection.outgoing.event(watch, &path) {
            connection.counters.events = connection.counters.events.saturating_add(1);
        } else {
            connection.counters.merged = connection.counters.merged.saturating_add(1);
        }
    }
}
