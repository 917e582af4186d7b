//! Domains come to life, stop and go: every change of a domain's state is made here.

use super::Xend;
use super::loads::Again;
use crate::build::job::Build;
use crate::build::layout::lay_out;
use crate::console::Console;
use crate::domain::{After, Domain, Goal, Key, Plan, Waiter};
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::job::{Destroy, Done, Job, Step, Workshop};
use crate::lifecycle::{Happening, State, follow};
use crate::logbook::Level;
use crate::managed::totals;
use crate::nodes;
use crate::policy::{Brake, Stop};
use crate::scrollback::Scrollback;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::DomId;
use hv_abi::control::domain::{DomainInfo, state as info_state};
use mgmt_proto::blob::BlobId;
use mgmt_proto::messages::{Created, ErrorCode, EventKind, Failure, Reply};

/// Progress is told no oftener than this, in nanoseconds.
pub(super) const REPORT_NS: u64 = 100_000_000;

impl<H: Hypervisor> Xend<H> {
    /// Notes an event of a domain, and in the log.
    pub(super) fn note(&mut self, key: Key, kind: EventKind, detail: Option<String>) {
        let Some(domain) = self.table.get(key) else {
            return;
        };
        let domid = domain.domid.map_or(0, |domid| domid.0);
        let name = domain.name.clone();
        let more = detail
            .as_ref()
            .map_or_else(String::new, |detail| format!(": {detail}"));
        self.log_line(&format!("domain {domid} '{name}' {}{more}", kind.name()));
        self.events
            .note(self.now.mono_ns, domid, &name, kind, detail);
    }

    /// Moves a domain's state along; `false`: that cannot happen in its state.
    pub(super) fn happen(&mut self, key: Key, happening: Happening) -> bool {
        let Some(domain) = self.table.get_mut(key) else {
            return false;
        };
        match follow(domain.state, happening) {
            Some(next) => {
                domain.state = next;
                true
            }
            None => {
                log::error!("{happening:?} of '{}', which {}", domain.name, domain.state);
                false
            }
        }
    }

    /// Notes for whom something is done with a domain.
    pub(super) fn hold(&mut self, key: Key, session: SessionId) {
        let client = self.sessions.client_name(session);
        if let Some(domain) = self.table.get_mut(key) {
            domain.holder = Some(client);
        }
    }

    /// Gives a domain a job, which must have none.
    pub(super) fn begin_job(&mut self, key: Key, job: Job<H>) {
        if let Some(domain) = self.table.get_mut(key) {
            domain.job = Some(job);
            if !self.jobs.contains(&key) {
                self.jobs.push_back(key);
            }
        }
    }

    /// Advances one job that can be advanced; `false`: there is none.
    pub(super) fn step_a_job(&mut self) -> bool {
        let is_ready = |key: &Key| {
            let domain = self.table.get(*key);
            let job = domain.and_then(|domain| domain.job.as_ref());
            job.is_some_and(|job| job.is_ready(&self.sessions))
        };
        let Some(place) = self.jobs.iter().position(is_ready) else {
            return false;
        };
        if let Some(key) = self.jobs.remove(place) {
            self.step_job_of(key);
        }
        true
    }

    fn step_job_of(&mut self, key: Key) {
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        let Some(mut job) = domain.job.take() else {
            return;
        };
        let mut shop = Workshop {
            hypervisor: &mut self.hypervisor,
            xenstore: &mut self.xenstore,
            sessions: &mut self.sessions,
            now: self.now,
        };
        match job.step(&mut shop, domain) {
            Ok(Step::More { done, total, what }) => {
                self.report(key, &job, done, total, what);
                self.begin_job(key, job);
            }
            Ok(Step::Wait) => self.begin_job(key, job),
            Ok(Step::Done(done)) => self.job_done(key, job, &done),
            Err(failure) => self.job_failed(key, job, failure),
        }
    }

