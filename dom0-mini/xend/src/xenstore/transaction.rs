//! Changes that happen together or not at all.
//!
//! A [`Transaction`] is what one party has looked at and what it wants to change, laid over the tree without touching it.
//! It holds no snapshot: a node not yet looked at is read from the tree as it is now. Committing compares the generation
//! of every node looked at with what it was at that moment; if one differs, nothing happens and the answer is EAGAIN.
//! So a transaction costs what it touches, which is bounded, whatever everybody else does meanwhile.
//!
//! Requests outside transactions take the same road with a transaction of their own that need not remember what it saw:
//! there is one way to change the tree, it checks quotas in one place, and a request that fails changes nothing.

use super::path;
use super::permission::{Actor, Permissions};
use super::tree::{Node, Tree};
use super::wire::Errno;
use super::{Limits, Usage};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Bound;

/// What an entry costs besides its bytes.
const ENTRY_OVERHEAD: usize = 64;

/// What was looked at, and what shall be different.
#[derive(Default)]
pub(super) struct Transaction {
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    marks: u32,
    tracked: bool,
    doomed: bool,
    failed: bool,
}

struct Entry {
    /// The generation at first sight; `None`: there was no such node.
    seen: Option<u64>,
    state: State,
    mark: Option<Mark>,
}

enum State {
    /// As in the tree.
    Same,
    /// As in the tree, with other children.
    Touched(u64),
    Changed(Node),
    Deleted,
}

/// A watch event to be.
struct Mark {
    order: u32,
    exact: bool,
}

/// A change that watchers hear of.
#[derive(Clone, Debug)]
pub(super) struct Mutation {
    pub path: String,
    /// The permissions the node had, if it was there.
    pub before: Option<Permissions>,
    /// Only for watches on this very path: it went together with something above it.
    pub exact: bool,
}

impl Transaction {
    /// A transaction that remembers what it saw.
    pub(super) fn tracked() -> Self {
        Self {
            tracked: true,
            ..Self::default()
        }
    }

    /// A transaction that lived through save and restore: whatever it saw is no longer known, so it cannot succeed.
    pub(super) fn doomed() -> Self {
        Self {
            doomed: true,
            ..Self::tracked()
        }
    }

    /// Notes that a request in here stopped half-way for want of room: what it did must never be applied.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the tree, or says why not. Either way the transaction is over.
    pub(super) fn commit(
        self,
        tree: &mut Tree,
        actor: Actor,
        limits: &Limits,
    ) -> Result<Vec<Mutation>, Errno> {
        if self.conflicts(tree) {
            return Err(Errno::Again);
        }
        if self.failed {
            return Err(Errno::NoSpace);
        }
        if !actor.is_privileged() {
            self.afford(tree, limits)?;
        }
        Ok(self.apply(tree))
    }

    fn conflicts(&self, tree: &Tree) -> bool {
        let changed = |(path, entry): (&String, &Entry)| {
            tree.get(path).map(|node| node.generation) != entry.seen
        };
        self.doomed || (self.tracked && self.entries.iter().any(changed))
    }

    /// Every owner that ends up with more than before must be within its quota.
    fn afford(&self, tree: &Tree, limits: &Limits) -> Result<(), Errno> {
        let mut gains: BTreeMap<u16, (Usage, Usage)> = BTreeMap::new();
        for (path, entry) in &self.entries {
            let after = match &entry.state {
                State::Same | State::Touched(_) => continue,
                State::Changed(node) => Some(node),
                State::Deleted => None,
            };
            if let Some(node) = tree.get(path) {
                charge(
                    &mut gains.entry(node.permissions.owner).or_default().0,
                    path,
                    node,
                );
            }
            if let Some(node) = after {
                charge(
                    &mut gains.entry(node.permissions.owner).or_default().1,
                    path,
                    node,
                );
            }
        }
        let fits = |(owner, (less, more)): (u16, (Usage, Usage))| {
            let usage = tree.usage(owner);
            let within = |now: usize, less: usize, more: usize, limit: usize| {
                more <= less || now.saturating_sub(less).saturating_add(more) <= limit
            };
            owner == Actor::DOMAIN_0.0
                || (within(usage.nodes, less.nodes, more.nodes, limits.nodes)
                    && within(usage.bytes, less.bytes, more.bytes, limits.bytes))
        };
        if gains.into_iter().all(fits) {
            Ok(())
        } else {
            Err(Errno::NoSpace)
        }
    }

    fn apply(self, tree: &mut Tree) -> Vec<Mutation> {
        let mut mutations = Vec::new();
        for (path, entry) in self.entries {
            if let Some(mark) = entry.mark {
                let before = tree.get(&path).map(|node| node.permissions.clone());
                mutations.push((
                    mark.order,
                    Mutation {
                        path: path.clone(),
                        before,
                        exact: mark.exact,
                    },
                ));
            }
            match entry.state {
                State::Same => {}
                State::Touched(_) => tree.touch(&path),
                State::Deleted => tree.remove(&path),
                State::Changed(node) => {
                    let generation = tree.next_generation();
                    tree.insert(path, Node { generation, ..node });
                }
            }
        }
        mutations.sort_by_key(|(order, _)| *order);
        mutations
            .into_iter()
            .map(|(_, mutation)| mutation)
            .collect()
    }
}

fn charge(usage: &mut Usage, path: &str, node: &Node) {
    usage.nodes = usage.nodes.saturating_add(1);
    usage.bytes = usage.bytes.saturating_add(node.cost(path));
}

/// The tree as one transaction sees it.
pub(super) struct Draft<'a> {
    tree: &'a mut Tree,
    transaction: &'a mut Transaction,
    budget: usize,
}

