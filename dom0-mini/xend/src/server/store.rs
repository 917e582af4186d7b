//! The store, as requests use it: what is to be kept goes to the keeper, and who asked is answered when it is kept.
//!
//! The log goes along with whatever is kept, the line that tells of it included, and by itself a second after its first new
//! line.

use super::life::REPORT_NS;
use super::{Xend, domain_0};
use crate::domain::Key;
use crate::hypervisor::Hypervisor;
use crate::logbook::Level;
use crate::managed::Definition;
use crate::session::Ticket;
use crate::settings::{Settings, Severity};
use crate::store::files::{self, Wish};
use crate::store::keeper::{Carried, Order, Standing};
use crate::store::partition::Names;
use crate::store::volume::{Change, File, VolumeError};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use mgmt_proto::blob::CHUNK;
use mgmt_proto::messages::{ErrorCode, Failure, Remark, Reply, StoreInfo, StorePlace};

/// Where xend's configuration is.
pub(super) const CONFIG: &str = "/etc/xen/xend-config.sxp";

/// What follows once an order is carried out.
#[derive(Debug)]
pub(crate) struct Then {
    pub(super) ticket: Ticket,
    pub(super) reply: Reply,
    pub(super) what: What,
}

/// What else follows from it.
#[derive(Debug)]
pub(super) enum What {
    /// xend has these settings.
    Settings(Settings),
    /// The domain of this name is defined so.
    Defined(String, Box<Definition>),
    /// The domain of this name is not defined any more.
    Deleted(String),
    /// The domain that was defined under one name is defined so under another one.
    Renamed {
        from: String,
        to: String,
        definition: Box<Definition>,
    },
    /// There is a new store.
    NewStore,
    /// A domain is saved, under this label: it goes. Or else it goes on.
    Snapshot {
        key: Key,
        was_paused: bool,
        label: String,
    },
    /// A snapshot is gone.
    NoSnapshot(String),
    /// An image is there; who added it.
    Image(String, String),
    /// An image is gone.
    NoImage(String),
    /// The record of a domain says what its runs used. Nobody waits for that.
    Totals,
}

impl What {
    /// The line of the log that tells of it, but for what is told later.
    fn line(&self) -> Option<String> {
        Some(match self {
            Self::Settings(_) => "xend-config.sxp is changed".into(),
            Self::Defined(name, definition) => {
                let by = definition.record.changed_by.as_deref();
                format!("domain '{name}' is defined by {}", by.unwrap_or_default())
            }
            Self::Deleted(name) => format!("the definition of '{name}' is deleted"),
            Self::Renamed { from, to, .. } => format!("domain '{from}' is defined as '{to}' now"),
            Self::NoSnapshot(label) => format!("snapshot '{label}' is deleted"),
            Self::Image(name, by) => format!("image '{name}' is added by {by}"),
            Self::NoImage(name) => format!("image '{name}' is removed"),
            Self::NewStore | Self::Snapshot { .. } | Self::Totals => return None,
        })
    }
}

impl<H: Hypervisor> Xend<H> {
    /// What the store's keeper is to do next. Give it to the keeper, and what comes of it to [`Xend::handle`]. There may be
    /// effects afterwards.
    pub fn take_order(&mut self) -> Option<Order> {
        if !self.has_order() {
            return None;
        }
        if let Some((slot, length)) = self.loads.wants() {
            return self.files.read(slot, length);
        }
        let order = self.next_order();
        self.refuse_the_impossible();
        order
    }

    /// The line that tells of a change is written before it is kept, to be kept with it.
    fn next_order(&mut self) -> Option<Order> {
        let (log, now) = (&mut self.log, self.now);
        self.files.next(|then: Option<&Then>| {
            if let Some(line) = then.and_then(|then| then.what.line()) {
                log.write(now, Level::Info, &line);
            }
            log.take()
        })
    }

    /// Answers those whose wishes were found to be impossible.
    fn refuse_the_impossible(&mut self) {
        let refused = self.files.refused();
        if refused.is_empty() {
            return;
        }
        for (then, failure) in refused {
            self.refuse(then, failure);
        }
        self.settle();
    }

    /// Whether there is an order to take now.
    pub fn has_order(&self) -> bool {
        let is_log_due = self.log_due_ns().is_some_and(|due| due <= self.now.mono_ns);
        let has_reads = !self.files.is_busy() && self.loads.wants().is_some();
        has_reads || self.files.has_orders() || is_log_due
    }

