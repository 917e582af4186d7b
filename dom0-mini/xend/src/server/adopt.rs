//! Taking over domains that a Domain-0 before us left running.
//!
//! Everything comes from the hypervisor: the list, and the record xend left with each domain. Ports and grant maps were
//! closed with the old Domain-0; the guest's ports wait to be bound again. What was in xenstore is gone: a domain finds
//! its standard nodes.

use super::Xend;
use crate::backend;
use crate::domain::{After, Domain, Key, Plan, decode_policies};
use crate::hypervisor::Hypervisor;
use crate::lifecycle::State;
use crate::nodes;
use crate::record::Record;
use crate::restore::guest_ports;
use crate::store::content::Content;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use hv_abi::control::domain::{self as control, BLOB_MAX, DomainInfo, state};
use hv_abi::{DomId, Errno};
use mgmt_proto::config::{Affinity, ConfigFile, CpuSet, DomainConfig, ImageSource, uuid_text};
use mgmt_proto::messages::DomainKind;

impl<H: Hypervisor> Xend<H> {
    /// Adds every domain that exists to the table.
    pub(super) fn adopt_domains(&mut self) {
        for info in self.infos() {
            if info.domid != DomId::ZERO {
                let key = self.adopt(&info);
                self.connect_again(key, &info);
            }
        }
        self.reconcile();
    }

    fn adopt(&mut self, info: &DomainInfo) -> Key {
        let mut bytes = vec![0; BLOB_MAX];
        let length = self
            .hypervisor
            .get_blob(info.domid, &mut bytes)
            .unwrap_or(0);
        let record = Record::decode(bytes.get(..length).unwrap_or_default());
        let wanted = record.as_ref().map_or_else(
            || format!("domain-{}", info.domid.0),
            |record| record.name.clone(),
        );
        let name = if self.table.admits(&wanted, None).is_ok() {
            wanted
        } else {
            uuid_text(&info.uuid)
        };
        let plan = self.plan_of(&name, record.as_ref(), info);
        let started = info.state & state::DYING == 0;
        let state = match info.state {
            bits if bits & state::DYING != 0 => State::Dying,
            bits if bits & state::PAUSED != 0 => State::Paused,
            _ => State::Running,
        };
        let memory_kib = plan.config.memory_mib.saturating_mul(1024);
        let domain = Domain {
            domid: Some(info.domid),
            guest_domid: info.guest_domid.0,
            started_ns: info.created_ns,
            ..self.new_domain(name.clone(), info.uuid, memory_kib, Rc::new(plan), state)
        };
        self.log_line(&format!("domain {} '{name}' is taken over", info.domid.0));
        let key = self.table.add(domain);
        if !started {
            self.take_apart(key, After::Remove(None));
        }
        key
    }

    /// What a domain was built from, as far as its record tells.
    fn plan_of(&self, name: &str, record: Option<&Record>, info: &DomainInfo) -> Plan<H::Frames> {
        let text = record
            .and_then(|record| record.config.clone())
            .unwrap_or_default();
        let parsed = ConfigFile::parse(name, &text)
            .ok()
            .and_then(|file| DomainConfig::from_file(&file).ok())
            .map(|(config, _)| config);
        let mut config = parsed.unwrap_or_else(|| unknown_config(name, info));
        if let Some(record) = record {
            config.policies = decode_policies(record.policies);
        }
        let find = |source: &ImageSource| match source {
            ImageSource::Boot(file) => self.hypervisor.bundle_file(file).map(Content::Bundle),
            _ => None,
        };
        let definition = self.managed.by_uuid(&info.uuid);
        let content = |key: &str, source: &ImageSource| {
            find(source).unwrap_or_else(|| Content::Lost {
                name: source.to_string(),
                id: definition.and_then(|(_, definition)| definition.file(key, source)),
            })
        };
        let ramdisk = config.ramdisk.as_ref();
        Plan {
            kernel: content("kernel", &config.kernel),
            ramdisk: ramdisk.map(|source| content("ramdisk", source)),
            text,
            config,
        }
    }

    fn connect_again(&mut self, key: Key, info: &DomainInfo) {
        if let Err(errno) = self.try_connect(key, info) {
            self.log_line(&format!(
                "domain {} has no console and no xenstore: {errno:?}",
                info.domid.0
            ));
        }
    }

    fn try_connect(&mut self, key: Key, info: &DomainInfo) -> Result<(), Errno> {
        let domid = info.domid;
        let places = self.architecture().places();
        let Some(domain) = self
            .table
            .get_mut(key)
            .filter(|domain| domain.state.is_live())
        else {
            return Ok(());
        };
        let ports = guest_ports(&mut self.hypervisor, domid)?;
        let backend = backend::attach(
            &mut self.hypervisor,
            &mut self.xenstore,
            domid,
            domain.guest_domid,
            &domain.uuid,
            ports,
        )?;
        domain.backend = Some(backend);
        let facts = nodes::Facts {
            domid: domid.0,
            guest_domid: domain.guest_domid,
            name: &domain.name,
            uuid: domain.uuid,
            memory_kib: domain.memory_kib,
            vcpus: domain.plan.config.vcpus,
            ports,
            places,
        };
        nodes::create(&mut self.xenstore, &facts).map_err(|_| Errno::EIO)?;
        self.serve_rings(key);
        Ok(())
    }
}

/// The configuration of a domain whose own is not known.
fn unknown_config(name: &str, info: &DomainInfo) -> DomainConfig {
    DomainConfig {
        name: name.into(),
        uuid: Some(info.uuid),
        kind: if info.kind == control::DomainKind::HVM {
            DomainKind::HVM
        } else {
            DomainKind::PVH
        },
        memory_mib: info.frames_max / 256,
        vcpus: info.vcpus,
        max_vcpus: info.vcpus,
        kernel: ImageSource::File("its kernel".into()),
        ramdisk: None,
        command_line: String::new(),
        policies: mgmt_proto::config::Policies::default(),
        cpu_weight: 256,
        cap: 0,
        affinity: Affinity::All(CpuSet::ALL),
        autostart: None,
    }
}