impl<'a> Draft<'a> {
    /// The view of `transaction`, which may hold up to `budget` bytes.
    pub(super) fn new(tree: &'a mut Tree, transaction: &'a mut Transaction, budget: usize) -> Self {
        Self {
            tree,
            transaction,
            budget,
        }
    }

    /// The node at `path`, if there is one.
    pub(super) fn node(&mut self, path: &str) -> Result<Option<&Node>, Errno> {
        if self.transaction.tracked {
            self.entry(path)?;
        }
        Ok(
            match self.transaction.entries.get(path).map(|entry| &entry.state) {
                Some(State::Changed(node)) => Some(node),
                Some(State::Deleted) => None,
                Some(State::Same | State::Touched(_)) | None => self.tree.get(path),
            },
        )
    }

    /// The generation of a node, children included.
    pub(super) fn generation(&mut self, path: &str) -> u64 {
        match self.transaction.entries.get(path).map(|entry| &entry.state) {
            Some(State::Touched(generation)) => *generation,
            Some(State::Changed(node)) => node.generation,
            _ => self.tree.get(path).map_or(0, |node| node.generation),
        }
    }

    /// Puts a node at `path`; its generation is set here.
    pub(super) fn put(&mut self, path: &str, mut node: Node) -> Result<(), Errno> {
        node.generation = self.tree.next_generation();
        self.change(path, State::Changed(node))
    }

    /// Takes the node at `path` out.
    pub(super) fn delete(&mut self, path: &str) -> Result<(), Errno> {
        self.change(path, State::Deleted)
    }

    /// Notes that the children of `path` changed.
    pub(super) fn touch(&mut self, path: &str) -> Result<(), Errno> {
        let generation = self.tree.next_generation();
        let entry = self.entry(path)?;
        match &mut entry.state {
            State::Changed(node) => node.generation = generation,
            state @ (State::Same | State::Touched(_)) => *state = State::Touched(generation),
            State::Deleted => {}
        }
        Ok(())
    }

    /// Notes that watchers shall hear of `path`, which was changed before.
    pub(super) fn mark(&mut self, path: &str, exact: bool) -> Result<(), Errno> {
        let order = self.transaction.marks;
        self.transaction.marks = order.saturating_add(1);
        let entry = self.entry(path)?;
        entry.mark = match &entry.mark {
            Some(mark) => Some(Mark {
                order: mark.order,
                exact: mark.exact && exact,
            }),
            None => Some(Mark { order, exact }),
        };
        Ok(())
    }

    /// The names of the children of `path`, in order of their bytes.
    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let names = self.tree.children(path);
        let mut changes = self
            .entries_below(path)
            .filter(|(below, _)| !below.contains('/'))
            .peekable();
        if changes.peek().is_none() {
            return names;
        }
        let mut names: BTreeSet<String> = names.into_iter().collect();
        for (name, entry) in changes {
            match entry.state {
                State::Changed(_) => drop(names.insert(name.to_string())),
                State::Deleted => drop(names.remove(name)),
                State::Same | State::Touched(_) => {}
            }
        }
        names.into_iter().collect()
    }

    /// The paths of all nodes strictly below `path`.
    pub(super) fn below(&self, path: &str) -> Vec<String> {
        let mut paths: BTreeSet<String> = self
            .tree
            .below(path)
            .map(|(below, _)| below.to_string())
            .collect();
        for (below, entry) in self.entries_below(path) {
            let full = [path::prefix(path).as_ref(), below].concat();
            match entry.state {
                State::Changed(_) => drop(paths.insert(full)),
                State::Deleted => drop(paths.remove(&full)),
                State::Same | State::Touched(_) => {}
            }
        }
        paths.into_iter().collect()
    }

    fn entries_below<'b>(
        &'b self,
        path: &str,
    ) -> impl Iterator<Item = (&'b str, &'b Entry)> + use<'a, 'b> {
        let prefix = path::prefix(path).into_owned();
        let range = (Bound::Excluded(prefix.as_str()), Bound::Unbounded);
        let candidates = self.transaction.entries.range::<str, _>(range);
        candidates.map_while(move |(path, entry)| Some((path.strip_prefix(&prefix)?, entry)))
    }

    fn change(&mut self, path: &str, state: State) -> Result<(), Errno> {
        let size = |state: &State| match state {
            State::Changed(node) => node.value.len().saturating_add(node.permissions.cost()),
            State::Same | State::Touched(_) | State::Deleted => 0,
        };
        let more = size(&state);
        let less = size(&self.entry(path)?.state);
        let bytes = self
            .transaction
            .bytes
            .saturating_sub(less)
            .saturating_add(more);
        self.hold(bytes)?;
        self.entry(path)?.state = state;
        Ok(())
    }

    /// The entry of `path`, made at first sight.
    fn entry(&mut self, path: &str) -> Result<&mut Entry, Errno> {
        if !self.transaction.entries.contains_key(path) {
            let cost = ENTRY_OVERHEAD.saturating_add(path.len());
            self.hold(self.transaction.bytes.saturating_add(cost))?;
        }
        let seen = self.tree.get(path).map(|node| node.generation);
        let fresh = || Entry {
            seen,
            state: State::Same,
            mark: None,
        };
        Ok(self
            .transaction
            .entries
            .entry(path.to_string())
            .or_insert_with(fresh))
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Errno> {
        if self.transaction.tracked && bytes > self.budget {
            return Err(Errno::NoSpace);
        }
        self.transaction.bytes = bytes;
        Ok(())
    }
}