    /// Tells who waits how far a job has come.
    fn report(&mut self, key: Key, job: &Job<H>, done: u64, total: u64, what: &str) {
        let since = self.now.mono_ns.saturating_sub(self.reported_ns);
        if total == 0 || since < REPORT_NS {
            return;
        }
        self.reported_ns = self.now.mono_ns;
        let domain = self.table.get(key);
        let waiters = domain
            .map(|domain| domain.waiters.as_slice())
            .unwrap_or_default();
        let created = waiters
            .iter()
            .filter(|waiter| matches!(waiter.goal, Goal::Created(_)));
        let mut tickets: Vec<_> = created.map(|waiter| waiter.ticket).collect();
        if let Job::Save(save) = job {
            tickets.extend(save.tickets());
        }
        for ticket in tickets {
            self.sessions.progress(ticket, done, total, what);
        }
    }

    fn job_done(&mut self, key: Key, job: Job<H>, done: &Done) {
        match (job, done) {
            (Job::Build(_), Done::Ready) => self.start(key, EventKind::CREATED),
            (Job::Restore(_), Done::Ready) => self.start(key, EventKind::RESTORED),
            (Job::Save(save), Done::Stored) => self.keep_snapshot(key, *save),
            (_, Done::Gone) => self.gone(key),
            (_, Done::Ready | Done::Stored) => log::error!("a job ended as another one"),
        }
    }

    pub(super) fn job_failed(&mut self, key: Key, job: Job<H>, failure: Failure) {
        self.log_at(Level::Error, &format!("failed: {failure}"));
        match job {
            Job::Save(save) => {
                for ticket in save.tickets() {
                    self.sessions.answer(ticket, Err(failure.clone()));
                }
                self.give_up_save(key, save.was_paused);
            }
            Job::Restore(restore) => {
                if let (Some(ticket), Some(domain)) = (restore.ticket(), self.table.get_mut(key)) {
                    domain.waiters.push(Waiter {
                        ticket,
                        goal: Goal::Created(Vec::new()),
                        deadline_ns: None,
                    });
                }
                self.fail(key, failure);
            }
            Job::Build(_) | Job::Destroy(_) => self.fail(key, failure),
        }
    }

    fn fail(&mut self, key: Key, failure: Failure) {
        if self.happen(key, Happening::Failed) {
            self.note(key, EventKind::DESTROYED, Some(failure.message.clone()));
            self.take_apart(key, After::Remove(Some(failure)));
        }
    }

    /// Lets a built or restored domain run.
    fn start(&mut self, key: Key, kind: EventKind) {
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        domain.started_ns = self.now.mono_ns;
        domain.holder = None;
        let (paused, domid) = (domain.start_paused, domain.domid);
        domain.start_paused = false;
        let started = match domid {
            Some(domid) if !paused => self.hypervisor.unpause(domid),
            _ => Ok(()),
        };
        if let Err(errno) = started {
            return self.fail(key, crate::refusal::refused("start the domain", errno));
        }
        let happening = if paused {
            Happening::ReadyPaused
        } else {
            Happening::Ready
        };
        self.happen(key, happening);
        self.note(key, kind, None);
        self.answer_waiters(key, |domain, goal| match goal {
            Goal::Created(warnings) => Some(Ok(created(domain, warnings))),
            Goal::Stopped => Some(Ok(Reply::Done)),
            Goal::Gone | Goal::Saved(_) => None,
        });
        self.serve_rings(key);
    }

    /// Answers those waiters of a domain that `answer` has an answer for.
    pub(super) fn answer_waiters(
        &mut self,
        key: Key,
        answer: impl Fn(&Domain<H>, &Goal) -> Option<Result<Reply, Failure>>,
    ) {
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        let waiters = core::mem::take(&mut domain.waiters);
        for waiter in waiters {
            match answer(domain, &waiter.goal) {
                Some(result) => self.sessions.answer(waiter.ticket, result),
                None => domain.waiters.push(waiter),
            }
        }
    }

    /// Begins to take a domain apart; its state is [`State::Dying`] already.
    pub(super) fn take_apart(&mut self, key: Key, after: After) {
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        domain.after = after;
        let (domid, uuid) = (domain.domid, domain.uuid);
        if let Some(backend) = domain.backend.take() {
            backend.serve_console(&mut self.hypervisor, &mut domain.console);
            if let Some(domid) = domain.domid {
                self.busy_stores.remove(&domid.0);
            }
            backend.detach(&mut self.hypervisor, &mut self.xenstore);
        }
        if let Some(domid) = domid {
            self.count_run(domid, uuid);
        }
        self.begin_job(key, Job::Destroy(Destroy::default()));
    }

