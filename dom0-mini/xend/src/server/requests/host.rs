//! Requests about the host, and the list of domains.

use crate::domain::Domain;
use crate::hypervisor::{HostStop, Hypervisor};
use crate::lifecycle::State;
use crate::managed::Definition;
use crate::platform;
use crate::refusal::refused;
use crate::server::{NAME, Xend};
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use hv_abi::control::domain::{DomainInfo, ShutdownReason, state};
use mgmt_proto::messages::{
    DomainDetail, DomainFlags, DomainKind, DomainRef, DomainState, DomainSummary, Failure,
    HostInfo, NamedCount, Reply, TextChunk,
};

/// Time for the answer to a stop to get out, in nanoseconds.
const LAST_WORDS_NS: u64 = 300_000_000;

impl<H: Hypervisor> Xend<H> {
    pub(super) fn info(&mut self) -> Result<Reply, Failure> {
        let host = self
            .hypervisor
            .host_info()
            .map_err(|errno| refused("tell its facts", errno))?;
        let heap = self.hypervisor.heap();
        Ok(Reply::Info(HostInfo {
            total_kib: host.total_kib,
            free_kib: host.free_kib,
            hypervisor_kib: host.hypervisor_kib,
            dom0_kib: host.dom0_kib,
            boot_kib: host.boot_kib,
            store_kib: host.store_kib,
            domains_kib: host.domains_kib,
            cpus: host.cpus,
            arch: self.facts.arch.clone(),
            board: self.facts.board.clone(),
            uptime_ns: host.now_ns,
            hypervisor: self.facts.hypervisor.clone(),
            xend: NAME.into(),
            boot_phases: self.facts.boot_phases.clone(),
            heap_used: heap.used,
            heap_size: heap.size,
            domains: host.domains,
            wall_clock_ns: self.now.wall_ns,
            virtualization: Some(platform::virtualization(&host).into()),
            store: Some(Box::new(self.store_info())),
        }))
    }

    pub(super) fn config_show(&self) -> Reply {
        let text = self.settings.to_string();
        Reply::Text(TextChunk {
            next: text.len() as u64,
            lost: 0,
            text: text.into_bytes(),
        })
    }

    pub(super) fn host_stop(&mut self, restart: bool) -> Reply {
        let how = if restart {
            HostStop::Restart
        } else {
            HostStop::PowerOff
        };
        self.log_line("the host is to stop");
        self.stop = Some((self.now.mono_ns.saturating_add(LAST_WORDS_NS), how));
        Reply::Done
    }

    /// All domains: those that exist, and then those that are defined alone.
    pub(super) fn list(&mut self) -> Reply {
        let infos = self.infos();
        let mut list: Vec<DomainSummary> =
            infos.iter().filter_map(|info| self.summary(info)).collect();
        let is_off = |name: &str| !list.iter().any(|domain| domain.name == name);
        let off = self.managed.iter().filter(|(name, _)| is_off(name));
        let off: Vec<_> = off
            .map(|(name, definition)| {
                let wanted = DomainRef::Name(name.into());
                let key = self.table.find(&wanted).ok();
                let waiting = key.and_then(|key| self.table.get(key));
                waiting.map_or_else(
                    || self.summary_off(name, definition),
                    |domain| self.summary_of(domain, &DomainInfo::default()),
                )
            })
            .collect();
        list.extend(off);
        Reply::List(list)
    }

    pub(super) fn show(&mut self, wanted: &DomainRef) -> Result<Reply, Failure> {
        if let Some(detail) = self.show_off(wanted) {
            return Ok(Reply::Domain(detail));
        }
        let infos = self.infos();
        let is_dom0 = matches!(wanted, DomainRef::Id(0))
            || matches!(wanted, DomainRef::Name(name) if name == "Domain-0");
        let domain = if is_dom0 {
            None
        } else {
            let key = self.table.find(wanted)?;
            self.table.get(key)
        };
        let domid = domain.map_or(Some(hv_abi::DomId::ZERO), |domain| domain.domid);
        let info = infos.iter().find(|info| Some(info.domid) == domid);
        let info = info.copied().unwrap_or_default();
        let summary = match domain {
            Some(domain) => self.summary_of(domain, &info),
            None => domain_0(&info, self.now.mono_ns),
        };
        Ok(Reply::Domain(DomainDetail {
            summary,
            config: domain.map_or_else(Default::default, |domain| domain.plan.text.clone()),
            // One without a number has none; what is counted under 0 is Domain-0's.
            counters: domid.map_or_else(Vec::new, |_| self.counters(domain, &info)),
            guest_domid: domain
                .map(|domain| domain.guest_domid)
                .filter(|guest| *guest != info.domid.0),
            totals: domain.and_then(|domain| self.managed.totals(&domain.uuid)),
        }))
    }

    /// A domain that is defined alone.
    fn show_off(&self, wanted: &DomainRef) -> Option<DomainDetail> {
        let DomainRef::Name(name) = wanted else {
            return None;
        };
        let definition = self.managed.get(name)?;
        self.table.find(wanted).is_err().then(|| DomainDetail {
            summary: self.summary_off(name, definition),
            config: definition.text.clone(),
            counters: Vec::new(),
            guest_domid: None,
            totals: self.managed.totals(&definition.record.uuid),
        })
    }

