//! Bits of control registers and of RFLAGS (Intel SDM, volume 3, "Control Registers", "EFLAGS Register").

/// CR0.
pub(crate) mod cr0 {
    pub(crate) const PE: u64 = 1 << 0;
    pub(crate) const ET: u64 = 1 << 4;
    pub(crate) const NE: u64 = 1 << 5;
    pub(crate) const WP: u64 = 1 << 16;
    pub(crate) const NW: u64 = 1 << 29;
    pub(crate) const CD: u64 = 1 << 30;
    pub(crate) const PG: u64 = 1 << 31;
    /// PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG.
    pub(crate) const ALL: u64 = 0xE005_003F;
}

/// CR4.
pub(crate) mod cr4 {
    pub(crate) const PSE: u64 = 1 << 4;
    pub(crate) const PAE: u64 = 1 << 5;
    pub(crate) const LA57: u64 = 1 << 12;
    pub(crate) const VMXE: u64 = 1 << 13;
    pub(crate) const PCIDE: u64 = 1 << 17;
    pub(crate) const OSXSAVE: u64 = 1 << 18;
    /// VME to OSXMMEXCPT, UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP.
    pub(crate) const ALL: u64 = 0x0037_0FFF;
}

/// RFLAGS.
pub(crate) mod rflags {
    /// Is one.
    pub(crate) const FIXED: u64 = 1 << 1;
    pub(crate) const IF: u64 = 1 << 9;
    pub(crate) const VM: u64 = 1 << 17;
}
