//! What a port is used for, as a word.

use hv_abi::DomId;
use hv_abi::xen::event::{PORTS, status, virq};

/// A port in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What for.
    pub what: Use,
    /// The vCPU that is notified.
    pub vcpu: u32,
}

/// What a port is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Waits for a peer.
    Unbound {
        /// Who may bind to it.
        remote: DomId,
    },
    /// Connected.
    Interdomain {
        /// Whose port it is connected to.
        remote: DomId,
        /// Which.
        port: u32,
    },
    /// A virtual interrupt.
    Virq {
        /// Which.
        virq: u32,
    },
    /// Between vCPUs.
    Ipi,
}

const VCPU_SHIFT: u32 = 8;
const REMOTE_SHIFT: u32 = 16;
const DETAIL_SHIFT: u32 = 32;

impl Entry {
    /// Its word: the status, the vCPU, the remote domain, and the port or virtual interrupt.
    pub(super) fn encode(self) -> u64 {
        let (status, remote, detail) = match self.what {
            Use::Unbound { remote } => (status::UNBOUND, remote.0, 0),
            Use::Interdomain { remote, port } => (status::INTERDOMAIN, remote.0, port),
            Use::Virq { virq } => (status::VIRQ, 0, virq),
            Use::Ipi => (status::IPI, 0, 0),
        };
        u64::from(status)
            | u64::from(self.vcpu & 0xFF) << VCPU_SHIFT
            | u64::from(remote) << REMOTE_SHIFT
            | u64::from(detail) << DETAIL_SHIFT
    }

    /// The port in use that a word says, if any.
    pub(super) const fn decode(word: u64) -> Option<Self> {
        let remote = DomId((word >> REMOTE_SHIFT & 0xFFFF) as u16);
        let detail = (word >> DETAIL_SHIFT) as u32;
        let what = match (word & 0xFF) as u32 {
            status::UNBOUND => Use::Unbound { remote },
            status::INTERDOMAIN => Use::Interdomain {
                remote,
                port: detail,
            },
            status::VIRQ => Use::Virq { virq: detail },
            status::IPI => Use::Ipi,
            _ => return None,
        };
        let vcpu = (word >> VCPU_SHIFT & 0xFF) as u32;
        Some(Self { what, vcpu })
    }
}

impl Entry {
    /// Its record. The peer of a connected port is not saved with the domain; it binds again after the restore.
    #[must_use]
    pub fn to_record(self, port: u32) -> hv_abi::record::Event {
        let (status, detail) = match self.what {
            Use::Unbound { remote } | Use::Interdomain { remote, .. } => {
                (status::UNBOUND, u32::from(remote.0))
            }
            Use::Virq { virq } => (status::VIRQ, virq),
            Use::Ipi => (status::IPI, 0),
        };
        hv_abi::record::Event {
            port,
            status,
            vcpu: self.vcpu,
            detail,
        }
    }

    /// What a record says a port is used for, by a domain with that many vCPUs; `None` if no guest could have made
    /// that. Only Domain-0 is taken for a peer: other domains' numbers mean nothing on this host.
    #[must_use]
    pub fn from_record(record: &hv_abi::record::Event, vcpus: u32) -> Option<(u32, Self)> {
        let in_range = (1..PORTS).contains(&record.port) && record.vcpu < vcpus;
        let what = match record.status {
            status::UNBOUND if record.detail == 0 => Use::Unbound {
                remote: DomId::ZERO,
            },
            status::VIRQ if record.detail < virq::COUNT => Use::Virq {
                virq: record.detail,
            },
            status::IPI if record.detail == 0 => Use::Ipi,
            _ => return None,
        };
        let vcpu = record.vcpu;
        in_range.then_some((record.port, Self { what, vcpu }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_survives_its_word() {
        let remote = DomId(0x7FEF);
        let uses = [
            Use::Unbound { remote },
            Use::Interdomain { remote, port: 4095 },
            Use::Virq { virq: 23 },
            Use::Ipi,
        ];
        for what in uses {
            let entry = Entry { what, vcpu: 15 };
            assert_eq!(Entry::decode(entry.encode()), Some(entry));
        }
        assert_eq!(Entry::decode(0), None);
    }

    #[test]
    fn a_record_is_refused_unless_a_guest_could_have_made_it() {
        let good = hv_abi::record::Event {
            port: 7,
            status: status::UNBOUND,
            vcpu: 1,
            detail: 0,
        };
        assert!(Entry::from_record(&good, 2).is_some());
        let bad = [
            hv_abi::record::Event { port: 0, ..good },
            hv_abi::record::Event { port: 4096, ..good },
            hv_abi::record::Event { vcpu: 2, ..good },
            hv_abi::record::Event { detail: 5, ..good },
            hv_abi::record::Event {
                status: status::INTERDOMAIN,
                ..good
            },
            hv_abi::record::Event {
                status: status::VIRQ,
                detail: 24,
                ..good
            },
            hv_abi::record::Event { status: 9, ..good },
        ];
        for record in bad {
            assert_eq!(Entry::from_record(&record, 2), None, "{record:?}");
        }
    }
}
