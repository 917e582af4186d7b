//! An interrupt controller for guests, a GICv3 (IHI 0069) or a GICv2 (IHI 0048) as the machine has it: distributor,
//! redistributors, and what goes into list registers.
//!
//! What is here serves both; [`v2`] says what is particular to a GICv2. On a GICv3 the guest sees a GIC with one security state (`GICD_CTLR.DS` = 1) and affinity routing always on, as it would on a
//! machine without EL3: both groups are its own. All interrupts are in group 1 at reset. There are no LPIs.
//!
//! # Who knows what
//! An interrupt's pending and active state is in its [`Bank`], except while it is in a list register of a vCPU that is
//! on a CPU (`listed`). [`Gic::fold`] brings it back. State that one vCPU reads of an interrupt that is listed by
//! another, running one is that of before; a paused or descheduled vCPU has nothing listed.
//!
//! # Interrupts of the machine
//! An interrupt that the machine raised (`linked`) is physically active until the guest ends it: its list register
//! names the physical interrupt, and hardware deactivates that together with the virtual one. Where that is not possible
//! (it is pending again while active, or [`Gic::deactivates_by_itself`] is off) its end is noticed, and we deactivate it.

mod bank;
mod distributor;
mod list;
#[cfg(test)]
mod model;
mod plan;
mod record;
#[cfg(test)]
mod tests;
pub(crate) mod v2;

pub use bank::Bank;
pub use distributor::{Effect, Frame};
pub use list::ListRegister;
pub use plan::{LISTS_MAX, Plan};

/// vCPUs at most.
pub const VCPUS: usize = hv_abi::control::domain::VCPUS_MAX as usize;
/// SPIs.
pub const SPIS: u32 = hv_abi::layout::arm::SPIS;
/// Banks of 32 SPIs.
const SHARED: usize = SPIS as usize / 32;
/// First SPI.
const FIRST_SPI: u32 = 32;

/// GICD_CTLR.EnableGrp0.
const ENABLE_GROUP0: u32 = 1 << 0;
/// GICD_CTLR.EnableGrp1.
const ENABLE_GROUP1: u32 = 1 << 1;
/// GICD_CTLR.ARE.
const AFFINITY_ROUTING: u32 = 1 << 4;
/// GICD_CTLR.DS.
const SINGLE_SECURITY_STATE: u32 = 1 << 6;

/// Which architecture version a controller has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// GICv2.
    V2,
    /// GICv3.
    V3,
}

/// The state of a domain's interrupt controller.
#[derive(Clone, Debug)]
pub struct Gic {
    version: Version,
    /// Group enables of GICD_CTLR.
    ctlr: u32,
    vcpus: u32,
    /// SGIs and PPIs of each vCPU.
    private: [Bank; VCPUS],
    /// GICR_WAKER.ProcessorSleep, a bit for each vCPU.
    asleep: u32,
    shared: [Bank; SHARED],
    /// GICD_IROUTER; GICD_ITARGETSR of a GICv2.
    router: [u64; SPIS as usize],
    senders: v2::Senders,
    /// Hardware deactivates physical interrupts as it should.
    deactivates_by_itself: bool,
    /// Bit n: shared bank n may have something pending or active.
    busy: u32,
}

impl Gic {
    /// A controller with everything off, for as many vCPUs as it can serve.
    #[must_use]
    pub fn new(version: Version, vcpus: u32) -> Self {
        let group = match version {
            Version::V2 => 0,
            Version::V3 => u32::MAX,
        };
        Self {
            version,
            ctlr: 0,
            vcpus,
            private: [Bank::private(group); VCPUS],
            asleep: (1 << vcpus.min(31)) - 1,
            shared: [Bank::shared(group); SHARED],
            router: [0; SPIS as usize],
            senders: v2::Senders::default(),
            deactivates_by_itself: true,
            busy: 0,
        }
    }

    /// Says whether hardware deactivates a physical interrupt together with the virtual one as it should.
    #[must_use]
    pub fn deactivates_by_itself(self, by_itself: bool) -> Self {
        Self {
            deactivates_by_itself: by_itself,
            ..self
        }
    }

    /// The bank of an interrupt, as `vcpu` sees it, and the interrupt's bit in it.
    #[inline]
    fn bank_of(&mut self, vcpu: u32, number: u32) -> Option<(&mut Bank, u32)> {
        let bit = 1 << (number % 32);
        let bank = match number.checked_sub(FIRST_SPI) {
            None => self.private.get_mut(vcpu as usize)?,
            Some(spi) => {
                let index = spi as usize / 32;
                let bank = self.shared.get_mut(index)?;
                self.busy |= 1 << index;
                bank
            }
        };
        Some((bank, bit))
    }

    /// Bits of a bank that its group's enable lets through.
    #[inline]
    fn groups(&self, bank: &Bank) -> u32 {
        let one = if self.ctlr & ENABLE_GROUP1 != 0 {
            bank.group
        } else {
            0
        };
        let zero = if self.ctlr & ENABLE_GROUP0 != 0 {
            !bank.group
        } else {
            0
        };
        one | zero
    }

    /// Bits of a bank that are to be signalled, also those that are in a list register already: it may be one that the
    /// guest is done with.
    #[inline]
    fn signalled(&self, bank: &Bank) -> u32 {
        bank.shown_pending() & bank.enabled & self.groups(bank)
    }

    /// Bits of a bank that want a list register.
    #[inline]
    fn unlisted(&self, bank: &Bank) -> u32 {
        self.signalled(bank) & !bank.listed
    }