    /// Tells the log about the store; loudly if it cannot be written to.
    pub(super) fn report_store(&mut self, remark: &str) {
        let level = match self.files.standing() {
            Standing::Rescue { .. } => Level::Error,
            _ => Level::Info,
        };
        self.log_at(level, remark);
    }

    /// When the log is to be kept, if there is something new in it.
    pub(super) fn log_due_ns(&self) -> Option<u64> {
        let is_kept = matches!(self.files.standing(), Standing::Disk { .. });
        let due = self.log.due_ns();
        due.filter(|_| is_kept && !self.files.is_busy())
    }

    /// The keeper has carried its order out, or not.
    pub(super) fn kept(&mut self, result: Result<&Carried, &VolumeError>) {
        if self.files.end_read() {
            return self.read(result);
        }
        match result {
            Ok(carried) => match self.files.done(carried) {
                Some(pending) => self.follow_up(pending.then),
                None => self.report_writing(),
            },
            Err(VolumeError::Full) => {
                for pending in self.files.failed(None) {
                    self.not_kept(pending.then, files::full());
                }
            }
            Err(error) => {
                let reason = error.to_string();
                self.log_at(
                    Level::Error,
                    &format!("{reason}; nothing more is written to the store"),
                );
                for pending in self.files.failed(Some(&reason)) {
                    self.not_kept(pending.then, files::read_only(&reason));
                }
            }
        }
    }

    fn follow_up(&mut self, then: Then) {
        match then.what {
            What::Settings(settings) => {
                self.log.book.set_threshold(settings.loglevel);
                self.settings = settings;
            }
            What::Defined(name, definition) => {
                self.managed.end(&[&name]);
                self.managed.insert(name, *definition);
            }
            What::Deleted(name) => {
                self.managed.end(&[&name]);
                self.managed.remove(&name);
            }
            What::Renamed {
                from,
                to,
                definition,
            } => {
                self.managed.end(&[&from, &to]);
                self.renamed(&from, to, *definition);
            }
            What::NewStore => {
                self.managed.clear();
                self.log.begin_anew();
                self.log_line("a new store was made");
            }
            What::Snapshot { key, label, .. } => {
                return self.snapshot_is_kept(key, &label, then.ticket, then.reply);
            }
            What::NoSnapshot(_) | What::Image(..) | What::NoImage(_) | What::Totals => {}
        }
        self.sessions.answer(then.ticket, Ok(then.reply));
        self.keep_totals();
    }

    /// What runs used goes into the records of their definitions.
    pub(super) fn keep_totals(&mut self) {
        for change in self.managed.settle() {
            let wish = Wish::Change {
                changes: vec![change],
                blobs: Vec::new(),
            };
            let then = Then {
                ticket: Ticket::NOBODY,
                reply: Reply::Done,
                what: What::Totals,
            };
            // A store that cannot be written to has said so; the figures are true until xend ends.
            let _refused = self.order(wish, then);
        }
    }

    /// What was ordered is not kept after all; the log may say that it is.
    fn not_kept(&mut self, then: Then, failure: Failure) {
        if let Some(line) = then.what.line() {
            self.log_at(Level::Error, &format!("not kept, as {failure}: {line}"));
        }
        self.refuse(then, failure);
    }

    fn refuse(&mut self, then: Then, failure: Failure) {
        match then.what {
            What::Snapshot {
                key, was_paused, ..
            } => self.snapshot_is_not_kept(key, was_paused),
            What::Defined(name, _) | What::Deleted(name) => self.managed.end(&[&name]),
            What::Renamed { from, to, .. } => self.managed.end(&[&from, &to]),
            What::Settings(_)
            | What::Totals
            | What::NewStore
            | What::NoSnapshot(_)
            | What::Image(..)
            | What::NoImage(_) => {}
        }
        self.sessions.answer(then.ticket, Err(failure));
        self.keep_totals();
    }

    /// Tells who waits for a blob to be written how far that is.
    fn report_writing(&mut self) {
        let since = self.now.mono_ns.saturating_sub(self.reported_ns);
        if since < REPORT_NS {
            return;
        }
        if let Some((then, done, total)) = self.files.progress() {
            let kib = |slots: u32| u64::from(slots).saturating_mul(CHUNK as u64 / 1024);
            let what = "KiB written to the host's disk";
            self.sessions
                .progress(then.ticket, kib(done), kib(total), what);
            self.reported_ns = self.now.mono_ns;
        }
    }

