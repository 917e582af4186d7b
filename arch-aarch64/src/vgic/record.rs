//! The controller's state as records.

use hv_abi::Errno;
use hv_abi::record::arm::{Distributor, Redistributor};

use super::distributor::ROUTE;
use super::{Bank, ENABLE_GROUP0, ENABLE_GROUP1, Gic, SPIS};

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
        const SGIS: u32 = 0xFFFF;
        if vcpu >= self.vcpus || record.asleep > 1 || record.bank.edge & SGIS != SGIS {
            return Err(Errno::EINVAL);
        }
        let bank = self.private.get_mut(vcpu as usize).ok_or(Errno::EINVAL)?;
        *bank = Bank::restore(&record.bank);
        self.asleep = self.asleep & !(1 << vcpu) | record.asleep << vcpu;
        Ok(())
    }
}
