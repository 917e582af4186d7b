//! What a saved domain takes along, and how it is taken back.
//!
//! The bytes are CBOR: maps with integer keys, lists bounded before they are read. They are treated as if the guest had
//! written them: everything is checked before anything is changed. Domids mean nothing outside this host, so of owners
//! and permissions only "Domain-0" and "the domain itself" survive. Nodes of the domain outside its home (its ends of
//! backend directories) are not here: xend creates those anew.

use super::Xenstore;
use super::path::{self, Identity};
use super::permission::{Access, EXCEPTIONS_MAX, Permissions};
use super::transaction::Transaction;
use super::tree::{Node, Usage};
use super::watch::{Watch, Watches};
use super::wire::{Errno, HEADER_BYTES, Header, PAYLOAD_MAX};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

const VERSION: u32 = 1;

/// The domain itself, in owners and permissions.
const SELF: u16 = 0x7ff0;

/// Entries in any list: a guest's nodes, and as many of Domain-0's in its home.
const LIST_MAX: u64 = 2048;

/// Bytes of a snapshot.
const BYTES_MAX: usize = 1024 * 1024;

/// Bytes that can wait for a guest: one reply, events, and one short event per watch.
pub(super) const OUTGOING_MAX: usize = 96 * 1024;

/// Why a snapshot cannot be made or is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// There is no connection of that domain.
    NotIntroduced,
    /// The domain's home is larger than a snapshot may be.
    TooBig,
    /// Not the encoding of a snapshot.
    Malformed,
    /// Made by a version of this that is not known here.
    Version(u32),
    /// A node that cannot be: its path.
    Node(String),
    /// A watch that cannot be: its path.
    Watch(String),
    /// More than the domain may own.
    Quota,
    /// A transaction number that cannot be.
    Transaction(u32),
    /// More in flight than there can be, or not the beginning of a request.
    Flight,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIntroduced => f.write_str("the domain has no xenstore connection"),
            Self::TooBig => write!(
                f,
                "the domain's xenstore home has more than {LIST_MAX} nodes"
            ),
            Self::Malformed => f.write_str("the xenstore part of the snapshot is damaged"),
            Self::Version(version) => {
                write!(f, "xenstore snapshot version {version}, {VERSION} is known")
            }
            Self::Node(path) => write!(f, "impossible xenstore node {path:?} in the snapshot"),
            Self::Watch(path) => write!(f, "impossible xenstore watch {path:?} in the snapshot"),
            Self::Quota => f.write_str("the snapshot has more in xenstore than a domain may own"),
            Self::Transaction(id) => {
                write!(f, "impossible xenstore transaction {id} in the snapshot")
            }
            Self::Flight => f.write_str("impossible xenstore messages in flight in the snapshot"),
        }
    }
}

