//! Interrupt state by banks of 32, and who could take what.

use super::list::ListRegisters;
use super::{VCPUS_MAX, bit};
use hv_abi::layout::arm::SPIS;

/// INTIDs below this are private to a vCPU.
pub const PRIVATE: u32 = 32;
/// First INTID that does not exist.
pub const INTIDS: u32 = PRIVATE + SPIS;
/// Banks of SPIs.
pub const BANKS: usize = (SPIS / 32) as usize;

/// 32 interrupts, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    /// Group 1 (the only one that is delivered).
    pub group: u32,
    /// Enabled.
    pub enabled: u32,
    /// Latched as pending.
    pub pending: u32,
    /// Active.
    pub active: u32,
    /// Edge-triggered, as configured.
    pub edge: u32,
    /// In a list register of its vCPU.
    pub held: u32,
    /// Active in the machine until the guest ends it.
    pub linked: u32,
    /// Priorities.
    pub priority: [u8; 32],
}

impl Bank {
    /// After reset.
    pub const RESET: Self = Self {
        group: 0,
        enabled: 0,
        pending: 0,
        active: 0,
        edge: 0,
        held: 0,
        linked: 0,
        priority: [0; 32],
    };

    /// Interrupts that could be taken.
    #[must_use]
    pub fn deliverable(&self) -> u32 {
        self.pending & self.enabled & self.group & !self.active
    }
}

/// SGIs and PPIs of a vCPU, and whether its redistributor sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Private {
    /// INTIDs 0 to 31.
    pub bank: Bank,
    /// GICR_WAKER.ProcessorSleep.
    pub asleep: bool,
}

/// Everything behind the lock.
pub struct State {
    /// GICD_CTLR bits that can be written: EnableGrp0, EnableGrp1.
    pub ctlr: u32,
    /// SPIs.
    pub shared: [Bank; BANKS],
    /// GICD_IROUTER of each SPI.
    pub router: [u64; SPIS as usize],
    /// Per vCPU.
    pub private: [Private; VCPUS_MAX],
    vcpus: u32,
}

/// EnableGrp1 in GICD_CTLR with one security state.
pub const ENABLE_GROUP1: u32 = 1 << 1;
/// GICD_IROUTER.IRM: any vCPU.
pub const ROUTE_TO_ANY: u64 = 1 << 31;

impl State {
    /// After reset: everything off, SGIs edge-triggered.
    #[must_use]
    pub fn reset(vcpus: u32) -> Self {
        let private = Private {
            bank: Bank {
                edge: 0xFFFF,
                ..Bank::RESET
            },
            asleep: true,
        };
        Self {
            ctlr: 0,
            shared: [Bank::RESET; BANKS],
            router: [0; SPIS as usize],
            private: [private; VCPUS_MAX],
            vcpus,
        }
    }

    /// vCPUs it serves.
    #[must_use]
    pub fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// The private bank of a vCPU.
    #[must_use]
    pub fn private_bank(&self, vcpu: u32) -> Option<&Bank> {
        self.private.get(vcpu as usize).map(|private| &private.bank)
    }

    /// The private bank of a vCPU, to change.
    pub fn private_bank_mut(&mut self, vcpu: u32) -> Option<&mut Bank> {
        self.private
            .get_mut(vcpu as usize)
            .map(|private| &mut private.bank)
    }

    /// The bank that an INTID is in, as `vcpu` sees it.
    pub fn bank_mut(&mut self, vcpu: u32, intid: u32) -> Option<&mut Bank> {
        match intid {
            0..PRIVATE => self.private_bank_mut(vcpu),
            _ => self.shared.get_mut(intid as usize / 32 - 1),
        }
    }

