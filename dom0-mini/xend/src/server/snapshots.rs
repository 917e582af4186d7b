//! Snapshots in the store: how a save becomes one, and what there is.

use super::Xend;
use super::requests::saves::no_snapshot;
use super::store::{Then, What};
use crate::domain::{Goal, Key, Waiter};
use crate::hypervisor::Hypervisor;
use crate::lifecycle::State;
use crate::save::{Purpose, Save};
use crate::session::Ticket;
use crate::store::content::Content;
use crate::store::files::Wish;
use crate::store::snapshots::{FOLDER, Record};
use crate::store::volume::Change;
use crate::versioned::Version;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use mgmt_proto::messages::{Failure, Reply, Saved};

impl<H: Hypervisor> Xend<H> {
    /// The snapshot of this label.
    pub(super) fn snapshot(&self, label: &str) -> Option<Record> {
        self.files.get(&path(label)).and_then(Record::read)
    }

    /// Whether there is one, or soon will be.
    pub(super) fn has_snapshot(&self, label: &str) -> bool {
        self.files.is_taken(&path(label))
    }

    pub(super) fn snapshot_list(&self) -> Reply {
        let files = self.files.under(FOLDER);
        let all = files.filter_map(|(label, file)| Some(Record::read(file)?.summary(label)));
        Reply::Snapshots(all.collect())
    }

    /// A domain is read to its end: what was read is to be kept. The domain stands still until it is.
    pub(super) fn keep_snapshot(&mut self, key: Key, save: Save<H::Frames>) {
        let (was_paused, memory_kib) = (save.was_paused, save.memory_kib());
        let manifest_length = u32::try_from(save.manifest.len()).unwrap_or(u32::MAX);
        let Purpose::Store {
            label,
            ticket,
            packer,
        } = save.purpose
        else {
            return;
        };
        let Some(domain) = self.table.get(key) else {
            return;
        };
        let blob = self.blobs.add(packer.finish());
        let record = Record {
            version: Version,
            domain: domain.name.clone(),
            uuid: domain.uuid,
            saved_ns: self.now.wall_ns,
            memory_kib,
            stored_kib: blob.stored_kib(),
            manifest_length,
            blob: blob.id(),
        };
        let images = domain.plan.images().filter(|image| self.is_at_hand(image));
        let images: Vec<Content<H::Frames>> = images.cloned().collect();
        let file = record.file(images.iter().filter_map(Content::id));
        let mut blobs = vec![blob];
        blobs.extend(images.iter().filter_map(Content::blob).map(Rc::clone));
        let path = path(&label);
        let changes = vec![Change::Put { path, file }];
        let saved = Saved {
            label: label.clone(),
            memory_kib,
            stored_kib: record.stored_kib,
        };
        let then = Then {
            ticket,
            reply: Reply::Saved(saved),
            what: What::Snapshot {
                key,
                was_paused,
                label,
            },
        };
        if let Err(failure) = self.order(Wish::Change { changes, blobs }, then) {
            self.snapshot_is_not_kept(key, was_paused);
            self.sessions.answer(ticket, Err(failure));
        }
    }

    /// The domain can go, if nobody has destroyed it meanwhile; who asked hears of it then.
    pub(super) fn snapshot_is_kept(&mut self, key: Key, label: &str, ticket: Ticket, reply: Reply) {
        let saving = |state| state == State::Saving;
        let domain = self.table.get_mut(key);
        match (domain.filter(|domain| saving(domain.state)), reply) {
            (Some(domain), Reply::Saved(saved)) => {
                domain.waiters.push(Waiter {
                    ticket,
                    goal: Goal::Saved(saved),
                    deadline_ns: None,
                });
                self.saved(key, Some(format!("as store:{label}")));
            }
            (_, reply) => self.sessions.answer(ticket, Ok(reply)),
        }
    }

    /// The domain goes on.
    pub(super) fn snapshot_is_not_kept(&mut self, key: Key, was_paused: bool) {
        let domain = self.table.get(key);
        if domain.is_some_and(|domain| domain.state == State::Saving) {
            self.give_up_save(key, was_paused);
        }
    }

    pub(super) fn snapshot_delete(
        &mut self,
        ticket: Ticket,
        label: String,
    ) -> Option<Result<Reply, Failure>> {
        let missing = no_snapshot(&label);
        self.remove_file(ticket, path(&label), missing, What::NoSnapshot(label))
    }
}

fn path(label: &str) -> String {
    format!("{FOLDER}{label}")
}
