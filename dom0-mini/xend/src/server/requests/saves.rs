//! Requests about saving domains.

use super::Outcome;
use super::domains::Go;
use crate::client::AT_ONCE;
use crate::domain::{Goal, Key};
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::job::Job;
use crate::lifecycle::{Ask, State};
use crate::platform;
use crate::refusal::refused;
use crate::save::{Platform, Purpose, Save};
use crate::server::Xend;
use crate::session::Ticket;
use crate::store::snapshots::{LABEL_MAX, Packer};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use hv_abi::control::domain::state as info_state;
use mgmt_proto::messages::{
    DomainRef, ErrorCode, Failure, Reply, SaveCommit, SaveManifest, SaveRead, SaveToStore,
};

fn no_save(save: u32) -> Failure {
    let sentence = format!("there is no save {save} in this session");
    Failure::new(ErrorCode::BAD_REQUEST, sentence)
}

impl<H: Hypervisor> Xend<H> {
    /// The host, as far as snapshots depend on it.
    pub(super) fn platform(&mut self) -> Result<Platform, Failure> {
        let host = self
            .hypervisor
            .host_info()
            .map_err(|errno| refused("tell its facts", errno))?;
        Ok(Platform {
            arch: self.facts.arch.clone(),
            platform: platform::name(&host),
            counter_hz: host.counter_hz,
        })
    }

    pub(super) fn save_begin(&mut self, ticket: Ticket, wanted: &DomainRef) -> Outcome {
        let session = ticket.session;
        let number = match self.client(session) {
            Ok(client) => client.number(),
            Err(failure) => return Some(Err(failure)),
        };
        if self.saves_of(session, None).len() >= AT_ONCE {
            let sentence = format!("a session has at most {AT_ONCE} saves at a time");
            return Some(Err(Failure::new(ErrorCode::BUSY, sentence)));
        }
        let purpose = Purpose::Client {
            session,
            number,
            begin: Some(ticket),
        };
        self.begin_save(wanted, purpose).err().map(Err)
    }

    pub(super) fn save_to_store(&mut self, ticket: Ticket, save: SaveToStore) -> Outcome {
        if let Err(failure) = self.check_label(&save.label) {
            return Some(Err(failure));
        }
        let purpose = Purpose::Store {
            label: save.label,
            ticket,
            packer: Packer::new(),
        };
        self.begin_save(&save.domain, purpose).err().map(Err)
    }

    fn check_label(&self, label: &str) -> Result<(), Failure> {
        let good = !label.is_empty()
            && label.len() <= LABEL_MAX
            && !label.chars().any(|c| c.is_control() || c == '/');
        if !good {
            let sentence = format!("a label has 1 to {LABEL_MAX} bytes and no '/'");
            return Err(Failure::new(ErrorCode::BAD_REQUEST, sentence));
        }
        let being_made = self.table.iter().any(|(_, domain)| {
            matches!(&domain.job, Some(Job::Save(save))
                if matches!(&save.purpose, Purpose::Store { label: other, .. } if other == label))
        });
        if being_made || self.has_snapshot(label) {
            let sentence = format!("there is a snapshot '{label}' already");
            return Err(Failure::new(ErrorCode::NAME_IN_USE, sentence)
                .with_remedy("choose another label, or delete that snapshot"));
        }
        Ok(())
    }

    /// Stops a domain and gives it the job of being saved.
    fn begin_save(
        &mut self,
        wanted: &DomainRef,
        purpose: Purpose<H::Frames>,
    ) -> Result<(), Failure> {
        let host = self.platform()?;
        let (key, domid, go) = self.may(wanted, Ask::Save)?;
        let Go::On(next) = go else {
            return Err(Failure::new(
                ErrorCode::INTERNAL,
                "a save that is under way",
            ));
        };
        let was_paused = self.table.get(key).map(|domain| domain.state) == Some(State::Paused);
        if !was_paused {
            self.hypervisor
                .pause(domid)
                .map_err(|errno| refused("pause the domain", errno))?;
        }
        self.serve_rings(key);
        self.busy_stores.remove(&domid.0);
        self.set_state(key, next);
        let infos = self.infos();
        let stopped = infos
            .iter()
            .find(|info| info.domid == domid)
            .is_none_or(|info| info.state & info_state::SHUTDOWN != 0);
        if stopped {
            self.give_up_save(key, was_paused);
            let sentence = "the domain has just stopped by itself";
            return Err(Failure::new(ErrorCode::WRONG_STATE, sentence));
        }
        self.log_line(&format!("domain {} is saved", domid.0));
        self.hold(key, purpose.session());
        self.begin_job(
            key,
            Job::Save(Box::new(Save::new(purpose, was_paused, host))),
        );
        Ok(())
    }

