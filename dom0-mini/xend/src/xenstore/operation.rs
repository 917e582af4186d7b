//! What can be done with nodes, and who may: the rules of `docs/misc/xenstore.txt`.
//!
//! A node that does not exist is judged by the nearest ancestor that does: whoever may not read (write) there is told
//! EACCES, so that errors do not reveal what exists.

use super::path;
use super::permission::{Access, Actor, Permissions};
use super::transaction::Draft;
use super::tree::Node;
use super::wire::Errno;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A node's children.
pub(super) struct Listing {
    pub names: Vec<String>,
    pub generation: u64,
}

pub(super) fn read(draft: &mut Draft<'_>, actor: Actor, path: &str) -> Result<Vec<u8>, Errno> {
    Ok(existing(draft, actor, path, Access::Read)?.value.clone())
}

pub(super) fn permissions(
    draft: &mut Draft<'_>,
    actor: Actor,
    path: &str,
) -> Result<Permissions, Errno> {
    Ok(existing(draft, actor, path, Access::Read)?
        .permissions
        .clone())
}

pub(super) fn list(draft: &mut Draft<'_>, actor: Actor, path: &str) -> Result<Listing, Errno> {
    existing(draft, actor, path, Access::Read)?;
    Ok(Listing {
        names: draft.children(path),
        generation: draft.generation(path),
    })
}

/// Sets a value; creates the node, and what is missing above it, if need be.
pub(super) fn write(
    draft: &mut Draft<'_>,
    actor: Actor,
    path: &str,
    value: &[u8],
) -> Result<(), Errno> {
    match judge(draft, actor, path, Access::Write)? {
        Judged::There => {
            let node = existing(draft, actor, path, Access::Write)?.clone();
            draft.put(
                path,
                Node {
                    value: value.to_vec(),
                    ..node
                },
            )?;
        }
        Judged::Missing(ancestor) => create(draft, actor, &ancestor, path, value)?,
    }
    draft.mark(path, false)
}

/// Makes sure a node exists.
pub(super) fn make(draft: &mut Draft<'_>, actor: Actor, path: &str) -> Result<(), Errno> {
    match judge(draft, actor, path, Access::Write)? {
        Judged::There => Ok(()),
        Judged::Missing(ancestor) => {
            create(draft, actor, &ancestor, path, &[])?;
            draft.mark(path, false)
        }
    }
}

/// Makes sure a node does not exist, nor anything below it; its parent must.
pub(super) fn remove(draft: &mut Draft<'_>, actor: Actor, path: &str) -> Result<(), Errno> {
    let parent = path::parent(path).ok_or(Errno::Invalid)?;
    match judge(draft, actor, path, Access::Write)? {
        Judged::There => {}
        Judged::Missing(ancestor) if ancestor == parent => return Ok(()),
        Judged::Missing(_) => return Err(Errno::NoEntry),
    }
    let below = draft.below(path);
    draft.delete(path)?;
    draft.mark(path, false)?;
    for path in &below {
        draft.delete(path)?;
        draft.mark(path, true)?;
    }
    draft.touch(parent)
}

/// Only the owner may, and only Domain-0 may give a node away.
pub(super) fn set_permissions(
    draft: &mut Draft<'_>,
    actor: Actor,
    path: &str,
    permissions: Permissions,
) -> Result<(), Errno> {
    let node = existing(draft, actor, path, Access::Both)?.clone();
    if !node.permissions.is_owner(actor) {
        return Err(Errno::Access);
    }
    if node.permissions.owner != permissions.owner && !actor.is_privileged() {
        return Err(Errno::NotPermitted);
    }
    draft.put(
        path,
        Node {
            permissions,
            ..node
        },
    )?;
    draft.mark(path, false)
}

enum Judged {
    There,
    /// It is not, but its nearest ancestor allows; that one's path.
    Missing(String),
}

fn judge(draft: &mut Draft<'_>, actor: Actor, path: &str, need: Access) -> Result<Judged, Errno> {
    let mut place = path;
    loop {
        if let Some(node) = draft.node(place)? {
            return match node.permissions.allow(actor, need) {
                false => Err(Errno::Access),
                true if place == path => Ok(Judged::There),
                true => Ok(Judged::Missing(place.to_string())),
            };
        }
        place = path::parent(place).ok_or(Errno::NoEntry)?;
    }
}

fn existing<'a>(
    draft: &'a mut Draft<'_>,
    actor: Actor,
    path: &str,
    need: Access,
) -> Result<&'a Node, Errno> {
    match judge(draft, actor, path, need)? {
        Judged::There => draft.node(path)?.ok_or(Errno::NoEntry),
        Judged::Missing(_) => Err(Errno::NoEntry),
    }
}

/// Creates everything between `ancestor` and `path`, which gets the value.
fn create(
    draft: &mut Draft<'_>,
    actor: Actor,
    ancestor: &str,
    path: &str,
    value: &[u8],
) -> Result<(), Errno> {
    let above = draft.node(ancestor)?.ok_or(Errno::NoEntry)?;
    let permissions = above.permissions.inherited_by(actor);
    let mut missing = Vec::new();
    let mut place = Some(path);
    while let Some(path) = place.filter(|path| *path != ancestor) {
        missing.push(path);
        place = path::parent(path);
    }
    for place in missing.into_iter().rev() {
        let value = if place == path {
            value.to_vec()
        } else {
            Vec::new()
        };
        draft.put(
            place,
            Node {
                value,
                permissions: permissions.clone(),
                generation: 0,
            },
        )?;
    }
    draft.touch(ancestor)
}
