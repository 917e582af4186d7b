//! Requests about managed domains: new, start, delete, and their definitions.
//!
//! A change is made once the store has it. Until then nobody else changes the same definition, and nobody starts it.

use super::Outcome;
use super::create::read_config;
use crate::domain::{Domain, Goal, Key, Plan};
use crate::event::SessionId;
use crate::hypervisor::Hypervisor;
use crate::managed::{self, DEFINITIONS, Definition, Record};
use crate::server::Xend;
use crate::server::loads::Again;
use crate::server::store::{Then, What};
use crate::session::Ticket;
use crate::store::content::Content;
use crate::store::files::Wish;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mgmt_proto::blob::{BlobId, Digest};
use mgmt_proto::config::{DomainConfig, ImageSource};
use mgmt_proto::messages::{
    self, Define, Defined, ErrorCode, Failure, NamedBlob, Redefine, Reply, RequestBody, Start,
};

/// How the start of a managed domain began.
pub(in crate::server) enum Begun {
    /// It is built.
    Build(Key),
    /// These blobs have to be read first.
    Lacks(Vec<BlobId>),
}

impl<H: Hypervisor> Xend<H> {
    pub(super) fn define(&mut self, ticket: Ticket, define: Define) -> Outcome {
        let to_load = self.images_to_load(&define.origin, &define.config);
        if !to_load.is_empty() {
            self.load(to_load, Again::Request(ticket, RequestBody::New(define)));
            return None;
        }
        self.try_define(ticket, define)
            .unwrap_or_else(|failure| Some(Err(failure)))
    }

    fn try_define(&mut self, ticket: Ticket, define: Define) -> Result<Outcome, Failure> {
        let Define {
            config: text,
            origin,
            files,
        } = define;
        let policies = self.settings.policies;
        let (whole, config, warnings) = read_config(&origin, &text, &policies)?;
        self.refuse_what_is_not_there(&config)?;
        self.admits_definition(&config)?;
        let uuid = match config.uuid {
            Some(uuid) => uuid,
            None => self.random_uuid(),
        };
        let path = managed::path_of(&config.name, &origin, config.kind);
        let plan = self.plan(ticket.session, &files, whole, config)?;
        self.check_layout(&plan)?;
        let mut files = named_in(&plan.config, files);
        files.extend(self.image_files(&plan.config));
        Ok(self.keep(ticket, (path, text), plan, (uuid, files), warnings))
    }

    /// Whether there may be a new definition like this.
    fn admits_definition(&self, config: &DomainConfig) -> Result<(), Failure> {
        let name = &config.name;
        self.admits_change(name, config.uuid)?;
        if self.managed.get(name).is_some() {
            let sentence = format!("domain '{name}' is defined already");
            return Err(
                Failure::new(ErrorCode::NAME_IN_USE, sentence).with_remedy(format!(
                    "'xenman config edit {name}' changes it, 'xenman delete {name}' forgets it"
                )),
            );
        }
        if let Some((other, _)) = config.uuid.and_then(|uuid| self.managed.by_uuid(&uuid)) {
            return Err(same_uuid(other));
        }
        if !self.managed.has_room() {
            let sentence = format!("{DEFINITIONS} domains are defined already");
            return Err(Failure::new(ErrorCode::STORE, sentence)
                .with_remedy("delete one that is not needed any more"));
        }
        self.table.admits_name(name)?;
        self.table.admits_uuid(config.uuid)
    }

    /// Whether nobody else is changing this definition.
    pub(super) fn admits_change(&self, name: &str, uuid: Option<[u8; 16]>) -> Result<(), Failure> {
        match self.managed.changing(name, uuid) {
            None => Ok(()),
            Some(by) => {
                let sentence = format!("the definition of '{name}' is being changed by {by}");
                Err(Failure::new(ErrorCode::BUSY, sentence).with_remedy("wait until that is done"))
            }
        }
    }

