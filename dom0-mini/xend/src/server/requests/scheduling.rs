//! Requests about who gets how much of which CPU.

use crate::domain::Key;
use crate::hypervisor::Hypervisor;
use crate::refusal::refused;
use crate::scheduling;
use crate::server::Xend;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use hv_abi::DomId;
use hv_abi::control::domain::{DomainInfo, state};
use hv_abi::control::vcpu::{Usage, VcpuInfo};
use mgmt_proto::messages::{
    DomainRef, DomainScheduling, DomainState, ErrorCode, Failure, PinVcpu, Reply, SetScheduling,
    VcpuSummary,
};

impl<H: Hypervisor> Xend<H> {
    pub(super) fn scheduling_list(&mut self) -> Result<Reply, Failure> {
        let mut all = Vec::new();
        for info in self.infos() {
            let Some(name) = self.name_of(info.domid) else {
                continue;
            };
            // One that ends just now is left out.
            if let Ok((weight, cap)) = self.hypervisor.scheduling(info.domid) {
                all.push(DomainScheduling {
                    domid: info.domid.0,
                    name,
                    weight,
                    cap,
                });
            }
        }
        Ok(Reply::Scheduling(all))
    }

    pub(super) fn scheduling_set(&mut self, set: &SetScheduling) -> Result<Reply, Failure> {
        let (key, domid) = self.live(&set.domain)?;
        let no = |errno| refused("change the domain's weight and cap", errno);
        let (weight, cap) = self.hypervisor.scheduling(domid).map_err(no)?;
        let (weight, cap) = (set.weight.unwrap_or(weight), set.cap.unwrap_or(cap));
        scheduling::check(weight, cap)?;
        self.hypervisor
            .set_scheduling(domid, weight, cap)
            .map_err(no)?;
        let small = |value| u16::try_from(value).unwrap_or(u16::MAX);
        self.remember(key, |config| {
            (config.cpu_weight, config.cap) = (small(weight), small(cap));
        });
        self.log_line(&format!("domain {}: weight {weight}, cap {cap}", domid.0));
        Ok(Reply::Done)
    }

    pub(super) fn vcpu_list(&mut self) -> Result<Reply, Failure> {
        let mut all = Vec::new();
        for info in self.infos() {
            if let Some(name) = self.name_of(info.domid) {
                let vcpus = 0..info.vcpus;
                let vcpus = vcpus.filter_map(|vcpu| self.vcpu(&info, &name, vcpu));
                all.extend(vcpus.map(|(summary, _)| summary));
            }
        }
        Ok(Reply::Vcpus(all))
    }

    /// One vCPU, and what it used. None if its domain ends just now.
    pub(super) fn vcpu(
        &mut self,
        domain: &DomainInfo,
        name: &str,
        vcpu: u32,
    ) -> Option<(VcpuSummary, Usage)> {
        let info = self.hypervisor.vcpu_info(domain.domid, vcpu).ok()?;
        let summary = VcpuSummary {
            domid: domain.domid.0,
            name: name.into(),
            vcpu,
            state: shown_state(domain, &info),
            cpu: info.cpu,
            cpu_ns: info.usage.cpu_ns,
            affinity: self.hypervisor.affinity(domain.domid, vcpu).ok()?,
        };
        Some((summary, info.usage))
    }

    pub(super) fn vcpu_pin(&mut self, pin: &PinVcpu) -> Result<Reply, Failure> {
        let (key, domid) = self.live(&pin.domain)?;
        let count = self.vcpus_of(domid);
        let vcpus = match pin.vcpu {
            None => 0..count,
            Some(vcpu) if vcpu < count => vcpu..vcpu.saturating_add(1),
            Some(vcpu) => {
                let sentence = format!("the domain has no vCPU {vcpu}: it has {count}");
                return Err(Failure::new(ErrorCode::BAD_REQUEST, sentence)
                    .with_remedy("see what 'vcpu-list' shows"));
            }
        };
        scheduling::check_cpus(pin.cpus, scheduling::all_cpus(&mut self.hypervisor))?;
        for vcpu in vcpus.clone() {
            self.hypervisor
                .set_affinity(domid, vcpu, pin.cpus)
                .map_err(|errno| refused("pin the vCPU", errno))?;
        }
        self.remember(key, |config| {
            config.affinity = scheduling::pinned(config, vcpus, pin.cpus);
        });
        Ok(Reply::Done)
    }

    /// A domain that exists, Domain-0 included, which has no key.
    pub(super) fn live(&self, wanted: &DomainRef) -> Result<(Option<Key>, DomId), Failure> {
        let is_dom0 = match wanted {
            DomainRef::Id(domid) => *domid == 0,
            DomainRef::Name(name) => name == "Domain-0",
        };
        if is_dom0 {
            return Ok((None, DomId::ZERO));
        }
        let key = self.find(wanted)?;
        let domid = self.table.get(key).and_then(|domain| domain.domid);
        let domid = domid.ok_or_else(|| {
            Failure::new(ErrorCode::BUSY, "the domain is being built")
                .with_remedy("try again when it is there")
        })?;
        Ok((Some(key), domid))
    }

    fn name_of(&self, domid: DomId) -> Option<String> {
        if domid == DomId::ZERO {
            return Some("Domain-0".into());
        }
        let key = self.table.by_domid(domid)?;
        self.table.get(key).map(|domain| domain.name.clone())
    }

    fn vcpus_of(&mut self, domid: DomId) -> u32 {
        let infos = self.infos();
        let info = infos.iter().find(|info| info.domid == domid);
        info.map_or(0, |info| info.vcpus)
    }

    /// Keeps a change for as long as the domain is known, and with its record.
    fn remember(
        &mut self,
        key: Option<Key>,
        change: impl FnOnce(&mut mgmt_proto::config::DomainConfig),
    ) {
        let Some(domain) = key.and_then(|key| self.table.get_mut(key)) else {
            return;
        };
        scheduling::remember(domain, change);
        let record = domain.record();
        if let Some(domid) = domain.domid
            && let Err(errno) = self.hypervisor.set_blob(domid, &record)
        {
            log::error!("domain {}'s record is not up to date: {errno:?}", domid.0);
        }
    }
}

/// What a vCPU does; none: it is switched off.
fn shown_state(domain: &DomainInfo, vcpu: &VcpuInfo) -> Option<DomainState> {
    let is = |bits: u32| domain.state & bits != 0;
    if vcpu.state == 0 {
        None
    } else if is(state::DYING) {
        Some(DomainState::DYING)
    } else if is(state::SHUTDOWN) {
        Some(DomainState::SHUTDOWN)
    } else if is(state::PAUSED) {
        Some(DomainState::PAUSED)
    } else if vcpu.state & state::BLOCKED != 0 {
        Some(DomainState::BLOCKED)
    } else {
        Some(DomainState::RUNNING)
    }
}