impl core::error::Error for SnapshotError {}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Snapshot {
    #[n(0)]
    version: u32,
    #[cbor(n(1), with = "bounded")]
    nodes: Vec<NodeRecord>,
    #[cbor(n(2), with = "bounded")]
    watches: Vec<WatchRecord>,
    #[cbor(n(3), with = "bounded")]
    transactions: Vec<u32>,
    #[cbor(n(4), with = "minicbor::bytes")]
    incoming: Vec<u8>,
    /// Whole messages, but for the first, which may lack its beginning.
    #[cbor(n(5), with = "bounded")]
    outgoing: Vec<ByteVec>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct NodeRecord {
    /// Relative to the home; empty for the home itself.
    #[n(0)]
    path: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    value: Vec<u8>,
    /// The owner's entry first.
    #[cbor(n(2), with = "bounded")]
    permissions: Vec<PermissionRecord>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct PermissionRecord {
    #[n(0)]
    domid: u16,
    #[n(1)]
    access: char,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct WatchRecord {
    #[n(0)]
    path: String,
    #[n(1)]
    token: String,
}

/// Lists whose length is checked before anything is made of them.
mod bounded {
    use super::LIST_MAX;
    use alloc::vec::Vec;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decode, Decoder, Encode, Encoder};

    pub(super) fn encode<C, T: Encode<C>, W: Write>(
        list: &Vec<T>,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        list.encode(encoder, context)
    }

    pub(super) fn decode<'b, C, T: Decode<'b, C>>(
        decoder: &mut Decoder<'b>,
        context: &mut C,
    ) -> Result<Vec<T>, DecodeError> {
        match decoder.array()? {
            Some(length) if length <= LIST_MAX => {
                (0..length).map(|_| decoder.decode_with(context)).collect()
            }
            _ => Err(DecodeError::message("list too long")),
        }
    }
}

pub(super) fn export(store: &Xenstore, domid: u16) -> Result<Vec<u8>, SnapshotError> {
    let connection = store
        .connections
        .get(&domid)
        .ok_or(SnapshotError::NotIntroduced)?;
    let home = path::home(domid);
    let itself = store.tree.get(&home).map(|node| record("", node, domid));
    let below = store.tree.below(&home);
    let below =
        below.filter_map(|(path, node)| Some(record(path::below(path, &home)?, node, domid)));
    let nodes: Vec<NodeRecord> = itself.into_iter().chain(below).collect();
    if nodes.len() as u64 > LIST_MAX {
        return Err(SnapshotError::TooBig);
    }
    let watch = |watch: &Watch| WatchRecord {
        path: watch.said.clone(),
        token: watch.token.clone(),
    };
    let snapshot = Snapshot {
        version: VERSION,
        nodes,
        watches: connection.watches.iter().map(watch).collect(),
        transactions: connection.transactions.keys().copied().collect(),
        incoming: connection.incoming.clone(),
        outgoing: connection.outgoing.messages().map(ByteVec::from).collect(),
    };
    minicbor::to_vec(snapshot).map_err(|_| SnapshotError::TooBig)
}

fn record(path: &str, node: &Node, domid: u16) -> NodeRecord {
    let Permissions {
        owner,
        others,
        exceptions,
    } = &node.permissions;
    let portable = |id: u16| {
        if id == domid {
            Some(SELF)
        } else {
            (id == 0).then_some(0)
        }
    };
    let first = PermissionRecord {
        domid: portable(*owner).unwrap_or(0),
        access: others.letter(),
    };
    let rest = exceptions
        .iter()
        .filter_map(|(id, access)| Some((portable(*id)?, access.letter())));
    let rest = rest.map(|(domid, access)| PermissionRecord { domid, access });
    let permissions = core::iter::once(first).chain(rest).collect();
    NodeRecord {
        path: path.to_string(),
        value: node.value.clone(),
        permissions,
    }
}

pub(super) fn import(store: &mut Xenstore, domid: u16, bytes: &[u8]) -> Result<(), SnapshotError> {
    if bytes.len() > BYTES_MAX {
        return Err(SnapshotError::TooBig);
    }
    let identity = store
        .connections
        .get(&domid)
        .ok_or(SnapshotError::NotIntroduced)?
        .identity;
    let snapshot: Snapshot = minicbor::decode(bytes).map_err(|_| SnapshotError::Malformed)?;
    if snapshot.version != VERSION {
        return Err(SnapshotError::Version(snapshot.version));
    }
    let nodes = check_nodes(store, domid, snapshot.nodes)?;
    let watches = check_watches(store, identity, snapshot.watches)?;
    let transactions = check_transactions(store, &snapshot.transactions)?;
    check_flight(&snapshot.incoming, &snapshot.outgoing)?;

    let removed = store.remove_tree(&path::home(domid));
    store.fire(super::Actor::DOMAIN_0, &removed);
    plant(store, domid, nodes);
    if let Some(connection) = store.connections.get_mut(&domid) {
        connection.watches = watches;
        connection.transactions = transactions;
        connection.incoming = snapshot.incoming;
        connection
            .outgoing
            .restore(snapshot.outgoing.into_iter().map(Into::into));
    }
    Ok(())
}

/// Puts the nodes in, which are known to be a tree with the home as its root.
fn plant(store: &mut Xenstore, domid: u16, nodes: BTreeMap<String, Node>) {
    if nodes.is_empty() || store.mkdir(&path::home(domid)).is_err() {
        return;
    }
    for (path, node) in nodes {
        let generation = store.tree.next_generation();
        store.tree.insert(path, Node { generation, ..node });
    }
}

fn check_nodes(
    store: &Xenstore,
    domid: u16,
    records: Vec<NodeRecord>,
) -> Result<BTreeMap<String, Node>, SnapshotError> {
    let home = path::home(domid);
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for record in records {
        let refuse = || SnapshotError::Node(record.path.clone());
        let full = match record.path.as_str() {
            "" => home.clone(),
            below if path::is_relative(below) => path::prefix(&home).into_owned() + below,
            _ => return Err(refuse()),
        };
        let has_parent =
            full == home || path::parent(&full).is_some_and(|parent| nodes.contains_key(parent));
        let permissions = check_permissions(domid, &record.permissions).ok_or_else(refuse)?;
        let fits = path::is_absolute(&full) && record.value.len() <= PAYLOAD_MAX;
        if !has_parent || !fits || nodes.contains_key(&full) {
            return Err(refuse());
        }
        nodes.insert(
            full,
            Node {
                value: record.value,
                permissions,
                generation: 0,
            },
        );
    }
    check_quota(store, domid, &nodes)?;
    Ok(nodes)
}

fn check_permissions(domid: u16, records: &[PermissionRecord]) -> Option<Permissions> {
    let local = |record: &PermissionRecord| match record.domid {
        0 => Some((0, Access::from_letter(record.access)?)),
        SELF => Some((domid, Access::from_letter(record.access)?)),
        _ => None,
    };
    let (first, rest) = records.split_first()?;
    let (owner, others) = local(first)?;
    let exceptions: Vec<_> = rest.iter().map(local).collect::<Option<_>>()?;
    (exceptions.len() <= EXCEPTIONS_MAX).then_some(Permissions {
        owner,
        others,
        exceptions,
    })
}

/// What the domain will own, in its home by the snapshot and elsewhere already, must be within its quota.
fn check_quota(
    store: &Xenstore,
    domid: u16,
    nodes: &BTreeMap<String, Node>,
) -> Result<(), SnapshotError> {
    let own = nodes
        .iter()
        .filter(|(_, node)| node.permissions.owner == domid);
    let elsewhere = store
        .tree
        .all()
        .filter(|(path, _)| !path::within(path, &path::home(domid)));
    let elsewhere = elsewhere.filter(|(_, node)| node.permissions.owner == domid);
    let all = own
        .map(|(path, node)| (path.as_str(), node))
        .chain(elsewhere);
    let sum = all.fold(Usage::default(), |sum, (path, node)| Usage {
        nodes: sum.nodes.saturating_add(1),
        bytes: sum.bytes.saturating_add(node.cost(path)),
    });
    let fits = sum.nodes <= store.limits.nodes && sum.bytes <= store.limits.bytes;
    if fits {
        Ok(())
    } else {
        Err(SnapshotError::Quota)
    }
}

fn check_watches(
    store: &Xenstore,
    identity: Identity,
    records: Vec<WatchRecord>,
) -> Result<Watches, SnapshotError> {
    let mut watches = Watches::default();
    for WatchRecord { path: said, token } in records {
        let target = identity.resolve_watchable(&said);
        let target = target
            .ok()
            .filter(|_| !token.contains('\0') && token.len() <= PAYLOAD_MAX);
        let target = target.ok_or_else(|| SnapshotError::Watch(said.clone()))?;
        let watch = Watch {
            said: said.clone(),
            token,
            target,
        };
        watches
            .add(watch, &store.limits)
            .map_err(|errno| match errno {
                Errno::TooBig => SnapshotError::Quota,
                _ => SnapshotError::Watch(said),
            })?;
    }
    Ok(watches)
}

fn check_transactions(
    store: &Xenstore,
    ids: &[u32],
) -> Result<BTreeMap<u32, Transaction>, SnapshotError> {
    let mut transactions = BTreeMap::new();
    for id in ids {
        if *id == 0 || transactions.insert(*id, Transaction::doomed()).is_some() {
            return Err(SnapshotError::Transaction(*id));
        }
    }
    if transactions.len() <= store.limits.transactions {
        Ok(transactions)
    } else {
        Err(SnapshotError::Quota)
    }
}

/// An unfinished request is not longer than it says it will be. One that says too much has got no further than its
/// header: it is kept, and is the same fault again.
fn check_flight(incoming: &[u8], outgoing: &[ByteVec]) -> Result<(), SnapshotError> {
    let announced = Header::parse(incoming).and_then(|header| usize::try_from(header.length).ok());
    let payload = announced
        .filter(|length| *length <= PAYLOAD_MAX)
        .unwrap_or(0);
    let unfinished = incoming.len() <= HEADER_BYTES.saturating_add(payload);
    let sizes = || outgoing.iter().map(|message| message.len());
    let possible = sizes().all(|size| size > 0) && sizes().sum::<usize>() <= OUTGOING_MAX;
    if unfinished && possible {
        Ok(())
    } else {
        Err(SnapshotError::Flight)
    }
}
