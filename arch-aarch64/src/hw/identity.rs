//! What this CPU says it is.

use tock_registers::interfaces::Readable;

pub(crate) use super::registers::identification;
use super::registers::{CTR_EL0, DCZID_EL0};
use aarch64_cpu::registers::{MIDR_EL1, MPIDR_EL1};

/// Index of ID_AA64MMFR0_EL1 for [`identification`].
const MMFR0: usize = 7 * 8;
/// Index of ID_AA64MMFR1_EL1.
const MMFR1: usize = 7 * 8 + 1;

/// Registers that the hypervisor itself depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// MIDR_EL1.
    pub(crate) midr: u64,
    /// MPIDR_EL1.
    pub(crate) mpidr: u64,
    /// ID_AA64MMFR0_EL1.
    pub(crate) mmfr0: u64,
    /// ID_AA64MMFR1_EL1.
    pub(crate) mmfr1: u64,
    /// CTR_EL0, DCZID_EL0, MIDR_EL1: what a saved guest depends on beside features.
    pub(crate) constants: [u64; 3],
}

impl Identity {
    /// Whether guests have PSTATE.PAN.
    pub(crate) fn has_pan(&self) -> bool {
        self.mmfr1 >> 20 & 0xF != 0
    }
}

/// Reads them.
pub(crate) fn read() -> Identity {
    Identity {
        midr: MIDR_EL1.get(),
        mpidr: MPIDR_EL1.get(),
        mmfr0: identification(MMFR0),
        mmfr1: identification(MMFR1),
        constants: [CTR_EL0.get(), DCZID_EL0.get(), MIDR_EL1.get()],
    }
}