    /// The domains that are saved for a session, as this number or any.
    fn saves_of(&self, session: SessionId, number: Option<u32>) -> Vec<Key> {
        let all = self.table.iter().filter(|(_, domain)| {
            matches!(&domain.job, Some(Job::Save(save)) if save.belongs_to(session, number))
        });
        all.map(|(key, _)| key).collect()
    }

    fn save_mut(
        &mut self,
        session: SessionId,
        number: u32,
    ) -> Result<(Key, &mut Save<H::Frames>), Failure> {
        let key = self.saves_of(session, Some(number)).first().copied();
        let domain = key.and_then(|key| self.table.get_mut(key));
        match domain.and_then(|domain| domain.job.as_mut()) {
            Some(Job::Save(save)) => Ok((key.unwrap_or(0), save)),
            _ => Err(no_save(number)),
        }
    }

    pub(super) fn save_manifest(
        &mut self,
        session: SessionId,
        wish: &SaveManifest,
    ) -> Result<Reply, Failure> {
        let (_, save) = self.save_mut(session, wish.save)?;
        Ok(save.piece(wish.offset))
    }

    pub(super) fn save_read(&mut self, ticket: Ticket, wish: &SaveRead) -> Outcome {
        let save = self.save_mut(ticket.session, wish.save);
        save.and_then(|(_, save)| save.read(ticket, wish))
            .err()
            .map(Err)
    }

    pub(super) fn save_commit(&mut self, ticket: Ticket, commit: &SaveCommit) -> Outcome {
        let key = match self.save_mut(ticket.session, commit.save) {
            Ok((key, save)) => match save.check_root(&commit.root) {
                Ok(()) => key,
                Err(failure) => return Some(Err(failure)),
            },
            Err(failure) => return Some(Err(failure)),
        };
        if let Some(domain) = self.table.get_mut(key) {
            domain.job = None;
        }
        self.wait_for(key, ticket, Goal::Gone, None);
        self.saved(key, None);
        None
    }

    pub(super) fn save_abort(&mut self, session: SessionId, number: u32) -> Result<Reply, Failure> {
        let (key, _) = self.save_mut(session, number)?;
        let sentence = "the save was given up";
        self.abort_save(key, &Failure::new(ErrorCode::INTERRUPTED, sentence));
        Ok(Reply::Done)
    }

    fn abort_save(&mut self, key: Key, why: &Failure) {
        let job = self.table.get_mut(key).and_then(|domain| domain.job.take());
        if let Some(Job::Save(save)) = job {
            for ticket in save.tickets() {
                self.sessions.answer(ticket, Err(why.clone()));
            }
            self.log_line("a save was given up");
            self.give_up_save(key, save.was_paused);
        }
    }

    /// Ends the saves and restores of a session that is over.
    pub(in crate::server) fn abort_saves_and_restores(
        &mut self,
        session: SessionId,
        number: Option<u32>,
    ) {
        let why = Failure::new(ErrorCode::INTERRUPTED, "its session ended");
        for key in self.saves_of(session, number) {
            self.abort_save(key, &why);
        }
        for key in self.restores_of(session, number) {
            self.destroy_now(key, State::Dying, Some(why.clone()));
        }
    }
}

pub(in crate::server) fn no_snapshot(label: &str) -> Failure {
    let sentence = format!("the store has no snapshot '{label}'");
    Failure::new(ErrorCode::UNKNOWN_SNAPSHOT, sentence).with_remedy("see 'snapshot list'")
}
