//! The controller's state as records.

use hv_abi::Errno;
use hv_abi::record::arm::{Distributor, Gicv2Distributor, Gicv2Interface, Redistributor};

use super::distributor::ROUTE;
use super::{Bank, ENABLE_GROUP0, ENABLE_GROUP1, Gic, SPIS};

const SGIS: u32 = 0xFFFF;

/// Whether a guest could have made this state.
///
/// # Errors
/// `EINVAL` if not.
fn check_distributor(record: &Distributor) -> Result<(), Errno> {
    let known = record.ctlr & !(ENABLE_GROUP0 | ENABLE_GROUP1) == 0
        && record.spis == SPIS
        && record.router.iter().all(|route| route & !ROUTE == 0);
    if known { Ok(()) } else { Err(Errno::EINVAL) }
}

impl Gic {
    /// The distributor's record.
    #[must_use]
    pub fn save_distributor(&self) -> Distributor {
        Distributor {
            ctlr: self.ctlr,
            spis: SPIS,
            banks: core::array::from_fn(|index| {
                self.shared
                    .get(index)
                    .map_or_else(Default::default, Bank::save)
            }),
            router: self.router,
        }
    }

    /// Loads the distributor's record.
    ///
    /// # Errors
    /// `EINVAL` for a state no guest could have made.
    pub fn restore_distributor(&mut self, record: &Distributor) -> Result<(), Errno> {
        check_distributor(record)?;
        self.ctlr = record.ctlr;
        self.router = record.router;
        for (bank, record) in self.shared.iter_mut().zip(&record.banks) {
            *bank = Bank::restore(record);
        }
        self.busy = u32::MAX;
        Ok(())
    }

    /// The vCPU's part of its redistributor's record.
    #[must_use]
    pub fn save_private(&self, vcpu: u32) -> Redistributor {
        let bank = self.private.get(vcpu as usize);
        Redistributor {
            bank: bank.map_or_else(Default::default, Bank::save),
            asleep: self.asleep >> vcpu & 1,
            ..Redistributor::default()
        }
    }

    /// Loads the vCPU's part of its redistributor's record.
    ///
    /// # Errors
    /// `EINVAL` for a vCPU that is not there, or a state no guest could have made.
    pub fn restore_private(&mut self, vcpu: u32, record: &Redistributor) -> Result<(), Errno> {
        if vcpu >= self.vcpus || record.asleep > 1 || record.bank.edge & SGIS != SGIS {
            return Err(Errno::EINVAL);
        }
        let bank = self.private.get_mut(vcpu as usize).ok_or(Errno::EINVAL)?;
        *bank = Bank::restore(&record.bank);
        self.asleep = self.asleep & !(1 << vcpu) | record.asleep << vcpu;
        Ok(())
    }
}

impl Gic {
    /// The distributor's record, of a GICv2.
    #[must_use]
    pub fn save_distributor_v2(&self) -> Gicv2Distributor {
        let record = self.save_distributor();
        Gicv2Distributor {
            ctlr: record.ctlr,
            spis: record.spis,
            banks: record.banks,
            targets: self.router.map(|targets| targets as u8),
        }
    }

    /// Loads the distributor's record, of a GICv2.
    ///
    /// # Errors
    /// `EINVAL` for a state no guest could have made.
    pub fn restore_distributor_v2(&mut self, record: &Gicv2Distributor) -> Result<(), Errno> {
        let mask = self.targets_mask();
        let router = record.targets.map(u64::from);
        if router.iter().any(|targets| targets & !mask != 0) {
            return Err(Errno::EINVAL);
        }
        self.restore_distributor(&Distributor {
            ctlr: record.ctlr,
            spis: record.spis,
            banks: record.banks,
            router,
        })
    }

    /// The distributor's part of a vCPU's record, of a GICv2.
    #[must_use]
    pub fn save_banked(&self, vcpu: u32) -> Gicv2Interface {
        let bank = self.private.get(vcpu as usize);
        let of = |senders: &[[u8; 16]]| senders.get(vcpu as usize).copied().unwrap_or_default();
        Gicv2Interface {
            bank: bank.map_or_else(Default::default, Bank::save),
            sgi_pending: of(&self.senders.pending),
            sgi_active: of(&self.senders.active),
            ..Gicv2Interface::default()
        }
    }

    /// Loads the distributor's part of a vCPU's record, of a GICv2.
    ///
    /// # Errors
    /// `EINVAL` for a vCPU that is not there, or a state no guest could have made.
    pub fn restore_banked(&mut self, vcpu: u32, record: &Gicv2Interface) -> Result<(), Errno> {
        let senders = (1_u32 << self.vcpus) - 1;
        let pending = |sgi: usize| record.bank.pending >> sgi & 1 != 0;
        let consistent = record.bank.edge & SGIS == SGIS
            && record.bank.enabled & SGIS == SGIS
            && (0..).zip(&record.sgi_pending).all(|(sgi, from)| {
                u32::from(*from) & !senders == 0 && (*from != 0) == pending(sgi)
            })
            && record
                .sgi_active
                .iter()
                .all(|from| u32::from(*from) < self.vcpus);
        if vcpu >= self.vcpus || !consistent {
            return Err(Errno::EINVAL);
        }
        let bank = self.private.get_mut(vcpu as usize).ok_or(Errno::EINVAL)?;
        let pending = self.senders.pending.get_mut(vcpu as usize);
        let active = self.senders.active.get_mut(vcpu as usize);
        let (pending, active) = pending.zip(active).ok_or(Errno::EINVAL)?;
        *bank = Bank::restore(&record.bank);
        (*pending, *active) = (record.sgi_pending, record.sgi_active);
        Ok(())
    }
}
