//! The nodes, and who pays for them.
//!
//! Invariants, checked by [`Tree::verify`]: the root exists; every node's parent exists; what each owner is charged is
//! the sum over its nodes. A node's generation changes whenever its value, its permissions or its list of children does,
//! and no two changes share a generation.

use super::path::{self, SPECIAL};
use super::permission::Permissions;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Bound;

/// What a node costs besides its bytes: its places in maps and allocators.
const NODE_OVERHEAD: usize = 64;

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Vec<u8>,
    pub permissions: Permissions,
    pub generation: u64,
}

impl Node {
    /// Bytes the owner is charged for this node at `path`.
    pub(super) fn cost(&self, path: &str) -> usize {
        NODE_OVERHEAD
            + path
                .len()
                .saturating_add(self.value.len())
                .saturating_add(self.permissions.cost())
    }
}

/// What a domain owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nodes.
    pub nodes: usize,
    /// Bytes, overhead included.
    pub bytes: usize,
}

/// All nodes.
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    usage: BTreeMap<u16, Usage>,
    generation: u64,
}

impl Tree {
    /// The root and the special names, all private to Domain-0.
    pub(super) fn new() -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
            usage: BTreeMap::new(),
            generation: 0,
        };
        for path in ["/"].into_iter().chain(SPECIAL) {
            let generation = tree.next_generation();
            let node = Node {
                value: Vec::new(),
                permissions: Permissions::private(0),
                generation,
            };
            tree.insert(path.to_string(), node);
        }
        tree
    }

    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// A number no change had before.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation = self.generation.saturating_add(1);
        self.generation
    }

    /// Puts a node in place of what was at `path`. The caller keeps the invariant that the parent exists.
    pub(super) fn insert(&mut self, path: String, node: Node) {
        let charge = Usage {
            nodes: 1,
            bytes: node.cost(&path),
        };
        let owner = node.permissions.owner;
        if let Some(previous) = self.nodes.insert(path.clone(), node) {
            self.discharge(&path, &previous);
        }
        let usage = self.usage.entry(owner).or_default();
        usage.nodes = usage.nodes.saturating_add(charge.nodes);
        usage.bytes = usage.bytes.saturating_add(charge.bytes);
    }

    /// Takes a node out. The caller keeps the invariant that nothing is left below it.
    pub(super) fn remove(&mut self, path: &str) {
        if let Some(node) = self.nodes.remove(path) {
            self.discharge(path, &node);
        }
    }

    /// Marks a node as changed without changing it: its children did.
    pub(super) fn touch(&mut self, path: &str) {
        let generation = self.next_generation();
        if let Some(node) = self.nodes.get_mut(path) {
            node.generation = generation;
        }
    }

    /// What a domain owns.
    pub(super) fn usage(&self, domid: u16) -> Usage {
        self.usage.get(&domid).copied().unwrap_or_default()
    }

    /// All nodes strictly below `path`, each after its parent.
    pub(super) fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let prefix = path::prefix(path).into_owned();
        let range = (Bound::Excluded(prefix.as_str()), Bound::Unbounded);
        let candidates = self.nodes.range::<str, _>(range);
        candidates
            .map(|(path, node)| (path.as_str(), node))
            .take_while(move |(path, _)| path.starts_with(&prefix))
    }

    /// The names of the children of `path`, in order of their bytes.
    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let prefix = path::prefix(path);
        let mut names = Vec::new();
        let mut from = Bound::Excluded(prefix.clone().into_owned());
        while let Some((candidate, _)) = self
            .nodes
            .range::<String, _>((from.as_ref(), Bound::Unbounded))
            .next()
        {
            let Some(rest) = candidate.strip_prefix(prefix.as_ref()) else {
                break;
            };
            from = match rest.split_once('/') {
                // Already in a child: continue behind everything below it ('0' follows '/').
                Some((child, _)) => Bound::Included([prefix.as_ref(), child, "0"].concat()),
                None => {
                    names.push(rest.to_string());
                    Bound::Excluded(candidate.clone())
                }
            };
        }
        names
    }

    /// Every node and its path.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Checks the invariants; the error names the one that does not hold.
    pub(super) fn verify(&self) -> Result<(), String> {
        let mut usage: BTreeMap<u16, Usage> = BTreeMap::new();
        for (path, node) in self.all() {
            let special = SPECIAL.contains(&path);
            if !special && !path::is_absolute(path) && path.len() <= path::ABSOLUTE_MAX {
                return Err(["malformed path ", path].concat());
            }
            if path::parent(path).is_some_and(|parent| !self.nodes.contains_key(parent)) {
                return Err(["no parent: ", path].concat());
            }
            let sum = usage.entry(node.permissions.owner).or_default();
            sum.nodes += 1;
            sum.bytes += node.cost(path);
        }
        if usage != self.usage {
            return Err(alloc::format!("charged {:?}, owned {usage:?}", self.usage));
        }
        if self.nodes.contains_key("/") {
            Ok(())
        } else {
            Err("no root".to_string())
        }
    }

    fn discharge(&mut self, path: &str, node: &Node) {
        let owner = node.permissions.owner;
        if let Some(usage) = self.usage.get_mut(&owner) {
            usage.nodes = usage.nodes.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(node.cost(path));
            if usage.nodes == 0 {
                self.usage.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, Tree, Usage};
    use crate::xenstore::permission::Permissions;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            let generation = tree.next_generation();
            let node = Node {
                value: b"v".to_vec(),
                permissions: Permissions::private(5),
                generation,
            };
            tree.insert(path.to_string(), node);
        }
        tree.verify().unwrap();
        tree
    }

    #[test]
    fn children_are_not_confused_by_names_that_sort_around_the_slash() {
        let tree = tree(&[
            "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b-1", "/a/b-1/x", "/a/b0", "/a/b_", "/a-",
            "/a0",
        ]);
        assert_eq!(tree.children("/a"), ["b", "b-1", "b0", "b_"]);
        assert_eq!(tree.children("/"), ["a", "a-", "a0"]);
        assert_eq!(tree.children("/a/b"), ["c"]);
        assert!(tree.children("/a0").is_empty());
        let below: Vec<&str> = tree.below("/a/b").map(|(path, _)| path).collect();
        assert_eq!(below, ["/a/b/c", "/a/b/c/d"]);
    }

    #[test]
    fn owners_pay_for_what_is_there() {
        let mut tree = tree(&["/a", "/a/b"]);
        assert_eq!(
            tree.usage(5),
            Usage {
                nodes: 2,
                bytes: 2 * 64 + 2 + 4 + 2
            }
        );
        let mut node = tree.get("/a/b").unwrap().clone();
        node.value = b"longer".to_vec();
        node.permissions.owner = 6;
        tree.insert("/a/b".to_string(), node);
        assert_eq!((tree.usage(5).nodes, tree.usage(6).bytes), (1, 64 + 4 + 6));
        tree.remove("/a/b");
        assert_eq!(tree.usage(6), Usage::default());
        tree.verify().unwrap();
    }

    #[test]
    fn verify_notices_an_orphan() {
        let mut tree = tree(&["/a", "/a/b"]);
        tree.remove("/a");
        assert!(tree.verify().is_err());
    }
}
