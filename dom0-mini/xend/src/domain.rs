//! The domains xend knows, and what it knows of each.
//!
//! What is true here: names and UUIDs are unique; a domain has at most one job; a domain that exists in the hypervisor
//! has its domid here, from the call that made it to the call that says it is gone.

use crate::backend::Backend;
use crate::console::Console;
use crate::hypervisor::Hypervisor;
use crate::job::Job;
use crate::lifecycle::State;
use crate::policy::Brake;
use crate::record::Record;
use crate::scrollback::Scrollback;
use crate::session::Ticket;
use crate::store::blobs::Blobs;
use crate::store::content::Content;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::DomId;
use hv_abi::layout::SERIAL_QUIET_NS;
use mgmt_proto::blob::BlobId;
use mgmt_proto::config::{Action, DomainConfig, Policies};
use mgmt_proto::messages::{DomainKind, DomainRef, ErrorCode, Failure};

/// A domain's number in this table: stays the same over reboots.
pub(crate) type Key = u32;

/// Domains at a time.
pub(crate) const DOMAINS: usize = 64;

/// Scrollbacks kept of domains that are gone.
const GRAVES: usize = 8;

/// What a domain is built from, again at every reboot.
pub(crate) struct Plan<F> {
    pub(crate) config: DomainConfig,
    /// The configuration as written.
    pub(crate) text: String,
    pub(crate) kernel: Content<F>,
    pub(crate) ramdisk: Option<Content<F>>,
}

impl<F: AsRef<[u8]>> Plan<F> {
    /// The same, with what is in memory again.
    pub(crate) fn found(&self, blobs: &mut Blobs<F>) -> Self {
        Self {
            config: self.config.clone(),
            text: self.text.clone(),
            kernel: self.kernel.found(blobs),
            ramdisk: self.ramdisk.as_ref().map(|ramdisk| ramdisk.found(blobs)),
        }
    }

    /// Kernel and ramdisk.
    pub(crate) fn images(&self) -> impl Iterator<Item = &Content<F>> {
        [Some(&self.kernel), self.ramdisk.as_ref()]
            .into_iter()
            .flatten()
    }

    /// The blobs that are not in memory, as far as their names are known.
    pub(crate) fn missing(&self) -> Vec<BlobId> {
        let lost = self
            .images()
            .filter(|image| matches!(image, Content::Lost { .. }));
        lost.filter_map(Content::id).collect()
    }
}

/// What a client waits for.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// That it is created or restored; with what the operator should know.
    Created(Vec<String>),
    /// That it has stopped and its policy is carried out.
    Stopped,
    /// That it is gone.
    Gone,
    /// That it is saved to the store, and gone.
    Saved(mgmt_proto::messages::Saved),
}

/// A client that waits for something to become of a domain.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) goal: Goal,
    /// System time at which it waits no longer.
    pub(crate) deadline_ns: Option<u64>,
}

/// What follows when a domain is taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing: it is gone. Why, if it was not asked for.
    Remove(Option<Failure>),
    /// It is built again.
    Rebuild,
    /// It is built again at this system time.
    RebuildAt(u64),
}

/// One domain.
pub(crate) struct Domain<H: Hypervisor> {
    pub(crate) name: String,
    pub(crate) uuid: [u8; 16],
    pub(crate) domid: Option<DomId>,
    pub(crate) guest_domid: u16,
    pub(crate) state: State,
    pub(crate) memory_kib: u64,
    pub(crate) plan: Rc<Plan<H::Frames>>,
    pub(crate) start_paused: bool,
    pub(crate) backend: Option<Backend<H::Page>>,
    pub(crate) console: Console,
    /// When to look at its serial line again, whether or not there was an event.
    pub(crate) look_again_ns: Option<u64>,
    pub(crate) job: Option<Job<H>>,
    pub(crate) after: After,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) brake: Brake,
    pub(crate) started_ns: u64,
    /// When to build it, if it waits for that.
    pub(crate) restart_ns: Option<u64>,
    /// The client that asked for what is under way with it.
    pub(crate) holder: Option<String>,
}

