//! The controller's state as records, and back. A record is guest input: what a guest could not have brought about is
//! refused; what it could, however odd, is taken.

use super::state::{BANKS, Bank, ROUTE_TO_ANY, State};
use hv_abi::Errno;
use hv_abi::layout::arm::SPIS;
use hv_abi::record::arm::{Distributor, InterruptBank};

/// A bank as a record shows it. Nothing may be held: fold first.
#[must_use]
pub fn save_bank(bank: &Bank) -> InterruptBank {
    InterruptBank {
        group: bank.group,
        enabled: bank.enabled,
        pending: bank.pending,
        active: bank.active,
        level: 0,
        edge: bank.edge,
        priority: bank.priority,
    }
}

/// A bank from a record. Links to the machine do not survive.
///
/// # Errors
/// `EINVAL` for priorities with bits that are not implemented, or level inputs, which nothing here drives.
pub fn load_bank(record: &InterruptBank, fixed_edge: u32) -> Result<Bank, Errno> {
    let priorities_exist = record.priority.iter().all(|priority| priority & 0x07 == 0);
    if !priorities_exist || record.level != 0 || record.edge & fixed_edge != fixed_edge {
        return Err(Errno::EINVAL);
    }
    Ok(Bank {
        group: record.group,
        enabled: record.enabled,
        pending: record.pending,
        active: record.active,
        edge: record.edge,
        held: 0,
        linked: 0,
        priority: record.priority,
    })
}

/// The distributor's record.
#[must_use]
pub fn save_distributor(state: &State) -> Distributor {
    Distributor {
        ctlr: state.ctlr,
        spis: SPIS,
        banks: state.shared.each_ref().map(save_bank),
        router: state.router,
    }
}

/// Loads the distributor's record.
///
/// # Errors
/// `EINVAL` for bits that do not exist or another number of SPIs.
pub fn load_distributor(record: &Distributor, state: &mut State) -> Result<(), Errno> {
    let routes_exist = record
        .router
        .iter()
        .all(|route| route & !(0xFF_00FF_FFFF | ROUTE_TO_ANY) == 0);
    if record.spis != SPIS || record.ctlr & !0b11 != 0 || !routes_exist {
        return Err(Errno::EINVAL);
    }
    let mut shared = [Bank::RESET; BANKS];
    for (bank, saved) in shared.iter_mut().zip(&record.banks) {
        *bank = load_bank(saved, 0)?;
    }
    state.ctlr = record.ctlr;
    state.shared = shared;
    state.router = record.router;
    Ok(())
}