    /// Whether a domain may be created that is not started from a definition.
    pub(super) fn admits_unmanaged(&self, config: &DomainConfig) -> Result<(), Failure> {
        let name = &config.name;
        self.admits_change(name, config.uuid)?;
        if self.managed.get(name).is_some() {
            let sentence = format!("domain '{name}' is defined, and is not created but started");
            return Err(Failure::new(ErrorCode::NAME_IN_USE, sentence)
                .with_remedy(format!("'xenman start {name}' starts it")));
        }
        match config.uuid.and_then(|uuid| self.managed.by_uuid(&uuid)) {
            Some((other, _)) => Err(same_uuid(other)),
            None => Ok(()),
        }
    }

    /// Whether a domain that was saved may be there under this name: a managed one as itself.
    pub(super) fn admits_restored(&self, name: &str, uuid: &[u8; 16]) -> Result<(), Failure> {
        self.admits_change(name, Some(*uuid))?;
        match self.managed.get(name) {
            Some(definition) if definition.record.uuid != *uuid => {
                let sentence = format!("domain '{name}' is defined, and is another one");
                Err(Failure::new(ErrorCode::NAME_IN_USE, sentence)
                    .with_remedy("restore it under another name"))
            }
            _ => Ok(()),
        }
    }

    /// Orders that a definition is kept; who asked is answered then.
    fn keep(
        &mut self,
        ticket: Ticket,
        (path, text): (String, String),
        plan: Plan<H::Frames>,
        (uuid, files): ([u8; 16], Vec<NamedBlob>),
        warnings: Vec<String>,
    ) -> Outcome {
        if let Some(client) = self.clients.get_mut(&ticket.session) {
            files.iter().for_each(|file| client.release(&file.blob));
        }
        let blobs = plan.images().filter_map(Content::blob).map(Rc::clone);
        let blobs: Vec<_> = blobs.collect();
        let name = plan.config.name.clone();
        let by = self.sessions.client_name(ticket.session);
        let before = self.managed.by_uuid(&uuid);
        // Not those that are owed: they are added when this is kept.
        let totals = before.and_then(|(_, definition)| definition.record.totals);
        let definition = Definition {
            path,
            text,
            record: Record::new(uuid, files, by, self.now.wall_ns).with_totals(totals),
            config: Ok(plan.config),
        };
        let reply = Reply::Defined(Defined {
            name: name.clone(),
            uuid,
            warnings,
            running: self.runs(&name, &uuid).is_some(),
        });
        let wish = Wish::Change {
            changes: definition.changes(&name),
            blobs,
        };
        let what = What::Defined(name.clone(), Box::new(definition));
        self.change(ticket, (&[&name], uuid), wish, (reply, what))
    }

    /// Orders a change of a definition; meanwhile nobody else changes it, or takes its names.
    pub(super) fn change(
        &mut self,
        ticket: Ticket,
        (names, uuid): (&[&str], [u8; 16]),
        wish: Wish<H::Frames>,
        (reply, what): (Reply, What),
    ) -> Outcome {
        let by = self.sessions.client_name(ticket.session);
        self.managed.begin(names, uuid, &by);
        let then = Then {
            ticket,
            reply,
            what,
        };
        match self.order(wish, then) {
            Ok(()) => None,
            Err(failure) => {
                self.managed.end(names);
                Some(Err(failure))
            }
        }
    }

    /// The domain that runs by a definition, or is in its way.
    pub(in crate::server) fn runs(&self, name: &str, uuid: &[u8; 16]) -> Option<&Domain<H>> {
        let mut domains = self.table.iter().map(|(_, domain)| domain);
        domains.find(|domain| domain.name == name || domain.uuid == *uuid)
    }

