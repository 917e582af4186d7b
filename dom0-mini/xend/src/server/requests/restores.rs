//! Requests about restoring domains.

use super::Outcome;
use super::saves::no_snapshot;
use crate::client::AT_ONCE;
use crate::domain::{Goal, Key, Plan};
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::job::Job;
use crate::lifecycle::State;
use crate::restore::{Incoming, Origin, Restore, check};
use crate::server::Xend;
use crate::server::loads::Again;
use crate::session::Ticket;
use crate::store::content::Content;
use crate::store::snapshots::Snapshot;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mgmt_proto::config::{DomainConfig, ImageSource, check_name};
use mgmt_proto::messages::{
    ErrorCode, Failure, Reply, RequestBody, RestoreBegin, RestoreCommit, RestoreFromStore,
    RestoreManifest, RestorePut, RestoreStarted,
};
use mgmt_proto::snapshot::{KERNEL, MAX_MANIFEST, Manifest, RAMDISK};

fn no_restore(number: u32) -> Failure {
    let sentence = format!("there is no restore {number} in this session");
    Failure::new(ErrorCode::BAD_REQUEST, sentence)
}

/// What the operator wants of a restored domain.
struct Wishes {
    paused: bool,
    name: Option<String>,
}

impl<H: Hypervisor> Xend<H> {
    pub(super) fn restore_begin(
        &mut self,
        session: SessionId,
        begin: RestoreBegin,
    ) -> Result<Reply, Failure> {
        let length = usize::try_from(begin.manifest_length).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_MANIFEST {
            let sentence = format!("a manifest has at most {MAX_MANIFEST} bytes");
            return Err(Failure::new(ErrorCode::BAD_SNAPSHOT, sentence));
        }
        let busy = self.restores_of(session, None).len();
        let client = self.client(session)?;
        if client.incoming.len().saturating_add(busy) >= AT_ONCE {
            let sentence = format!("a session has at most {AT_ONCE} restores at a time");
            return Err(Failure::new(ErrorCode::BUSY, sentence));
        }
        let number = client.number();
        client.incoming.push_back(Incoming {
            number,
            length,
            bytes: Vec::new(),
            paused: begin.paused,
            name: begin.name,
        });
        Ok(Reply::RestoreStarted(RestoreStarted { restore: number }))
    }

