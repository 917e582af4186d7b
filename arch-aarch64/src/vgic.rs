//! The virtual GICv3 of a domain: distributor and redistributors as plain state, list registers as a plan.
//!
//! What is shown to a guest (GIC architecture specification, IHI 0069): one security state (`GICD_CTLR.DS` reads 1),
//! affinity routing always on, [`SPIS`](hv_abi::layout::arm::SPIS) SPIs, no LPIs, no ITS, 8 bits of INTID-to-priority
//! of which the five high ones count. The CPU interface is the hardware's own virtual one.
//!
//! What is true here:
//! - An interrupt is *held* when a list register of its vCPU carries it; then pending and active in [`state`] are out of
//!   date, and [`Vgic::fold`] brings them up to date. A held interrupt that becomes pending again is marked *again*.
//! - Whoever changes what a vCPU could take sets its `stale` flag; the vCPU refills its list registers before it
//!   enters the guest ([`Vgic::refill`]), and only then.
//! - A *linked* interrupt is one of the machine that stays active until the guest ends it: its list register has the
//!   HW bit, and nothing needs to be done when it ends.
//! - One lock per domain guards it all; it is taken after the domain's and nothing is locked under it.

use core::sync::atomic::{AtomicBool, Ordering};
use hv_abi::Errno;
use hv_abi::layout::arm::{GICD_BASE, GICD_SIZE, GICR_BASE, GICR_STRIDE};
use spin::mutex::TicketMutex;

pub mod distributor;
pub mod list;
pub mod record;
pub mod redistributor;
pub mod state;

use list::ListRegisters;
use state::{PRIVATE, State};

/// vCPUs a GICv3 of ours serves: Aff0 of an SGI's target list has 16 bits.
pub const VCPUS_MAX: usize = 16;

/// Where a guest finds its interrupt controller.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// vCPUs.
    pub vcpus: u32,
    /// Distributor registers.
    pub distributor: u64,
    /// Redistributors, [`GICR_STRIDE`] bytes each.
    pub redistributors: u64,
    /// SPIs are the machine's own.
    pub hardware: bool,
}

impl Layout {
    /// The layout of a domain that xend builds.
    #[must_use]
    pub fn guest(vcpus: u32) -> Self {
        Self {
            vcpus,
            distributor: GICD_BASE,
            redistributors: GICR_BASE,
            hardware: false,
        }
    }
}

/// What a register access asks the machine's own controller to do, for a domain that owns its SPIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineChange {
    /// Let these interrupts through, or not.
    Enable {
        /// First INTID of the 32.
        first: u32,
        /// One bit for each.
        mask: u32,
        /// Let through.
        enabled: bool,
    },
    /// Set whether these interrupts are edge-triggered.
    Trigger {
        /// First INTID of the 32.
        first: u32,
        /// One bit for each: edge.
        edge: u32,
    },
}

/// What a register access brings about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// vCPUs that have to look again, one bit each.
    pub wake: u32,
    /// What the machine has to do.
    pub machine: Option<MachineChange>,
}

/// A register, decoded from its guest-physical address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// Of the distributor, at this offset.
    Distributor(u32),
    /// Of a vCPU's redistributor, at this offset.
    Redistributor(u32, u32),
}

/// The interrupt controller of a domain.
pub struct Vgic {
    layout: Layout,
    stale: [AtomicBool; VCPUS_MAX],
    state: TicketMutex<State>,
}

