//! Exceptions that the guest takes at EL1 (Arm ARM, "AArch64 exception model").

use super::Vcpu;
use crate::hw::world;
use crate::syndrome;

/// Syndrome of an undefined instruction: class 0, 32 bits long.
const UNDEFINED: u64 = 1 << 25;
const EXTERNAL_ABORT: u64 = 0x10;
const IS_LONG: u64 = 1 << 25;
const WRITE_NOT_READ: u64 = 1 << 6;

/// PSTATE.{D,A,I,F} set, EL1h.
const EXCEPTION_STATE: u64 = 0x3C5;
const FLAGS: u64 = 0xF000_0000;
const DIT: u64 = 1 << 24;
const PAN: u64 = 1 << 22;
/// SCTLR_EL1.SPAN: PAN stays as it is.
const KEEP_PAN: u64 = 1 << 23;

/// Where an exception taken from `pstate` goes, and the state there. `has_pan`: the CPU has PSTATE.PAN.
fn take(pstate: u64, vbar: u64, sctlr: u64, has_pan: bool) -> (u64, u64) {
    const MODE: u64 = 0x1F;
    let offset = match pstate & MODE {
        0b0_0101 => 0x200,
        0b0_0100 => 0x000,
        0b0_0000 => 0x400,
        _ => 0x600,
    };
    let mut state = EXCEPTION_STATE | pstate & (FLAGS | DIT | PAN);
    if has_pan && sctlr & KEEP_PAN == 0 {
        state |= PAN;
    }
    (vbar.wrapping_add(offset), state)
}

/// The syndrome that EL1 sees for an abort that EL2 saw as `esr`.
fn abort_syndrome(esr: u64, from_lower: bool) -> u64 {
    let is_fetch = matches!(syndrome::class(esr), 0x20 | 0x21);
    let class: u64 = match (is_fetch, from_lower) {
        (true, true) => 0x20,
        (true, false) => 0x21,
        (false, true) => 0x24,
        (false, false) => 0x25,
    };
    let direction = if is_fetch { 0 } else { esr & WRITE_NOT_READ };
    class << 26 | esr & IS_LONG | direction | EXTERNAL_ABORT
}

impl Vcpu {
    /// The instruction at PC is undefined.
    pub(super) fn inject_undefined(&mut self) {
        self.inject(UNDEFINED, None);
    }

    /// The access at PC, which EL2 saw as `esr`, failed outside the CPU.
    pub(super) fn inject_abort(&mut self, esr: u64, far: u64) {
        let from_lower = !matches!(self.context.pstate & 0x1F, 0b0_0100 | 0b0_0101);
        self.inject(abort_syndrome(esr, from_lower), Some(far));
    }

    fn inject(&mut self, esr: u64, far: Option<u64>) {
        let (vbar, sctlr) = world::exception_controls();
        let context = &mut self.context;
        let (pc, pstate) = take(context.pstate, vbar, sctlr, self.has_pan);
        world::write_exception(context.pc, context.pstate, esr, far);
        context.pc = pc;
        context.pstate = pstate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_go_to_the_vector_of_where_they_came_from() {
        let vbar = 0xFFFF_8000_0801_0800;
        assert_eq!(take(0x3C5, vbar, 0, false), (vbar + 0x200, 0x3C5));
        assert_eq!(take(0x6000_0004, vbar, 0, false), (vbar, 0x6000_03C5));
        assert_eq!(take(0, vbar, 0, false), (vbar + 0x400, 0x3C5));
        assert_eq!(take(0x10, vbar, 0, false), (vbar + 0x600, 0x3C5));
    }

    #[test]
    fn pan_is_set_as_the_guest_configured() {
        assert_eq!(take(5, 0, 0, true).1 & PAN, PAN);
        assert_eq!(take(5, 0, KEEP_PAN, true).1 & PAN, 0);
        assert_eq!(take(5 | PAN, 0, KEEP_PAN, true).1 & PAN, PAN);
    }

    #[test]
    fn aborts_are_external_and_keep_their_direction() {
        // A write by EL1, recorded: EC 0x24 (from EL2's view), WnR.
        assert_eq!(abort_syndrome(0x9380_0047, false), 0x9600_0050);
        assert_eq!(abort_syndrome(0x8200_0006, true), 0x8200_0010);
    }
}