    /// Orders something, for a client that is answered later.
    pub(super) fn order(&mut self, wish: Wish<H::Frames>, then: Then) -> Result<(), Failure> {
        self.files.order(wish, then)?;
        if matches!(self.files.standing(), Standing::Memory) {
            // There is no disk to wait for.
            drop(self.next_order());
            self.kept(Ok(&Carried::Out));
        }
        Ok(())
    }

    /// Removes a file for a client, or says that it is `missing`. One that cannot be read can go, too.
    pub(super) fn remove_file(
        &mut self,
        ticket: Ticket,
        path: String,
        missing: Failure,
        what: What,
    ) -> Option<Result<Reply, Failure>> {
        if self.files.get(&path).is_none() {
            return Some(Err(missing));
        }
        let wish = Wish::Change {
            changes: vec![Change::Remove { path }],
            blobs: Vec::new(),
        };
        let then = Then {
            ticket,
            reply: Reply::Done,
            what,
        };
        self.order(wish, then).err().map(Err)
    }

    pub(super) fn config_set(
        &mut self,
        ticket: Ticket,
        text: String,
    ) -> Option<Result<Reply, Failure>> {
        let (settings, remarks) = self.read_settings(&text);
        if let Some(error) = remarks.iter().find(|remark| remark.is_error) {
            let failure = Failure::new(ErrorCode::BAD_CONFIG, error.text.clone());
            return Some(Err(failure.with_remedy(
                "the configuration is as it was; mend the file and try again",
            )));
        }
        let change = Change::Put {
            path: CONFIG.into(),
            file: File {
                content: text.into_bytes(),
                blobs: Vec::new(),
            },
        };
        let wish = Wish::Change {
            changes: vec![change],
            blobs: Vec::new(),
        };
        let then = Then {
            ticket,
            reply: Reply::Remarks(remarks),
            what: What::Settings(settings),
        };
        self.order(wish, then).err().map(Err)
    }

    pub(super) fn config_check(&mut self, text: &str) -> Reply {
        Reply::Remarks(self.read_settings(text).1)
    }

    /// Settings, and what is to be said about them.
    fn read_settings(&mut self, text: &str) -> (Settings, Vec<Remark>) {
        let (settings, remarks) = Settings::read(text, &domain_0(&mut self.hypervisor));
        let remarks = remarks.iter().map(|remark| Remark {
            is_error: remark.severity == Severity::Error,
            text: remark.to_string(),
        });
        (settings, remarks.collect())
    }

    pub(super) fn host_init(
        &mut self,
        ticket: Ticket,
        force: bool,
    ) -> Option<Result<Reply, Failure>> {
        if !force && let Some(refusal) = self.has_something() {
            return Some(Err(refusal));
        }
        let then = Then {
            ticket,
            reply: Reply::Done,
            what: What::NewStore,
        };
        let names = Names::new(|into| self.hypervisor.random(into));
        self.order(Wish::Make(names), then).err().map(Err)
    }

    /// Why a new store is not made without more ado.
    fn has_something(&self) -> Option<Failure> {
        let sentence = match self.files.standing() {
            Standing::Memory => return None,
            Standing::Disk { .. } => "the host has a store already".into(),
            Standing::Rescue { reason, .. } => reason.clone(),
        };
        let failure = Failure::new(ErrorCode::REFUSED, sentence);
        Some(failure.with_remedy(
            "'xenman host init --force' makes a new one; what is on the disk is lost then",
        ))
    }

    pub(super) fn store_info(&self) -> StoreInfo {
        let (place, size_kib, reason) = match self.files.standing() {
            Standing::Memory => (StorePlace::MEMORY, 0, None),
            Standing::Disk { size_kib } => (StorePlace::DISK, *size_kib, None),
            Standing::Rescue { size_kib, reason } => {
                (StorePlace::RESCUE, *size_kib, Some(reason.clone()))
            }
        };
        let is_on_disk = place == StorePlace::DISK;
        StoreInfo {
            place,
            size_kib,
            reason,
            free_kib: is_on_disk.then(|| self.files.free_kib()),
        }
    }
}