    fn summary_off(&self, name: &str, definition: &Definition) -> DomainSummary {
        let config = definition.config.as_ref().ok();
        let flags = match config {
            Some(_) => DomainFlags::MANAGED,
            None => DomainFlags::MANAGED.with(DomainFlags::BROKEN),
        };
        DomainSummary {
            domid: DomainSummary::NO_DOMID,
            name: name.into(),
            uuid: definition.record.uuid,
            kind: config.map_or(DomainKind::PVH, |config| config.kind),
            state: DomainState::OFF,
            vcpus: config.map_or(0, |config| config.max_vcpus),
            memory_kib: config.map_or(0, |config| config.memory_mib.saturating_mul(1024)),
            cpu_ns: 0,
            age_ns: 0,
            flags,
        }
    }

    pub(super) fn summary(&self, info: &DomainInfo) -> Option<DomainSummary> {
        if info.domid == hv_abi::DomId::ZERO {
            return Some(domain_0(info, self.now.mono_ns));
        }
        let found = self
            .table
            .iter()
            .find(|(_, domain)| domain.domid == Some(info.domid));
        found.map(|(_, domain)| self.summary_of(domain, info))
    }

    fn summary_of(&self, domain: &Domain<H>, info: &DomainInfo) -> DomainSummary {
        DomainSummary {
            domid: domain
                .domid
                .map_or(DomainSummary::NO_DOMID, |domid| domid.0),
            name: domain.name.clone(),
            uuid: domain.uuid,
            kind: domain.plan.config.kind,
            state: match domain.domid {
                _ if domain.state == State::Dying => DomainState::DYING,
                Some(_) => shown_state(info),
                None => DomainState::OFF,
            },
            vcpus: domain.plan.config.max_vcpus,
            memory_kib: domain.memory_kib,
            cpu_ns: info.usage.cpu_ns,
            age_ns: self.now.mono_ns.saturating_sub(info.created_ns),
            flags: self.flags_of(domain),
        }
    }

    fn flags_of(&self, domain: &Domain<H>) -> DomainFlags {
        let flags = match domain.state {
            State::Building => DomainFlags::BUILDING,
            State::Saving => DomainFlags::SAVING,
            State::Restoring => DomainFlags::RESTORING,
            State::ShuttingDown => DomainFlags::SHUTTING_DOWN,
            State::Waiting => DomainFlags::WAITING,
            _ => DomainFlags::default(),
        };
        if self.managed.owns(domain) {
            flags.with(DomainFlags::MANAGED)
        } else {
            flags
        }
    }

    fn counters(&self, domain: Option<&Domain<H>>, info: &DomainInfo) -> Vec<NamedCount> {
        let store = self.xenstore.counters(info.domid.0);
        let console = domain.map_or(0, |domain| u64::from(domain.console.faults()));
        [
            ("exits", info.usage.exits.total()),
            ("hypercalls", info.usage.exits.hypercalls),
            ("refusals", info.refusals.total()),
            ("refused calls", info.refusals.calls),
            ("refused pointers", info.refusals.pointers),
            ("refused accesses", info.refusals.accesses),
            ("refused instructions", info.refusals.instructions),
            ("refused firmware calls", info.refusals.firmware),
            ("memory frames", info.frames),
            ("overhead frames", info.overhead_frames),
            ("console faults", console),
            (
                "xenstore nodes",
                self.xenstore.usage(info.domid.0).nodes as u64,
            ),
            ("xenstore requests", store.requests),
            ("xenstore errors", store.errors),
            ("xenstore faults", store.faults),
        ]
        .into_iter()
        .map(|(name, count)| NamedCount {
            name: name.to_string(),
            count,
        })
        .collect()
    }
}

fn domain_0(info: &DomainInfo, now_ns: u64) -> DomainSummary {
    DomainSummary {
        domid: 0,
        name: "Domain-0".into(),
        uuid: info.uuid,
        kind: DomainKind::CONTROL,
        state: shown_state(info),
        vcpus: info.vcpus,
        memory_kib: info.frames.saturating_mul(4),
        cpu_ns: info.usage.cpu_ns,
        age_ns: now_ns.saturating_sub(info.created_ns),
        flags: DomainFlags::default(),
    }
}

fn shown_state(info: &DomainInfo) -> DomainState {
    let is = |bits: u32| info.state & bits != 0;
    let crashed = matches!(
        info.shutdown_reason,
        ShutdownReason::CRASH | ShutdownReason::WATCHDOG
    );
    if is(state::DYING) {
        DomainState::DYING
    } else if is(state::SHUTDOWN) && crashed {
        DomainState::CRASHED
    } else if is(state::SHUTDOWN) {
        DomainState::SHUTDOWN
    } else if is(state::PAUSED) {
        DomainState::PAUSED
    } else if is(state::BLOCKED) {
        DomainState::BLOCKED
    } else {
        DomainState::RUNNING
    }
}