    /// The vCPU that an SPI goes to. A route to a vCPU that does not exist goes nowhere.
    #[must_use]
    pub fn target(&self, intid: u32) -> Option<u32> {
        let route = *self.router.get(intid.checked_sub(PRIVATE)? as usize)?;
        if route & ROUTE_TO_ANY != 0 {
            return Some(0);
        }
        u32::try_from(route).ok().filter(|vcpu| *vcpu < self.vcpus)
    }

    /// Makes an interrupt pending; returns the vCPU that has to look.
    pub fn raise(&mut self, vcpu: u32, intid: u32, linked: bool) -> Option<u32> {
        let target = if intid < PRIVATE {
            Some(vcpu)
        } else {
            self.target(intid)
        };
        let bank = self.bank_mut(vcpu, intid)?;
        bank.pending |= bit(intid);
        if linked {
            bank.linked |= bit(intid);
        }
        target
    }

    /// Takes what list registers say into the state and empties them.
    pub fn fold(&mut self, vcpu: u32, held: &mut ListRegisters) {
        for entry in held.drain() {
            let Some(bank) = self.bank_mut(vcpu, entry.intid) else {
                continue;
            };
            let bit = bit(entry.intid);
            bank.held &= !bit;
            if entry.pending {
                bank.pending |= bit;
            }
            if entry.active {
                bank.active |= bit;
            } else {
                bank.active &= !bit;
            }
            if !entry.pending && !entry.active && bank.pending & bit == 0 {
                bank.linked &= !bit;
            }
        }
    }

    /// Chooses what list registers hold: what is active, then what is pending, the highest priority first.
    pub fn plan(&mut self, vcpu: u32, held: &mut ListRegisters) {
        let group1 = self.ctlr & ENABLE_GROUP1 != 0;
        let mut choice = super::list::Choice::new(held.capacity());
        if let Some(bank) = self.private_bank(vcpu) {
            choice.consider(bank, 0, group1);
        }
        for (index, bank) in self.shared.iter().enumerate() {
            let candidates = bank.active | if group1 { bank.deliverable() } else { 0 };
            if candidates == 0 {
                continue;
            }
            let first = PRIVATE + index as u32 * 32;
            let mine = self.routed_to(vcpu, first, candidates);
            choice.consider_only(bank, first, group1, mine);
        }
        for entry in choice.entries() {
            if let Some(bank) = self.bank_mut(vcpu, entry.intid) {
                bank.held |= bit(entry.intid);
                if entry.pending {
                    bank.pending &= !bit(entry.intid);
                }
            }
        }
        held.fill(&choice);
    }

    /// Of these interrupts of a bank, those that go to `vcpu` (an active one stays with it wherever it is routed now).
    fn routed_to(&self, vcpu: u32, first: u32, mut candidates: u32) -> u32 {
        let mut mine = 0;
        while candidates != 0 {
            let index = candidates.trailing_zeros();
            candidates &= candidates - 1;
            if self.target(first + index) == Some(vcpu) {
                mine |= 1 << index;
            }
        }
        mine
    }

    /// Whether a vCPU could take an interrupt.
    #[must_use]
    pub fn has_deliverable(&self, vcpu: u32) -> bool {
        if self.ctlr & ENABLE_GROUP1 == 0 {
            return false;
        }
        let private = self
            .private_bank(vcpu)
            .is_some_and(|bank| bank.deliverable() != 0);
        private
            || self.shared.iter().enumerate().any(|(index, bank)| {
                let ready = bank.deliverable();
                ready != 0 && self.routed_to(vcpu, PRIVATE + index as u32 * 32, ready) != 0
            })
    }

    /// All vCPUs, one bit each: who has to look after a change that could concern anyone.
    #[must_use]
    pub fn everyone(&self) -> u32 {
        (1_u32 << self.vcpus).wrapping_sub(1)
    }
}

/// Whether a distributor register shows pending or active state (ISPENDR to ICACTIVER).
#[must_use]
pub fn shows_pending_or_active(offset: u32) -> bool {
    (0x200..0x400).contains(&offset)
}
