//! The virtual CPU interface: list registers and their control (`ICH_*_EL2`, or a GICv2's GICH).
//!
//! The control register's bits are the same in both.

use tock_registers::interfaces::{Readable, Writeable};

use super::gicv2;
use super::registers::{
    ICH_AP0R0_EL2, ICH_AP0R1_EL2, ICH_AP0R2_EL2, ICH_AP0R3_EL2, ICH_AP1R0_EL2, ICH_AP1R1_EL2,
    ICH_AP1R2_EL2, ICH_AP1R3_EL2, ICH_HCR_EL2, ICH_LR0_EL2, ICH_LR1_EL2, ICH_LR2_EL2, ICH_LR3_EL2,
    ICH_LR4_EL2, ICH_LR5_EL2, ICH_LR6_EL2, ICH_LR7_EL2, ICH_LR8_EL2, ICH_LR9_EL2, ICH_LR10_EL2,
    ICH_LR11_EL2, ICH_LR12_EL2, ICH_LR13_EL2, ICH_LR14_EL2, ICH_LR15_EL2, ICH_VMCR_EL2,
    ICH_VTR_EL2,
};
use crate::vgic::ListRegister;

macro_rules! by_number {
    ($number:expr, $($index:literal => $register:ident),*) => {
        match $number {
            $($index => Some(&$register as &dyn ListAccess),)*
            _ => None,
        }
    };
}

/// Only to give sixteen types one shape; the calls are resolved when the number is known.
trait ListAccess {
    fn read(&self) -> u64;
    fn write(&self, value: u64);
}

impl<R: Readable<T = u64> + Writeable<T = u64>> ListAccess for R {
    #[inline(always)]
    fn read(&self) -> u64 {
        self.get()
    }

    #[inline(always)]
    fn write(&self, value: u64) {
        self.set(value);
    }
}

#[inline(always)]
fn list(number: usize) -> Option<&'static dyn ListAccess> {
    by_number!(number,
        0 => ICH_LR0_EL2, 1 => ICH_LR1_EL2, 2 => ICH_LR2_EL2, 3 => ICH_LR3_EL2,
        4 => ICH_LR4_EL2, 5 => ICH_LR5_EL2, 6 => ICH_LR6_EL2, 7 => ICH_LR7_EL2,
        8 => ICH_LR8_EL2, 9 => ICH_LR9_EL2, 10 => ICH_LR10_EL2, 11 => ICH_LR11_EL2,
        12 => ICH_LR12_EL2, 13 => ICH_LR13_EL2, 14 => ICH_LR14_EL2, 15 => ICH_LR15_EL2)
}

/// Reads a list register.
#[inline]
pub(crate) fn read(number: usize) -> ListRegister {
    if gicv2::is_here() {
        return gicv2::read_list(number);
    }
    if number == 0 {
        return ListRegister::from_bits(ICH_LR0_EL2.get());
    }
    read_other(number)
}

/// Most of the time there is one interrupt at most: the choice between sixteen registers is kept away from that.
#[inline(never)]
fn read_other(number: usize) -> ListRegister {
    ListRegister::from_bits(list(number).map_or(0, ListAccess::read))
}

/// Writes a list register.
#[inline]
pub(crate) fn write(number: usize, value: ListRegister) {
    if gicv2::is_here() {
        return gicv2::write_list(number, value);
    }
    if number == 0 {
        ICH_LR0_EL2.set(value.into_bits());
    } else {
        write_other(number, value);
    }
}

#[inline(never)]
fn write_other(number: usize, value: ListRegister) {
    if let Some(list) = list(number) {
        list.write(value.into_bits());
    }
}

/// List registers this CPU has.
pub(crate) fn count() -> usize {
    if gicv2::is_here() {
        return gicv2::lists();
    }
    (ICH_VTR_EL2.get() as usize & 0x1F) + 1
}

/// Bits of priority for preemption: how many active-priority registers there are.
fn preemption_bits() -> u64 {
    (ICH_VTR_EL2.get() >> 26 & 7) + 1
}

/// `ICH_HCR_EL2.En`.
pub(crate) const ENABLE: u64 = 1;
/// Maintenance interrupt when at most one list register is in use.
pub(crate) const NOTIFY_UNDERFLOW: u64 = 1 << 1;
/// Maintenance interrupt when the guest ended what is in no list register.
pub(crate) const NOTIFY_UNLISTED_END: u64 = 1 << 2;

/// Sets `ICH_HCR_EL2`.
#[inline(always)]
pub(crate) fn control(value: u64) {
    if gicv2::is_here() {
        return gicv2::control(value as u32);
    }
    ICH_HCR_EL2.set(value);
}

/// How many interrupts the guest ended that were in no list register, since [`control`].
#[inline(always)]
pub(crate) fn unlisted_ends() -> u32 {
    let control = if gicv2::is_here() {
        gicv2::read_control()
    } else {
        ICH_HCR_EL2.get() as u32
    };
    control >> 27
}

/// The guest's CPU interface, list registers aside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interface {
    /// ICH_VMCR_EL2, GICH_VMCR.
    pub(crate) vmcr: u64,
    /// ICH_AP0R<n>_EL2, ICH_AP1R<n>_EL2; GICH_APR is the first.
    pub(crate) active_priorities: [[u64; 4]; 2],
}

/// Takes the guest's CPU interface off this CPU.
pub(crate) fn save() -> Interface {
    if gicv2::is_here() {
        return gicv2::save();
    }
    let mut interface = Interface {
        vmcr: ICH_VMCR_EL2.get(),
        ..Interface::default()
    };
    let [zero, one] = &mut interface.active_priorities;
    zero[0] = ICH_AP0R0_EL2.get();
    one[0] = ICH_AP1R0_EL2.get();
    let bits = preemption_bits();
    if bits >= 6 {
        zero[1] = ICH_AP0R1_EL2.get();
        one[1] = ICH_AP1R1_EL2.get();
    }
    if bits >= 7 {
        zero[2] = ICH_AP0R2_EL2.get();
        zero[3] = ICH_AP0R3_EL2.get();
        one[2] = ICH_AP1R2_EL2.get();
        one[3] = ICH_AP1R3_EL2.get();
    }
    control(0);
    interface
}

/// Puts a guest's CPU interface on this CPU.
pub(crate) fn load(interface: &Interface) {
    if gicv2::is_here() {
        gicv2::load(interface);
        return control(ENABLE);
    }
    let [zero, one] = &interface.active_priorities;
    ICH_VMCR_EL2.set(interface.vmcr);
    ICH_AP0R0_EL2.set(zero[0]);
    ICH_AP1R0_EL2.set(one[0]);
    let bits = preemption_bits();
    if bits >= 6 {
        ICH_AP0R1_EL2.set(zero[1]);
        ICH_AP1R1_EL2.set(one[1]);
    }
    if bits >= 7 {
        ICH_AP0R2_EL2.set(zero[2]);
        ICH_AP0R3_EL2.set(zero[3]);
        ICH_AP1R2_EL2.set(one[2]);
        ICH_AP1R3_EL2.set(one[3]);
    }
    control(ENABLE);
}
