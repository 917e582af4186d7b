//! Another name for a domain: one that runs, one that is defined, or both at once.
//!
//! A definition gets its name in the store first, in one change with its record; a domain that runs by it follows then, and
//! runs on. The text stays as its author wrote it, but for the name.

use super::Outcome;
use super::create::read_config;
use super::managed::broken;
use crate::domain::Key;
use crate::hypervisor::Hypervisor;
use crate::lifecycle::Ask;
use crate::managed::{self, Definition, Record};
use crate::server::Xend;
use crate::server::store::What;
use crate::session::Ticket;
use crate::store::files::Wish;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mgmt_proto::config::{ConfigFile, check_name};
use mgmt_proto::messages::{DomainRef, ErrorCode, Failure, Rename, Reply};

impl<H: Hypervisor> Xend<H> {
    pub(super) fn give_name(&mut self, ticket: Ticket, rename: &Rename) -> Outcome {
        self.try_rename(ticket, rename)
            .unwrap_or_else(|failure| Some(Err(failure)))
    }

    fn try_rename(&mut self, ticket: Ticket, rename: &Rename) -> Result<Outcome, Failure> {
        let (name, key) = self.to_rename(&rename.domain)?;
        let to = &rename.name;
        check_name(to).map_err(|reason| Failure::new(ErrorCode::BAD_REQUEST, reason))?;
        if name == *to {
            return Ok(Some(Ok(Reply::Done)));
        }
        self.table.admits_name(to)?;
        self.admits_change(to, None)?;
        match key {
            _ if self.managed.get(&name).is_some() => self.rename_definition(ticket, &name, to),
            Some(key) => self.rename_running(key, to).map(|()| Some(Ok(Reply::Done))),
            None => Err(Failure::new(
                ErrorCode::INTERNAL,
                "a domain without an entry",
            )),
        }
    }

    /// The domain that is meant: its name, and its key unless it is off.
    fn to_rename(&self, wanted: &DomainRef) -> Result<(String, Option<Key>), Failure> {
        if let DomainRef::Name(name) = wanted
            && self.table.find(wanted).is_err()
            && self.managed.get(name).is_some()
        {
            return Ok((name.clone(), None));
        }
        let (key, _, _) = self.may(wanted, Ask::Rename)?;
        let domain = self.table.get(key);
        let name = domain.map(|domain| domain.name.clone()).unwrap_or_default();
        Ok((name, Some(key)))
    }

    /// Renames a domain without a definition of its name. The name of a definition is free for the domain it defines.
    fn rename_running(&mut self, key: Key, to: &str) -> Result<(), Failure> {
        let uuid = self.table.get(key).map(|domain| domain.uuid);
        match self.managed.get(to) {
            Some(other) if Some(other.record.uuid) != uuid => Err(is_another_one(to)),
            _ => {
                self.rename(key, to);
                Ok(())
            }
        }
    }

    fn rename_definition(
        &mut self,
        ticket: Ticket,
        from: &str,
        to: &str,
    ) -> Result<Outcome, Failure> {
        if self.managed.get(to).is_some() {
            return Err(is_another_one(to));
        }
        let by = self.sessions.client_name(ticket.session);
        let definition = self.defined(from)?;
        let uuid = definition.record.uuid;
        self.admits_change(from, Some(uuid))?;
        let reason = definition.config.as_ref().err();
        if let Some(reason) = reason {
            return Err(broken(from, reason));
        }
        let text = named(&definition.text, to)?;
        let files = definition.record.files.clone();
        let totals = definition.record.totals;
        let path = managed::path_like(&definition.path, to);
        let mut changes = definition.removal(from);
        let (_, config, _) = read_config(&path, &text, &self.settings.policies)?;
        let new = Definition {
            path,
            text,
            record: Record::new(uuid, files, by, self.now.wall_ns).with_totals(totals),
            config: Ok(config),
        };
        changes.extend(new.changes(to));
        let wish = Wish::Change {
            changes,
            blobs: Vec::new(),
        };
        let what = What::Renamed {
            from: from.into(),
            to: to.into(),
            definition: Box::new(new),
        };
        Ok(self.change(ticket, (&[from, to], uuid), wish, (Reply::Done, what)))
    }

    /// A definition has another name in the store: now it has it here, too, and so has the domain that runs by it.
    pub(in crate::server) fn renamed(&mut self, from: &str, to: String, definition: Definition) {
        self.managed.remove(from);
        self.autostart.rename(from, &to);
        self.table.rename_grave(from, &to);
        if let Ok(key) = self.table.find(&DomainRef::Name(from.into())) {
            self.rename(key, &to);
        }
        self.managed.insert(to, definition);
    }
}

/// The text of a configuration, with another name.
fn named(text: &str, name: &str) -> Result<String, Failure> {
    // Not under its own name: what that implies is no part of the text.
    let file = ConfigFile::parse("", text)
        .map_err(|error| Failure::new(ErrorCode::BAD_CONFIG, error.to_string()))?;
    Ok(file.with_string("name", name))
}

fn is_another_one(name: &str) -> Failure {
    let sentence = format!("domain '{name}' is defined, and is another one");
    Failure::new(ErrorCode::NAME_IN_USE, sentence).with_remedy("choose another name")
}