impl<H: Hypervisor> Domain<H> {
    /// Moves console output and input. `told`: the domain's port was pending.
    ///
    /// A guest with a serial line does not tell of every byte: it is looked at again for as long as there is something
    /// ([`SERIAL_QUIET_NS`]).
    pub(crate) fn serve_console(&mut self, hypervisor: &mut H, now_ns: u64, told: bool) {
        let Some(backend) = self.backend.as_ref() else {
            return;
        };
        let moved = backend.serve_console(hypervisor, &mut self.console);
        if (told || moved) && self.plan.config.kind == DomainKind::HVM {
            self.look_again_ns = Some(now_ns.saturating_add(SERIAL_QUIET_NS));
        }
    }

    /// What it does, as the end of a sentence, and for whom.
    pub(crate) fn doing(&self) -> String {
        let state = self.state;
        match (state, &self.holder) {
            (State::ShuttingDown, Some(client)) => format!("{state}, as {client} asked"),
            (State::Building | State::Saving | State::Restoring | State::Dying, Some(client)) => {
                format!("{state} by {client}")
            }
            _ => format!("{state}"),
        }
    }

    /// xend's record of it, for the hypervisor to keep.
    pub(crate) fn record(&self) -> Vec<u8> {
        let policies = self.plan.config.policies;
        Record::new(&self.name, &self.plan.text, encode_policies(policies)).encode()
    }
}

/// Policies as a record holds them.
pub(crate) fn encode_policies(policies: Policies) -> [u8; 4] {
    let number = |action| match action {
        Action::Destroy => 0,
        Action::Restart => 1,
        Action::Preserve => 2,
        Action::RenameRestart => 3,
    };
    [
        policies.on_poweroff,
        policies.on_reboot,
        policies.on_crash,
        policies.on_watchdog,
    ]
    .map(number)
}

/// Policies from a record; what is not known there is the default.
pub(crate) fn decode_policies(numbers: [u8; 4]) -> Policies {
    let [poweroff, reboot, crash, watchdog] = numbers;
    let action = |number, default| match number {
        0 => Action::Destroy,
        1 => Action::Restart,
        2 => Action::Preserve,
        3 => Action::RenameRestart,
        _ => default,
    };
    let default = Policies::default();
    Policies {
        on_poweroff: action(poweroff, default.on_poweroff),
        on_reboot: action(reboot, default.on_reboot),
        on_crash: action(crash, default.on_crash),
        on_watchdog: action(watchdog, default.on_watchdog),
    }
}

/// All domains but Domain-0, and what the last ones that are gone said.
pub(crate) struct Table<H: Hypervisor> {
    domains: BTreeMap<Key, Domain<H>>,
    graves: VecDeque<(Key, String, Scrollback)>,
    next: Key,
}