impl Vgic {
    /// A controller after reset.
    ///
    /// # Errors
    /// `EINVAL` for more vCPUs than it serves, or none.
    pub fn new(layout: Layout) -> Result<Self, Errno> {
        if layout.vcpus == 0 || layout.vcpus as usize > VCPUS_MAX {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            layout,
            stale: [const { AtomicBool::new(false) }; VCPUS_MAX],
            state: TicketMutex::new(State::reset(layout.vcpus)),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The register at a guest-physical address, if it is one of ours.
    #[must_use]
    #[inline]
    pub fn register(&self, address: u64) -> Option<Register> {
        let offset = address.wrapping_sub(self.layout.distributor);
        if offset < GICD_SIZE {
            return Some(Register::Distributor(offset as u32));
        }
        let offset = address.wrapping_sub(self.layout.redistributors);
        let vcpu = offset / GICR_STRIDE;
        (vcpu < u64::from(self.layout.vcpus)).then_some(Register::Redistributor(
            vcpu as u32,
            (offset % GICR_STRIDE) as u32,
        ))
    }

    /// Reads a register. Where its value depends on list registers, `held` is folded in first.
    #[must_use]
    pub fn read(&self, vcpu: u32, register: Register, size: u8, held: &mut ListRegisters) -> u64 {
        let mut state = self.state.lock();
        match register {
            Register::Distributor(offset) => {
                if state::shows_pending_or_active(offset) {
                    state.fold(vcpu, held);
                    self.mark_stale(vcpu);
                }
                distributor::read(&state, offset, size)
            }
            Register::Redistributor(target, offset) => {
                if target == vcpu && redistributor::shows_pending_or_active(offset) {
                    state.fold(vcpu, held);
                    self.mark_stale(vcpu);
                }
                redistributor::read(&state, &self.layout, target, offset, size)
            }
        }
    }

    /// Writes a register.
    pub fn write(
        &self,
        vcpu: u32,
        register: Register,
        size: u8,
        value: u64,
        held: &mut ListRegisters,
    ) -> Effect {
        let mut state = self.state.lock();
        state.fold(vcpu, held);
        self.mark_stale(vcpu);
        let mut effect = match register {
            Register::Distributor(offset) => distributor::write(&mut state, offset, size, value),
            Register::Redistributor(target, offset) => {
                redistributor::write(&mut state, target, offset, size, value)
            }
        };
        if !self.layout.hardware {
            effect.machine = None;
        }
        drop(state);
        self.mark_all_stale(effect.wake);
        effect
    }

    /// Makes an SPI pending; `linked`: it is active in the machine until the guest ends it. Returns the vCPU to wake.
    pub fn raise_shared(&self, intid: u32, linked: bool) -> Option<u32> {
        let mut state = self.state.lock();
        let vcpu = state.raise(0, intid, linked)?;
        drop(state);
        self.mark_stale(vcpu);
        Some(vcpu)
    }

    /// Makes an SGI or PPI of a vCPU pending. Returns that vCPU if it has to look.
    pub fn raise_private(&self, vcpu: u32, intid: u32, linked: bool) -> Option<u32> {
        if intid >= PRIVATE || vcpu >= self.layout.vcpus {
            return None;
        }
        let mut state = self.state.lock();
        let woken = state.raise(vcpu, intid, linked)?;
        drop(state);
        self.mark_stale(woken);
        Some(woken)
    }

    /// A write to ICC_SGI1R_EL1 by `vcpu`. Returns the vCPUs to wake, one bit each.
    pub fn send_sgi(&self, vcpu: u32, value: u64) -> u32 {
        let intid = (value >> 24) as u32 & 0xF;
        let mut state = self.state.lock();
        let mut woken = 0;
        for target in 0..self.layout.vcpus {
            if sgi_reaches(value, vcpu, target) && state.raise(target, intid, false).is_some() {
                woken |= 1 << target;
            }
        }
        drop(state);
        self.mark_all_stale(woken);
        woken
    }

    /// Whether the vCPU's list registers are out of date; clears the mark.
    #[inline]
    pub fn take_stale(&self, vcpu: u32) -> bool {
        match self.stale.get(vcpu as usize) {
            Some(stale) => stale.load(Ordering::Acquire) && stale.swap(false, Ordering::AcqRel),
            None => false,
        }
    }

    /// Brings state up to date with what the list registers say, and plans them anew.
    pub fn refill(&self, vcpu: u32, held: &mut ListRegisters) {
        let mut state = self.state.lock();
        state.fold(vcpu, held);
        state.plan(vcpu, held);
    }

    /// Brings state up to date with what the list registers say, and empties them: the vCPU leaves its CPU.
    pub fn fold(&self, vcpu: u32, held: &mut ListRegisters) {
        self.state.lock().fold(vcpu, held);
        self.mark_stale(vcpu);
    }

    /// Whether the vCPU has an interrupt that it could take.
    #[must_use]
    pub fn has_interrupt(&self, vcpu: u32) -> bool {
        self.state.lock().has_deliverable(vcpu)
    }

    /// Whether a private interrupt of a vCPU is active. Only after [`Vgic::fold`].
    #[must_use]
    pub fn is_active(&self, vcpu: u32, intid: u32) -> bool {
        self.state
            .lock()
            .private_bank(vcpu)
            .is_some_and(|bank| bank.active & bit(intid) != 0)
    }

    /// Forgets that a private, linked interrupt is pending: its input is looked at again. Only after [`Vgic::fold`].
    pub fn retract(&self, vcpu: u32, intid: u32) {
        if let Some(bank) = self.state.lock().private_bank_mut(vcpu) {
            bank.pending &= !bit(intid);
            bank.linked &= !bit(intid) | bank.active;
        }
    }

    /// Marks an active private interrupt as linked again: the machine has it active once more.
    pub fn relink(&self, vcpu: u32, intid: u32) {
        if let Some(bank) = self.state.lock().private_bank_mut(vcpu) {
            bank.linked |= bit(intid) & bank.active;
        }
    }

    pub(crate) fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }

    pub(crate) fn mark_stale(&self, vcpu: u32) {
        if let Some(stale) = self.stale.get(vcpu as usize) {
            stale.store(true, Ordering::Release);
        }
    }

    fn mark_all_stale(&self, vcpus: u32) {
        (0..self.layout.vcpus)
            .filter(|vcpu| vcpus & (1 << vcpu) != 0)
            .for_each(|vcpu| self.mark_stale(vcpu));
    }
}

/// One bit of a bank of 32.
pub(crate) const fn bit(intid: u32) -> u32 {
    1 << (intid % 32)
}

/// Whether an ICC_SGI1R_EL1 value addresses `target` (all our vCPUs have Aff3 = Aff2 = Aff1 = 0).
fn sgi_reaches(value: u64, sender: u32, target: u32) -> bool {
    if value & (1 << 40) != 0 {
        return target != sender;
    }
    let affinity = value & 0x00FF_00FF_00FF_0000;
    let range = (value >> 44) & 0xF;
    affinity == 0 && range == 0 && value & (1 << target) != 0
}

#[cfg(test)]
mod tests;
