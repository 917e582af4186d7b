//! Requests about what the host and its domains used.

use crate::domain::DOMAINS;
use crate::hypervisor::{Answer, Hypervisor};
use crate::refusal::refused;
use crate::server::Xend;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use hv_abi::control::domain::DomainInfo;
use hv_abi::control::host::HostInfo;
use hv_abi::control::vcpu;
use mgmt_proto::messages::{
    DomainRef, DomainStats, DomainUsage, ExitCounts, Failure, HostStats, Reply, Stats, Usage,
    VcpuUsage,
};

impl<H: Hypervisor> Xend<H> {
    pub(super) fn stats(&mut self) -> Result<Reply, Failure> {
        let (host, infos) = self.all_figures()?;
        let domains = infos.iter().filter_map(|info| self.domain_stats(info));
        Ok(Reply::Stats(Stats {
            domains: domains.collect(),
            host: self.host_stats(&host),
        }))
    }

    pub(super) fn usage(&mut self, wanted: &DomainRef) -> Result<Reply, Failure> {
        let (_, domid) = self.live(wanted)?;
        let (host, infos) = self.all_figures()?;
        let gone = || refused("tell the domain's figures", hv_abi::Errno::ESRCH);
        let info = infos.iter().find(|info| info.domid == domid);
        let info = info.ok_or_else(gone)?;
        let domain = self.domain_stats(info).ok_or_else(gone)?;
        let name = &domain.summary.name;
        let vcpus = (0..info.vcpus).filter_map(|vcpu| {
            let (summary, usage) = self.vcpu(info, name, vcpu)?;
            let usage = shown_usage(&usage);
            Some(VcpuUsage { summary, usage })
        });
        Ok(Reply::Usage(Box::new(DomainUsage {
            time_ns: host.now_ns,
            vcpus: vcpus.collect(),
            domain,
        })))
    }

    fn all_figures(&mut self) -> Result<(HostInfo, Vec<DomainInfo>), Failure> {
        let sample = self.sample();
        let (host, mut infos) = sample.map_err(|errno| refused("tell its figures", errno))?;
        infos.sort_unstable_by_key(|info| info.domid);
        Ok((host, infos))
    }

    /// The host, and all domains that exist. There is room for all of them, so that one call usually does.
    fn sample(&mut self) -> Answer<(HostInfo, Vec<DomainInfo>)> {
        let mut room = vec![DomainInfo::default(); DOMAINS + 1];
        let (mut all, mut cursor) = (Vec::with_capacity(room.len()), 0);
        loop {
            let piece = self.hypervisor.sample(cursor, &mut room)?;
            all.extend(room.iter().take(piece.count));
            if piece.last || piece.count == 0 {
                return Ok((piece.host, all));
            }
            cursor = piece.next;
        }
    }

    fn host_stats(&self, host: &HostInfo) -> HostStats {
        HostStats {
            time_ns: host.now_ns,
            cpus: host.cpus,
            idle_ns: host.idle_ns,
            total_kib: host.total_kib,
            free_kib: host.free_kib,
            hypervisor_kib: host.hypervisor_kib,
            dom0_kib: host.dom0_kib,
            boot_kib: host.boot_kib,
            store_kib: host.store_kib,
            domains_kib: host.domains_kib,
            hypervisor_log_bytes: Some(host.log_bytes),
            xend_log_bytes: Some(self.log.book.end()),
        }
    }

    fn domain_stats(&self, info: &DomainInfo) -> Option<DomainStats> {
        Some(DomainStats {
            summary: self.summary(info)?,
            vcpus_online: info.vcpus_online,
            exits: info.usage.exits.total(),
            hypercalls: info.usage.exits.hypercalls,
            refusals: info.refusals.total(),
            usage: Some(shown_usage(&info.usage)),
        })
    }
}

const fn shown_usage(usage: &vcpu::Usage) -> Usage {
    let exits = &usage.exits;
    Usage {
        runnable_ns: usage.runnable_ns,
        blocked_ns: usage.blocked_ns,
        runs: usage.runs,
        queued_ns: usage.queued_ns,
        longest_queued_ns: usage.longest_queued_ns,
        exits: ExitCounts {
            hypercalls: exits.hypercalls,
            accesses: exits.accesses,
            idle: exits.idle,
            interrupted: exits.interrupted,
            ipis: exits.ipis,
            power: exits.power,
            refused: exits.refused,
            architecture: exits.architecture,
        },
        interrupts: usage.interrupts,
        events: usage.events,
    }
}