    /// The vCPU that an SPI goes to; none if its route names none.
    #[inline]
    fn target(&self, spi: usize) -> Option<u32> {
        const ANY: u64 = 1 << 31;
        let route = self.router.get(spi).copied()?;
        if self.version == Version::V2 {
            return self.target_v2(route);
        }
        if route & ANY != 0 {
            return Some(0);
        }
        crate::psci::vcpu_of(route).filter(|vcpu| *vcpu < self.vcpus)
    }

    /// Makes a private interrupt of a vCPU pending. Returns whether it has to look.
    #[inline]
    pub fn raise_private(&mut self, vcpu: u32, number: u32) -> bool {
        let Some(bank) = self.private.get_mut(vcpu as usize) else {
            return false;
        };
        let bit = 1_u32.wrapping_shl(number);
        bank.pending |= bit;
        let bank = &self.private[vcpu as usize & (VCPUS - 1)];
        self.signalled(bank) & bit != 0
    }

    /// Makes a private interrupt pending that is the machine's own and active there: a timer.
    #[inline]
    pub fn raise_private_linked(&mut self, vcpu: u32, number: u32) {
        if let Some(bank) = self.private.get_mut(vcpu as usize) {
            let bit = 1_u32.wrapping_shl(number);
            bank.pending |= bit;
            bank.linked |= bit;
        }
    }

    /// Makes an SPI pending. Returns the vCPU that has to look.
    pub fn raise_shared(&mut self, number: u32, from_machine: bool) -> Option<u32> {
        let spi = number.checked_sub(FIRST_SPI)?;
        let (bank, bit) = self.bank_of(0, number)?;
        bank.pending |= bit;
        if from_machine {
            bank.linked |= bit;
        }
        let bank = self.shared.get(spi as usize / 32)?;
        if self.signalled(bank) & bit == 0 {
            return None;
        }
        self.target(spi as usize)
    }

    /// Sets the input of an SPI. Returns the vCPU that has to look: there is something for it, or what it has in a list
    /// register may be over.
    pub fn set_input(&mut self, number: u32, high: bool) -> Option<u32> {
        let spi = number.checked_sub(FIRST_SPI)?;
        let (bank, bit) = self.bank_of(0, number)?;
        if high {
            bank.pending |= bit & bank.edge & !bank.level;
            bank.level |= bit;
        } else {
            bank.level &= !bit;
        }
        let bank = self.shared.get(spi as usize / 32)?;
        if (self.signalled(bank) | bank.listed) & bit == 0 {
            return None;
        }
        self.target(spi as usize)
    }

    /// `ICC_SGI1R_EL1` and its kin. Returns the vCPUs that have to look, a bit for each.
    pub fn send_sgi(&mut self, value: u64, from: u32, group1: bool) -> u32 {
        const TO_ALL_OTHERS: u64 = 1 << 40;
        const HIGHER_AFFINITY: u64 = 0x00FF_00FF_00FF_0000;
        let number = (value >> 24 & 0xF) as u32;
        let range = (value >> 44 & 0xF) as u32;
        let targets = if value & TO_ALL_OTHERS != 0 {
            !(1 << from)
        } else if value & HIGHER_AFFINITY != 0 || range != 0 {
            0
        } else {
            (value & 0xFFFF) as u32
        };
        let mut look = 0;
        for vcpu in 0..self.vcpus {
            let in_group = self
                .private
                .get(vcpu as usize)
                .is_some_and(|bank| (bank.group >> number & 1 != 0) == group1);
            if targets >> vcpu & 1 != 0 && in_group && self.raise_private(vcpu, number) {
                look |= 1 << vcpu;
            }
        }
        look
    }

    /// Whether something is waiting to be signalled to a vCPU, list registers aside.
    #[must_use]
    pub fn has_deliverable(&self, vcpu: u32) -> bool {
        let private = self.private.get(vcpu as usize);
        if private.is_some_and(|bank| self.signalled(bank) != 0) {
            return true;
        }
        let mut busy = self.busy;
        while busy != 0 {
            let index = busy.trailing_zeros() as usize;
            busy &= busy - 1;
            let Some(bank) = self.shared.get(index) else {
                continue;
            };
            let mut bits = self.signalled(bank);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if self.target(index * 32 + bit) == Some(vcpu) {
                    return true;
                }
            }
        }
        false
    }

    /// Whether a private interrupt would be signalled if it became pending.
    #[must_use]
    pub fn is_enabled(&self, vcpu: u32, number: u32) -> bool {
        let bit = 1_u32.wrapping_shl(number);
        self.private
            .get(vcpu as usize)
            .is_some_and(|bank| bank.enabled & self.groups(bank) & bit != 0)
    }

    /// Takes a timer's interrupt off the machine (its vCPU leaves the CPU): what is pending will be computed anew from
    /// the timer. Returns whether it was linked.
    pub fn unlink_timer(&mut self, vcpu: u32, number: u32) -> bool {
        let Some(bank) = self.private.get_mut(vcpu as usize) else {
            return false;
        };
        let bit = 1_u32.wrapping_shl(number);
        let was = bank.linked & bit != 0;
        bank.linked &= !bit;
        if was {
            bank.pending &= !bit;
        }
        was
    }

    /// Puts a timer's interrupt back on the machine if the guest is in the middle of handling it. Returns whether it
    /// is: the physical interrupt has to be made active.
    pub fn relink_timer(&mut self, vcpu: u32, number: u32) -> bool {
        let Some(bank) = self.private.get_mut(vcpu as usize) else {
            return false;
        };
        let bit = 1_u32.wrapping_shl(number);
        let active = bank.active & bit != 0;
        if active {
            bank.linked |= bit;
        }
        active
    }
}
