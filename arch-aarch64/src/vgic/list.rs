//! List registers: `ICH_LR<n>_EL2`.

use bitfield_struct::bitfield;

/// A list register.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ListRegister {
    /// INTID the guest sees.
    #[bits(32)]
    pub number: u32,
    /// Physical INTID; without `linked`, bit 9 asks for a maintenance interrupt at its end.
    #[bits(10)]
    pub physical: u32,
    #[bits(6)]
    __: u8,
    /// Priority.
    pub priority: u8,
    #[bits(4)]
    __: u8,
    /// Group 1.
    pub group1: bool,
    /// Ending it deactivates the physical interrupt.
    pub linked: bool,
    /// Pending.
    pub pending: bool,
    /// Active.
    pub active: bool,
}

/// `physical` of an interrupt that is not linked: ask for a maintenance interrupt when the guest ends it.
pub(super) const NOTIFY_END: u32 = 1 << 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_manual() {
        let list = ListRegister::new()
            .with_number(27)
            .with_physical(27)
            .with_priority(0xA0)
            .with_group1(true)
            .with_linked(true)
            .with_pending(true);
        assert_eq!(list.into_bits(), 0x70A0_001B_0000_001B);
        let notify = ListRegister::new().with_physical(NOTIFY_END);
        assert_eq!(notify.into_bits(), 1 << 41);
    }
}
