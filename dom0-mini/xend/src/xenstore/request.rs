//! The requests of guests, one function each.

use super::Limits;
use super::connection::Connection;
use super::operation;
use super::path;
use super::permission::{Actor, Permissions, parse_domid};
use super::transaction::{Draft, Mutation, Transaction};
use super::tree::Tree;
use super::watch::Watch;
use super::wire::{Errno, Header, Kind, PAYLOAD_MAX, number, string_and_rest, strings, terminated};
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What a successful request leads to.
#[derive(Default)]
pub(super) struct Answer {
    pub payload: Vec<u8>,
    pub mutations: Vec<Mutation>,
    /// A new watch, which is due its first event.
    pub watch: Option<Watch>,
}

impl Answer {
    fn of(payload: Vec<u8>) -> Self {
        Self {
            payload,
            ..Self::default()
        }
    }

    fn ok() -> Self {
        Self::of(b"OK\0".to_vec())
    }
}

/// One request and what it may touch.
pub(super) struct Request<'a> {
    pub tree: &'a mut Tree,
    pub connection: &'a mut Connection,
    /// Every domain with a connection.
    pub introduced: &'a BTreeSet<u16>,
    pub limits: &'a Limits,
    pub header: Header,
    pub payload: &'a [u8],
}

type Result<T> = core::result::Result<T, Errno>;