    pub(super) fn defined(&self, name: &str) -> Result<&Definition, Failure> {
        if let Some(definition) = self.managed.get(name) {
            return Ok(definition);
        }
        let is_there = self.table.iter().any(|(_, domain)| domain.name == name);
        let (code, sentence) = if is_there {
            let sentence = format!("domain '{name}' was created, and is not defined");
            (ErrorCode::REFUSED, sentence)
        } else {
            let sentence = format!("no domain '{name}' is defined");
            (ErrorCode::UNKNOWN_DOMAIN, sentence)
        };
        Err(Failure::new(code, sentence).with_remedy("'xenman new' defines one from a file"))
    }

    pub(super) fn start_defined(&mut self, ticket: Ticket, start: Start) -> Outcome {
        match self.begin_start(&start.name, start.paused) {
            Ok(Begun::Build(key)) => {
                self.hold(key, ticket.session);
                self.wait_for(key, ticket, Goal::Created(Vec::new()), None);
                None
            }
            Ok(Begun::Lacks(blobs)) => {
                let again = Again::Request(ticket, RequestBody::Start(start));
                self.load(blobs, again);
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Begins to build a managed domain, if what it is built from is in memory.
    pub(in crate::server) fn begin_start(
        &mut self,
        name: &str,
        paused: bool,
    ) -> Result<Begun, Failure> {
        let definition = self.defined(name)?;
        let uuid = definition.record.uuid;
        self.admits_change(name, Some(uuid))?;
        if let Some(domain) = self.runs(name, &uuid) {
            return Err(runs_already(name, domain));
        }
        let plan = self.plan_of_definition(name)?;
        let missing = plan.missing().into_iter();
        let on_disk: Vec<BlobId> = missing.filter(|id| self.is_on_disk(id)).collect();
        if !on_disk.is_empty() {
            return Ok(Begun::Lacks(on_disk));
        }
        if let Some(file) = lost(&plan) {
            let sentence = format!("'{file}' of domain '{name}' is not on this host any more");
            return Err(
                Failure::new(ErrorCode::BAD_IMAGE, sentence).with_remedy(format!(
                    "'xenman delete {name}', and 'xenman new' from its file"
                )),
            );
        }
        self.refuse_what_is_not_there(&plan.config)?;
        self.table.admits(name, Some(uuid))?;
        self.build(plan, uuid, paused).map(Begun::Build)
    }

    /// What a managed domain is built from, as far as it is here.
    fn plan_of_definition(&mut self, name: &str) -> Result<Plan<H::Frames>, Failure> {
        let definition = self.defined(name)?;
        let broken = |reason: &String| broken(name, reason);
        definition.config.as_ref().map_err(broken)?;
        let read = managed::read(&definition.path, &definition.text, &self.settings.policies);
        let (text, config) = read.map_err(|reason| broken(&reason))?;
        let files = definition.record.files.clone();
        let mut kept = |key: &str, source: &ImageSource| self.kept_file(&files, key, source);
        Ok(Plan {
            kernel: kept("kernel", &config.kernel),
            ramdisk: config
                .ramdisk
                .as_ref()
                .map(|source| kept("ramdisk", source)),
            text,
            config,
        })
    }

    /// A file that a definition names.
    fn kept_file(
        &mut self,
        files: &[NamedBlob],
        key: &str,
        source: &ImageSource,
    ) -> Content<H::Frames> {
        let file = files.iter().find(|file| file.key == key);
        let lost = Content::Lost {
            name: source.to_string(),
            id: file.map(|file| file.blob),
        };
        match source {
            ImageSource::Boot(name) => self
                .hypervisor
                .bundle_file(name)
                .map_or(lost, Content::Bundle),
            ImageSource::File(_) | ImageSource::Store(_) => lost.found(&mut self.blobs),
        }
    }

    pub(super) fn delete_definition(&mut self, ticket: Ticket, name: &str) -> Outcome {
        self.try_delete(ticket, name)
            .unwrap_or_else(|failure| Some(Err(failure)))
    }

    fn try_delete(&mut self, ticket: Ticket, name: &str) -> Result<Outcome, Failure> {
        let definition = self.defined(name)?;
        let uuid = definition.record.uuid;
        self.admits_change(name, Some(uuid))?;
        if let Some(domain) = self.runs(name, &uuid) {
            let sentence = format!("domain '{}' {}", domain.name, domain.doing());
            return Err(
                Failure::new(ErrorCode::WRONG_STATE, sentence).with_remedy(format!(
                    "'xenman shutdown -w {0}' or 'xenman destroy {0}' first",
                    domain.name
                )),
            );
        }
        let wish = Wish::Change {
            changes: definition.removal(name),
            blobs: Vec::new(),
        };
        let then = (Reply::Done, What::Deleted(name.into()));
        Ok(self.change(ticket, (&[name], uuid), wish, then))
    }

    pub(super) fn definition_show(&self, name: &str) -> Result<Reply, Failure> {
        let definition = self.defined(name)?;
        Ok(Reply::Definition(messages::Definition {
            name: name.into(),
            path: definition.path.clone(),
            config: definition.text.clone(),
            changed_by: definition.record.changed_by.clone(),
            changed_ns: definition.record.changed_ns,
            broken: definition.config.as_ref().err().cloned(),
        }))
    }

    pub(super) fn definition_set(&mut self, ticket: Ticket, redefine: Redefine) -> Outcome {
        let to_load = self.images_to_load(&redefine.name, &redefine.config);
        if !to_load.is_empty() {
            let again = Again::Request(ticket, RequestBody::DefinitionSet(redefine));
            self.load(to_load, again);
            return None;
        }
        self.try_redefine(ticket, redefine)
            .unwrap_or_else(|failure| Some(Err(failure)))
    }

    fn try_redefine(&mut self, ticket: Ticket, redefine: Redefine) -> Result<Outcome, Failure> {
        let Redefine {
            name,
            was,
            config: text,
            files,
        } = redefine;
        let definition = self.defined(&name)?;
        let path = definition.path.clone();
        let record = definition.record.clone();
        self.admits_change(&name, Some(record.uuid))?;
        if Digest::of_chunk(definition.text.as_bytes()) != was {
            return Err(changed_meanwhile(&name, &record));
        }
        let policies = self.settings.policies;
        let (whole, config, warnings) = read_config(&path, &text, &policies)?;
        self.refuse_what_is_not_there(&config)?;
        let uuid = self.uuid_of_edit(&name, &record, &config)?;
        let kept = self.files_kept(&name, &files, &config);
        let plan = self.plan_of_edit(ticket.session, (&files, &kept), whole, config)?;
        if lost(&plan).is_none() {
            self.check_layout(&plan)?;
        }
        let mut new = named_in(&plan.config, files);
        new.extend(self.image_files(&plan.config));
        new.retain(|file| kept.iter().all(|it| it.key != file.key));
        let files = [kept, new].concat();
        Ok(self.keep(ticket, (path, text), plan, (uuid, files), warnings))
    }

    fn plan_of_edit(
        &mut self,
        session: SessionId,
        (sent, kept): (&[NamedBlob], &[NamedBlob]),
        text: String,
        config: DomainConfig,
    ) -> Result<Plan<H::Frames>, Failure> {
        let mut content = |key: &str, source: &ImageSource| {
            if kept.iter().any(|file| file.key == key) {
                Ok(self.kept_file(kept, key, source))
            } else {
                self.content(session, sent, key, source)
            }
        };
        let kernel = content("kernel", &config.kernel)?;
        let ramdisk = config.ramdisk.as_ref();
        let ramdisk = ramdisk.map(|source| content("ramdisk", source));
        Ok(Plan {
            kernel,
            ramdisk: ramdisk.transpose()?,
            text,
            config,
        })
    }

    /// An edit leaves a domain its name and its UUID, but for one whose UUID is lost or another's.
    fn uuid_of_edit(
        &mut self,
        name: &str,
        record: &Record,
        config: &DomainConfig,
    ) -> Result<[u8; 16], Failure> {
        if config.name != name {
            return Err(stays("name", name));
        }
        let is_its_own = !record.is_lost() && self.other_with(name, &record.uuid).is_none();
        match config.uuid {
            Some(uuid) if is_its_own && uuid != record.uuid => Err(stays("UUID", name)),
            _ if is_its_own => Ok(record.uuid),
            Some(uuid) => match self.other_with(name, &uuid) {
                Some(other) => Err(same_uuid(other)),
                None => Ok(uuid),
            },
            None => Ok(self.random_uuid()),
        }
    }

    /// Another domain that is defined with this UUID.
    fn other_with(&self, name: &str, uuid: &[u8; 16]) -> Option<&str> {
        let others = self.managed.iter().filter(|(other, _)| *other != name);
        let mut same = others.filter(|(_, definition)| definition.record.uuid == *uuid);
        same.next().map(|(other, _)| other)
    }

    /// The files that an edit names as they were named before, and does not send anew. What is an image's stays what it was
    /// then, too.
    fn files_kept(&self, name: &str, sent: &[NamedBlob], config: &DomainConfig) -> Vec<NamedBlob> {
        let Some(definition) = self.managed.get(name) else {
            return Vec::new();
        };
        let Ok(before) = &definition.config else {
            return Vec::new();
        };
        let is_kept = |file: &&NamedBlob| {
            let is_sent = sent.iter().any(|it| it.key == file.key);
            let mut same = managed::sources(config).filter(|it| it.0 == file.key);
            !is_sent && same.any(|it| managed::sources(before).any(|was| was == it))
        };
        let known = definition.record.files.iter();
        known.filter(is_kept).cloned().collect()
    }
}

/// The first file of a plan that is not on this host any more.
fn lost<F: AsRef<[u8]>>(plan: &Plan<F>) -> Option<&str> {
    plan.images().find_map(|content| match content {
        Content::Lost { name, .. } => Some(name.as_str()),
        Content::Blob(_) | Content::Bundle(_) => None,
    })
}

/// Of `files`, those that the configuration has uploaded.
fn named_in(config: &DomainConfig, files: Vec<NamedBlob>) -> Vec<NamedBlob> {
    let is_named = |file: &NamedBlob| {
        managed::sources(config)
            .any(|(key, source)| key == file.key && matches!(source, ImageSource::File(_)))
    };
    files.into_iter().filter(is_named).collect()
}

fn stays(what: &str, name: &str) -> Failure {
    let sentence = format!("the {what} of a managed domain stays what it is");
    Failure::new(ErrorCode::REFUSED, sentence).with_remedy(format!(
        "'xenman delete {name}', and 'xenman new' with the other {what}"
    ))
}

fn same_uuid(other: &str) -> Failure {
    let sentence = format!("domain '{other}' is defined with the same UUID");
    Failure::new(ErrorCode::NAME_IN_USE, sentence).with_remedy("leave 'uuid' out for a new one")
}

fn runs_already<H: Hypervisor>(name: &str, domain: &Domain<H>) -> Failure {
    let sentence = if domain.name == name {
        format!("domain '{name}' {}", domain.doing())
    } else {
        format!(
            "domain '{}', which {}, has its UUID",
            domain.name,
            domain.doing()
        )
    };
    Failure::new(ErrorCode::WRONG_STATE, sentence).with_remedy("it can be started when it is gone")
}

pub(super) fn broken(name: &str, reason: &str) -> Failure {
    let sentence = format!("the definition of '{name}' cannot be used: {reason}");
    Failure::new(ErrorCode::BAD_CONFIG, sentence)
        .with_remedy(format!("'xenman config edit {name}' mends it"))
}

fn changed_meanwhile(name: &str, record: &Record) -> Failure {
    let by = record.changed_by.as_deref().unwrap_or("somebody");
    let sentence = format!("the definition of '{name}' was changed meanwhile, by {by}");
    Failure::new(ErrorCode::BUSY, sentence).with_remedy("look at it again, and change that")
}