    /// A run is over: what it used counts for its definition, if it has one.
    fn count_run(&mut self, domid: DomId, uuid: [u8; 16]) {
        let mut info = [DomainInfo::default()];
        let found = self.hypervisor.list(domid, &mut info);
        let [info] = info;
        if found == Ok(1)
            && info.domid == domid
            && let Some(run) = totals::of_run(&info, self.now.mono_ns)
        {
            self.managed.add(uuid, &run);
            self.keep_totals();
        }
    }

    /// A domain is gone: forget it, or build it again.
    pub(super) fn gone(&mut self, key: Key) {
        let Some(domain) = self.table.get(key) else {
            return;
        };
        match domain.after.clone() {
            After::Remove(failure) => self.forget(key, failure),
            After::Rebuild => self.rebuild(key),
            After::RebuildAt(at_ns) => self.back_off(key, at_ns),
        }
    }

    fn forget(&mut self, key: Key, failure: Option<Failure>) {
        let Some((name, waiters)) = self.table.remove(key) else {
            return;
        };
        let cut = || {
            let sentence = format!("domain '{name}' was destroyed meanwhile");
            Failure::new(ErrorCode::INTERRUPTED, sentence)
        };
        for waiter in waiters {
            let result = match waiter.goal {
                Goal::Created(_) => Err(failure.clone().unwrap_or_else(cut)),
                Goal::Stopped => failure.clone().map_or(Ok(Reply::Done), Err),
                Goal::Gone => Ok(Reply::Done),
                Goal::Saved(saved) => Ok(Reply::Saved(saved)),
            };
            self.sessions.answer(waiter.ticket, result);
        }
    }

    pub(super) fn rebuild(&mut self, key: Key) {
        let architecture = self.architecture();
        let wanted = self.missing_images(key);
        if !wanted.is_empty() {
            return self.load(wanted, Again::Rebuild(key));
        }
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        match lay_out(architecture, &domain.plan) {
            Ok(layout) => {
                if self.happen(key, Happening::Rebuild) {
                    self.begin_job(key, Job::Build(Build::new(layout)));
                }
            }
            Err(failure) => self.not_built_again(key, failure),
        }
    }

    /// What a domain is built from cannot be had: it is gone.
    pub(super) fn not_built_again(&mut self, key: Key, failure: Failure) {
        let domain = self.table.get(key);
        let name = domain.map_or("", |domain| domain.name.as_str());
        let line = format!("domain '{name}' is not built again: {failure}");
        self.log_at(Level::Error, &line);
        self.forget(key, Some(failure));
    }

    /// What a domain is built from of blobs that are on the disk only. The others are found in memory again.
    fn missing_images(&mut self, key: Key) -> Vec<BlobId> {
        let Some(domain) = self.table.get_mut(key) else {
            return Vec::new();
        };
        let plan = domain.plan.found(&mut self.blobs);
        let ids = plan.missing();
        domain.plan = Rc::new(plan);
        ids.into_iter().filter(|id| self.is_on_disk(id)).collect()
    }

    /// A domain is saved: it goes.
    pub(super) fn saved(&mut self, key: Key, detail: Option<String>) {
        if self.happen(key, Happening::Saved) {
            self.note(key, EventKind::SAVED, detail);
            self.take_apart(key, After::Remove(None));
        }
    }

    /// A save is given up: the domain goes on as it was.
    pub(super) fn give_up_save(&mut self, key: Key, was_paused: bool) {
        let happening = if was_paused {
            Happening::SaveGivenUpPaused
        } else {
            Happening::SaveGivenUp
        };
        if !self.happen(key, happening) {
            return;
        }
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        domain.holder = None;
        let Some(domid) = domain.domid else {
            return;
        };
        if !was_paused && let Err(errno) = self.hypervisor.unpause(domid) {
            log::error!("domain {} cannot go on: {errno:?}", domid.0);
            if let Some(domain) = self.table.get_mut(key) {
                domain.state = State::Paused;
            }
        }
        self.serve_rings(key);
        self.reconcile();
    }