impl Request<'_> {
    pub(super) fn execute(&mut self) -> Result<Answer> {
        self.check_transaction()?;
        match self.header.kind {
            Kind::DIRECTORY => self.directory(),
            Kind::DIRECTORY_PART => self.directory_part(),
            Kind::READ => self.read(),
            Kind::GET_PERMS => self.get_permissions(),
            Kind::SET_PERMS => self.set_permissions(),
            Kind::WRITE => self.write(),
            Kind::MKDIR => self.change(operation::make),
            Kind::RM => self.change(operation::remove),
            Kind::WATCH => self.watch(),
            Kind::UNWATCH => self.unwatch(),
            Kind::RESET_WATCHES => self.reset_watches(),
            Kind::TRANSACTION_START => self.transaction_start(),
            Kind::TRANSACTION_END => self.transaction_end(),
            Kind::GET_DOMAIN_PATH => self.domain_path(),
            Kind::IS_DOMAIN_INTRODUCED => self.is_introduced(),
            Kind::CONTROL | Kind::INTRODUCE | Kind::RELEASE | Kind::RESUME | Kind::SET_TARGET => {
                Err(Errno::Access)
            }
            _ => Err(Errno::NotSupported),
        }
    }

    fn directory(&mut self) -> Result<Answer> {
        let [said] = strings(self.payload)?;
        let (list, _) = self.list(said)?;
        if list.len() > PAYLOAD_MAX {
            Err(Errno::TooBig)
        } else {
            Ok(Answer::of(list))
        }
    }

    /// The generation, then whole names from the given byte of the list on, then an empty name if that was the last.
    fn directory_part(&mut self) -> Result<Answer> {
        let [said, offset] = strings(self.payload)?;
        let offset: usize = offset.parse().map_err(|_| Errno::Invalid)?;
        let (list, generation) = self.list(said)?;
        let mut payload = number(generation);
        let rest = list.get(offset..).unwrap_or_default();
        let room = PAYLOAD_MAX.saturating_sub(payload.len()).saturating_sub(1);
        if rest.len() <= room {
            payload.extend_from_slice(rest);
            payload.push(0);
        } else {
            let part = rest.get(..room).unwrap_or_default();
            let whole = part
                .iter()
                .rposition(|byte| *byte == 0)
                .map_or(0, |last| last.saturating_add(1));
            payload.extend_from_slice(part.get(..whole).unwrap_or_default());
        }
        Ok(Answer::of(payload))
    }

    /// The names of the children, each ended by a zero byte, and the node's generation.
    fn list(&mut self, said: &str) -> Result<(Vec<u8>, u64)> {
        let identity = self.connection.identity;
        let path = identity.resolve(said)?.path;
        let (listing, _) = self.draft(|draft, actor| operation::list(draft, actor, &path))?;
        let names = listing
            .names
            .iter()
            .flat_map(|name| terminated(&identity.child_name(&path, name)));
        Ok((names.collect(), listing.generation))
    }

    fn read(&mut self) -> Result<Answer> {
        let [said] = strings(self.payload)?;
        let path = self.connection.identity.resolve(said)?.path;
        let (value, _) = self.draft(|draft, actor| operation::read(draft, actor, &path))?;
        Ok(Answer::of(value))
    }

    fn get_permissions(&mut self) -> Result<Answer> {
        let [said] = strings(self.payload)?;
        let identity = self.connection.identity;
        let path = identity.resolve_watchable(said)?.path;
        let (permissions, _) =
            self.draft(|draft, actor| operation::permissions(draft, actor, &path))?;
        let entries = permissions.entries(|domid| identity.exchange(domid));
        Ok(Answer::of(
            entries.iter().flat_map(|entry| terminated(entry)).collect(),
        ))
    }

    fn set_permissions(&mut self) -> Result<Answer> {
        let (said, entries) = string_and_rest(self.payload)?;
        let identity = self.connection.identity;
        let path = identity.resolve_watchable(said)?.path;
        let entries = core::str::from_utf8(entries).map_err(|_| Errno::Invalid)?;
        let entries = entries
            .strip_suffix('\0')
            .ok_or(Errno::Invalid)?
            .split('\0');
        let permissions = Permissions::parse(entries, |domid| identity.exchange(domid))?;
        self.apply(|draft, actor| operation::set_permissions(draft, actor, &path, permissions))
    }

    fn write(&mut self) -> Result<Answer> {
        let (said, value) = string_and_rest(self.payload)?;
        let path = self.connection.identity.resolve(said)?.path;
        self.apply(|draft, actor| operation::write(draft, actor, &path, value))
    }

    /// A change whose payload is nothing but the path.
    fn change(
        &mut self,
        operation: fn(&mut Draft<'_>, Actor, &str) -> Result<()>,
    ) -> Result<Answer> {
        let [said] = strings(self.payload)?;
        let path = self.connection.identity.resolve(said)?.path;
        self.apply(|draft, actor| operation(draft, actor, &path))
    }

    fn watch(&mut self) -> Result<Answer> {
        let [said, token] = strings(self.payload)?;
        let target = self.connection.identity.resolve_watchable(said)?;
        let watch = Watch {
            said: said.to_string(),
            token: token.to_string(),
            target,
        };
        self.connection.watches.add(watch.clone(), self.limits)?;
        Ok(Answer {
            watch: Some(watch),
            ..Answer::ok()
        })
    }

    fn unwatch(&mut self) -> Result<Answer> {
        let [said, token] = strings(self.payload)?;
        let target = self.connection.identity.resolve_watchable(said)?;
        self.connection.watches.remove(&target.path, token)?;
        Ok(Answer::ok())
    }

    fn reset_watches(&mut self) -> Result<Answer> {
        self.connection.reset();
        Ok(Answer::ok())
    }

    fn transaction_start(&mut self) -> Result<Answer> {
        let id = self.connection.begin(self.limits)?;
        Ok(Answer::of(number(u64::from(id))))
    }

    fn transaction_end(&mut self) -> Result<Answer> {
        let commit = match strings(self.payload)? {
            ["T"] => true,
            ["F"] => false,
            _ => return Err(Errno::Invalid),
        };
        let transaction = self
            .connection
            .transactions
            .remove(&self.header.transaction)
            .ok_or(Errno::NoEntry)?;
        if !commit {
            return Ok(Answer::ok());
        }
        let mutations = transaction.commit(self.tree, self.actor(), self.limits)?;
        Ok(Answer {
            mutations,
            ..Answer::ok()
        })
    }

    fn domain_path(&mut self) -> Result<Answer> {
        let [domid] = strings(self.payload)?;
        let home: String = path::home(parse_domid(domid)?);
        Ok(Answer::of(terminated(&home)))
    }

    fn is_introduced(&mut self) -> Result<Answer> {
        let [domid] = strings(self.payload)?;
        let domid = self.connection.identity.exchange(parse_domid(domid)?);
        let known = domid == Actor::DOMAIN_0.0 || self.introduced.contains(&domid);
        Ok(Answer::of(terminated(if known { "T" } else { "F" })))
    }

    fn check_transaction(&self) -> Result<()> {
        let Header {
            kind, transaction, ..
        } = self.header;
        match transaction {
            0 => Ok(()),
            _ if kind == Kind::TRANSACTION_START => Err(Errno::Busy),
            id if self.connection.transactions.contains_key(&id) => Ok(()),
            _ => Err(Errno::NoEntry),
        }
    }

    fn actor(&self) -> Actor {
        Actor(self.connection.identity.host)
    }

    fn apply(
        &mut self,
        operation: impl FnOnce(&mut Draft<'_>, Actor) -> Result<()>,
    ) -> Result<Answer> {
        let ((), mutations) = self.draft(operation)?;
        Ok(Answer {
            mutations,
            ..Answer::ok()
        })
    }

    /// Runs `operation` in the request's transaction, or in one of its own that is committed at once.
    fn draft<T>(
        &mut self,
        operation: impl FnOnce(&mut Draft<'_>, Actor) -> Result<T>,
    ) -> Result<(T, Vec<Mutation>)> {
        let actor = self.actor();
        let held = self.connection.transaction_bytes();
        let Some(transaction) = self
            .connection
            .transactions
            .get_mut(&self.header.transaction)
        else {
            return at_once(self.tree, actor, self.limits, |draft| {
                operation(draft, actor)
            });
        };
        let by_others = held.saturating_sub(transaction.bytes());
        let budget = self.limits.transaction_bytes.saturating_sub(by_others);
        let result = operation(&mut Draft::new(self.tree, transaction, budget), actor);
        if matches!(result, Err(Errno::NoSpace)) {
            transaction.fail();
        }
        result.map(|value| (value, Vec::new()))
    }
}

/// Runs `operation` in a transaction of its own and commits it.
pub(super) fn at_once<T>(
    tree: &mut Tree,
    actor: Actor,
    limits: &Limits,
    operation: impl FnOnce(&mut Draft<'_>) -> Result<T>,
) -> Result<(T, Vec<Mutation>)> {
    let mut transaction = Transaction::default();
    let value = operation(&mut Draft::new(tree, &mut transaction, usize::MAX))?;
    Ok((value, transaction.commit(tree, actor, limits)?))
}