impl<H: Hypervisor> Table<H> {
    pub(crate) fn new() -> Self {
        Self {
            domains: BTreeMap::new(),
            graves: VecDeque::new(),
            next: 1,
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Domain<H>> {
        self.domains.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Domain<H>> {
        self.domains.get_mut(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Domain<H>)> {
        self.domains.iter().map(|(key, domain)| (*key, domain))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Domain<H>)> {
        self.domains.iter_mut().map(|(key, domain)| (*key, domain))
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.domains.keys().copied().collect()
    }

    /// Whether a new domain may have this name and UUID, and there is a place for it.
    pub(crate) fn admits(&self, name: &str, uuid: Option<[u8; 16]>) -> Result<(), Failure> {
        if self.domains.len() >= DOMAINS {
            let sentence = format!("there are {DOMAINS} domains already");
            return Err(Failure::new(ErrorCode::NO_MEMORY, sentence));
        }
        self.admits_name(name)?;
        self.admits_uuid(uuid)
    }

    /// Whether no domain has this UUID.
    pub(crate) fn admits_uuid(&self, uuid: Option<[u8; 16]>) -> Result<(), Failure> {
        let same = |domain: &&Domain<H>| Some(domain.uuid) == uuid;
        if let Some(other) = self.domains.values().find(same) {
            let sentence = format!("domain '{}' has the same UUID", other.name);
            return Err(Failure::new(ErrorCode::NAME_IN_USE, sentence)
                .with_remedy("leave 'uuid' out for a new one"));
        }
        Ok(())
    }

    /// Whether no domain has this name.
    pub(crate) fn admits_name(&self, name: &str) -> Result<(), Failure> {
        match self.domains.values().find(|domain| domain.name == name) {
            None => Ok(()),
            Some(other) => {
                let sentence = format!("there is a domain '{name}' already; it {}", other.doing());
                Err(Failure::new(ErrorCode::NAME_IN_USE, sentence)
                    .with_remedy("choose another name, or destroy that domain"))
            }
        }
    }

    /// Whether a domain has this UUID.
    pub(crate) fn has_uuid(&self, uuid: &[u8; 16]) -> bool {
        self.domains.values().any(|domain| domain.uuid == *uuid)
    }

    /// Adds a domain that [`Table::admits`]. The scrollback of an earlier one of its name is forgotten.
    pub(crate) fn add(&mut self, domain: Domain<H>) -> Key {
        self.graves.retain(|(_, name, _)| *name != domain.name);
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        self.domains.insert(key, domain);
        key
    }

    /// Takes a domain out; its scrollback stays.
    pub(crate) fn remove(&mut self, key: Key) -> Option<(String, Vec<Waiter>)> {
        let domain = self.domains.remove(&key)?;
        if self.graves.len() >= GRAVES {
            self.graves.pop_front();
        }
        let scrollback = domain.console.into_scrollback();
        self.graves.retain(|(_, name, _)| *name != domain.name);
        self.graves
            .push_back((key, domain.name.clone(), scrollback));
        Some((domain.name, domain.waiters))
    }

    /// The domain a client means.
    pub(crate) fn find(&self, wanted: &DomainRef) -> Result<Key, Failure> {
        let is_it = |domain: &Domain<H>| match wanted {
            DomainRef::Id(domid) => domain.domid == Some(DomId(*domid)),
            DomainRef::Name(name) => domain.name == *name,
        };
        let found = self.domains.iter().find(|(_, domain)| is_it(domain));
        found.map(|(key, _)| *key).ok_or_else(|| unknown(wanted))
    }

    /// The domain whose port of ours this is.
    pub(crate) fn by_port(&self, port: u32) -> Option<Key> {
        let has = |domain: &Domain<H>| {
            let backend = domain.backend.as_ref();
            backend.is_some_and(|backend| backend.is_console(port) || backend.is_xenstore(port))
        };
        let found = self.domains.iter().find(|(_, domain)| has(domain));
        found.map(|(key, _)| *key)
    }

    /// The domain of this number.
    pub(crate) fn by_domid(&self, domid: DomId) -> Option<Key> {
        let found = self
            .domains
            .iter()
            .find(|(_, domain)| domain.domid == Some(domid));
        found.map(|(key, _)| *key)
    }

    /// What a domain that is gone said, by its name.
    pub(crate) fn grave(&self, name: &str) -> Option<Key> {
        let found = self.graves.iter().rev().find(|grave| grave.1 == name);
        found.map(|(key, _, _)| *key)
    }

    /// What a domain said that is gone is found by its new name.
    pub(crate) fn rename_grave(&mut self, from: &str, to: &str) {
        let same = self.graves.iter_mut().filter(|grave| grave.1 == from);
        same.for_each(|grave| grave.1 = to.into());
    }

    /// What a domain says or said, and whether it will say no more.
    pub(crate) fn scrollback(&self, key: Key) -> Option<(&Scrollback, bool)> {
        if let Some(domain) = self.domains.get(&key) {
            return Some((domain.console.scrollback(), domain.state == State::Dead));
        }
        let found = self.graves.iter().find(|grave| grave.0 == key);
        found.map(|(_, _, scrollback)| (scrollback, true))
    }
}

fn unknown(wanted: &DomainRef) -> Failure {
    let sentence = match wanted {
        DomainRef::Id(0) => return domain_0(),
        DomainRef::Name(name) if name == "Domain-0" => return domain_0(),
        DomainRef::Id(domid) => format!("there is no domain number {domid}"),
        DomainRef::Name(name) => format!("there is no domain '{name}'"),
    };
    Failure::new(ErrorCode::UNKNOWN_DOMAIN, sentence).with_remedy("see what 'list' shows")
}

fn domain_0() -> Failure {
    Failure::new(
        ErrorCode::REFUSED,
        "Domain-0 is xend itself and is left alone",
    )
}