    pub(super) fn restore_manifest(&mut self, ticket: Ticket, piece: &RestoreManifest) -> Outcome {
        match self.take_piece(ticket.session, piece) {
            Ok(None) => Some(Ok(Reply::Done)),
            Ok(Some(incoming)) => self.received(ticket, incoming).err().map(Err),
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Adds a piece; the whole manifest if it was the last one.
    fn take_piece(
        &mut self,
        session: SessionId,
        piece: &RestoreManifest,
    ) -> Result<Option<Incoming>, Failure> {
        let client = self.client(session)?;
        let place = client
            .incoming
            .iter()
            .position(|incoming| incoming.number == piece.restore)
            .ok_or_else(|| no_restore(piece.restore))?;
        let Some(incoming) = client.incoming.get_mut(place) else {
            return Err(no_restore(piece.restore));
        };
        let offset = usize::try_from(piece.offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(piece.bytes.len());
        if offset != incoming.bytes.len() || end > incoming.length || piece.bytes.is_empty() {
            let sentence = "the piece of the manifest is not the next one";
            return Err(Failure::new(ErrorCode::BAD_REQUEST, sentence));
        }
        incoming.bytes.extend_from_slice(&piece.bytes);
        if end < incoming.length {
            return Ok(None);
        }
        Ok(client.incoming.remove(place))
    }

    fn received(&mut self, ticket: Ticket, incoming: Incoming) -> Result<(), Failure> {
        let origin = Origin::Client {
            session: ticket.session,
            number: incoming.number,
            begin: Some(ticket),
        };
        let wishes = Wishes {
            paused: incoming.paused,
            name: incoming.name,
        };
        let key = self.begin_restore(origin, &incoming.bytes, wishes)?;
        self.hold(key, ticket.session);
        Ok(())
    }

    pub(super) fn restore_from_store(
        &mut self,
        ticket: Ticket,
        restore: RestoreFromStore,
    ) -> Outcome {
        let Some(record) = self.snapshot(&restore.label) else {
            return Some(Err(no_snapshot(&restore.label)));
        };
        let Some(blob) = self.blobs.find(&record.blob) else {
            let again = Again::Request(ticket, RequestBody::RestoreFromStore(restore));
            self.load([record.blob].into(), again);
            return None;
        };
        let wishes = Wishes {
            paused: restore.paused,
            name: restore.name,
        };
        match self.begin_restore_of(Snapshot::new(blob, record.manifest_length), wishes) {
            Ok(key) => {
                self.hold(key, ticket.session);
                self.wait_for(key, ticket, Goal::Created(self.lost_images(key)), None);
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    fn begin_restore_of(
        &mut self,
        snapshot: Snapshot<H::Frames>,
        wishes: Wishes,
    ) -> Result<Key, Failure> {
        let manifest = snapshot.manifest().ok_or_else(|| {
            let sentence = "the snapshot has no manifest";
            Failure::new(ErrorCode::BAD_SNAPSHOT, sentence)
        })?;
        self.begin_restore(Origin::Store(snapshot), &manifest, wishes)
    }

    /// What to warn of about a restored domain: it runs, but a reboot builds it anew.
    fn lost_images(&self, key: Key) -> Vec<String> {
        let Some(domain) = self.table.get(key) else {
            return Vec::new();
        };
        let images = [
            (KERNEL, Some(&domain.plan.kernel)),
            (RAMDISK, domain.plan.ramdisk.as_ref()),
        ];
        let lost = images.into_iter().filter_map(|(what, content)| match content {
            Some(lost @ Content::Lost { name, .. }) if !self.is_at_hand(lost) => Some(format!(
                "its {what} '{name}' is not on this host: the domain runs, but a reboot will end it"
            )),
            _ => None,
        });
        lost.collect()
    }

    /// Checks a manifest and gives a new domain the job of being restored.
    fn begin_restore(
        &mut self,
        origin: Origin<H::Frames>,
        bytes: &[u8],
        wishes: Wishes,
    ) -> Result<Key, Failure> {
        let manifest = Manifest::decode(bytes)
            .map_err(|error| Failure::new(ErrorCode::BAD_SNAPSHOT, format!("{error}")))?;
        let host = self.platform()?;
        let config = check(&manifest, &host, &self.settings.policies)?;
        let name = wishes.name.unwrap_or_else(|| manifest.name.clone());
        check_name(&name).map_err(|reason| Failure::new(ErrorCode::BAD_REQUEST, reason))?;
        // Under another name it may run beside the one it was saved from.
        let is_taken = |uuid| self.table.has_uuid(uuid) || self.managed.by_uuid(uuid).is_some();
        let copy = name != manifest.name && is_taken(&manifest.uuid);
        let uuid = if copy {
            self.random_uuid()
        } else {
            manifest.uuid
        };
        self.admits_restored(&name, &uuid)?;
        self.table.admits(&name, Some(uuid))?;
        let memory_kib = config.memory_mib.saturating_mul(1024);
        let plan = Rc::new(self.plan_from(&manifest, config));
        let mut domain = self.new_domain(name, uuid, memory_kib, plan, State::Restoring);
        domain.start_paused = wishes.paused;
        domain.guest_domid = manifest.guest_domid;
        let key = self.table.add(domain);
        self.begin_job(
            key,
            Job::Restore(Box::new(Restore::new(origin, manifest, bytes))),
        );
        Ok(key)
    }

    /// What a restored domain is built from when it reboots.
    fn plan_from(&mut self, manifest: &Manifest, config: DomainConfig) -> Plan<H::Frames> {
        let mut find = |name: &str, source: &ImageSource| {
            let lost = Content::Lost {
                name: source.to_string(),
                id: manifest.image(name),
            };
            match source {
                ImageSource::Boot(name) => self
                    .hypervisor
                    .bundle_file(name)
                    .map_or(lost, Content::Bundle),
                _ => lost.found(&mut self.blobs),
            }
        };
        Plan {
            kernel: find(KERNEL, &config.kernel),
            ramdisk: config.ramdisk.as_ref().map(|source| find(RAMDISK, source)),
            text: manifest.config.clone(),
            config,
        }
    }

    /// The domains that are restored for a session, as this number or any.
    pub(super) fn restores_of(&self, session: SessionId, number: Option<u32>) -> Vec<Key> {
        let all = self.table.iter().filter(|(_, domain)| {
            matches!(&domain.job, Some(Job::Restore(restore)) if restore.belongs_to(session, number))
        });
        all.map(|(key, _)| key).collect()
    }

    pub(super) fn restore_put(
        &mut self,
        session: SessionId,
        put: &RestorePut,
    ) -> Result<Reply, Failure> {
        let key = self
            .restores_of(session, Some(put.restore))
            .first()
            .copied();
        let Some(domain) = key.and_then(|key| self.table.get_mut(key)) else {
            return Err(no_restore(put.restore));
        };
        match (&mut domain.job, domain.domid) {
            (Some(Job::Restore(restore)), Some(domid)) => restore
                .put(&mut self.hypervisor, domid, put.index, &put.chunk)
                .map(|()| Reply::Done),
            _ => Err(no_restore(put.restore)),
        }
    }

    pub(super) fn restore_commit(&mut self, ticket: Ticket, commit: &RestoreCommit) -> Outcome {
        let found = self.restores_of(ticket.session, Some(commit.restore));
        let key = found.first().copied().unwrap_or(0);
        let domain = self.table.get_mut(key);
        let result = match domain.and_then(|domain| domain.job.as_mut()) {
            Some(Job::Restore(restore)) => restore.commit(&commit.root),
            _ => Err(no_restore(commit.restore)),
        };
        match result {
            Ok(()) => {
                self.wait_for(key, ticket, Goal::Created(self.lost_images(key)), None);
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    pub(super) fn restore_abort(
        &mut self,
        session: SessionId,
        number: u32,
    ) -> Result<Reply, Failure> {
        let client = self.client(session)?;
        let before = client.incoming.len();
        client.incoming.retain(|incoming| incoming.number != number);
        let was_incoming = client.incoming.len() < before;
        let keys = self.restores_of(session, Some(number));
        if keys.is_empty() && !was_incoming {
            return Err(no_restore(number));
        }
        let why = Failure::new(ErrorCode::INTERRUPTED, "the restore was given up");
        for key in keys {
            self.destroy_now(key, State::Dying, Some(why.clone()));
        }
        Ok(Reply::Done)
    }
}