    /// Compares what the hypervisor says about all domains with what is known here.
    pub(super) fn reconcile(&mut self) {
        let infos = self.infos();
        for key in self.table.keys() {
            let Some(domain) = self.table.get(key).filter(|domain| domain.state.is_live()) else {
                continue;
            };
            let Some(domid) = domain.domid else { continue };
            match infos.iter().find(|info| info.domid == domid) {
                Some(info) if info.state & info_state::SHUTDOWN != 0 => {
                    self.stopped(key, Stop::from(info.shutdown_reason));
                }
                Some(info) if info.state & info_state::DYING == 0 => {}
                _ => self.vanished(key),
            }
        }
    }

    /// All domains that exist, as the hypervisor sees them.
    pub(super) fn infos(&mut self) -> Vec<DomainInfo> {
        let mut all: Vec<DomainInfo> = Vec::new();
        let mut first = DomId::ZERO;
        loop {
            let mut some = [DomainInfo::default(); 16];
            let count = self.hypervisor.list(first, &mut some).unwrap_or(0);
            all.extend(some.iter().take(count));
            let Some(last) = all.last().filter(|_| count == some.len()) else {
                return all;
            };
            first = DomId(last.domid.0.saturating_add(1));
        }
    }

    fn vanished(&mut self, key: Key) {
        if self.happen(key, Happening::StoppedGone) {
            self.note(key, EventKind::DESTROYED, Some("it vanished".into()));
            self.take_apart(key, After::Remove(None));
        }
    }

    /// Gives a domain another name, everywhere it is written.
    pub(super) fn rename(&mut self, key: Key, name: &str) {
        self.note(key, EventKind::RENAMED, Some(format!("to '{name}'")));
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        domain.name = name.into();
        let record = domain.record();
        let Some(domid) = domain.domid else { return };
        if let Err(errno) = self.hypervisor.set_blob(domid, &record) {
            log::error!("domain {}'s record is not up to date: {errno:?}", domid.0);
        }
        let paths = [
            format!("{}/name", nodes::home(domid.0)),
            format!("{}/name", nodes::machine(&domain.uuid)),
        ];
        for path in paths {
            // Not there yet in one that is being built again.
            let is_there = self.xenstore.read_text(&path).is_some();
            if is_there && self.xenstore.write(&path, name.as_bytes()).is_err() {
                log::error!("{path} is not up to date");
            }
        }
    }

    /// A domain that does not exist yet.
    pub(super) fn new_domain(
        &self,
        name: String,
        uuid: [u8; 16],
        memory_kib: u64,
        plan: Rc<Plan<H::Frames>>,
        state: State,
    ) -> Domain<H> {
        let is_managed = self.managed.get(&name).is_some() || self.managed.by_uuid(&uuid).is_some();
        let brake = if is_managed {
            Brake::BACK_OFF
        } else {
            Brake::default()
        };
        Domain {
            name,
            uuid,
            domid: None,
            guest_domid: 0,
            state,
            memory_kib,
            plan,
            start_paused: false,
            backend: None,
            console: Console::new(Scrollback::new(self.settings.console_limit)),
            look_again_ns: None,
            job: None,
            after: After::Remove(None),
            waiters: Vec::new(),
            brake,
            started_ns: self.now.mono_ns,
            restart_ns: None,
            holder: None,
        }
    }

    /// A random UUID (RFC 9562, version 4).
    pub(super) fn random_uuid(&mut self) -> [u8; 16] {
        let mut uuid = [0; 16];
        self.hypervisor.random(&mut uuid);
        if let Some(byte) = uuid.get_mut(6) {
            *byte = *byte & 0x0f | 0x40;
        }
        if let Some(byte) = uuid.get_mut(8) {
            *byte = *byte & 0x3f | 0x80;
        }
        uuid
    }
}

fn created<H: Hypervisor>(domain: &Domain<H>, warnings: &[String]) -> Reply {
    Reply::Created(Created {
        domid: domain.domid.map_or(0, |domid| domid.0),
        name: domain.name.clone(),
        warnings: warnings.to_vec(),
    })
}
