//! Bodies of ARM records: EL1 and EL0 state as the Arm ARM (DDI 0487) names it, and the vGIC's registers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Registers of a vCPU.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[allow(
    missing_docs,
    reason = "fields are named as the architecture names the registers"
)]
pub struct Cpu {
    /// X0 to X30.
    pub x: [u64; 31],
    pub pc: u64,
    pub pstate: u64,
    pub sp_el0: u64,
    pub sp_el1: u64,
    pub elr_el1: u64,
    pub spsr_el1: u64,
    pub sctlr_el1: u64,
    pub actlr_el1: u64,
    pub cpacr_el1: u64,
    pub ttbr0_el1: u64,
    pub ttbr1_el1: u64,
    pub tcr_el1: u64,
    pub esr_el1: u64,
    pub afsr0_el1: u64,
    pub afsr1_el1: u64,
    pub far_el1: u64,
    pub mair_el1: u64,
    pub amair_el1: u64,
    pub vbar_el1: u64,
    pub contextidr_el1: u64,
    pub tpidr_el0: u64,
    pub tpidrro_el0: u64,
    pub tpidr_el1: u64,
    pub cntkctl_el1: u64,
    pub csselr_el1: u64,
    pub par_el1: u64,
    pub mdscr_el1: u64,
    pub osdlr_el1: u64,
    pub vmpidr_el2: u64,
    pub osl_locked: u64,
}

/// FP and SIMD registers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FloatingPoint {
    /// V0 to V31, low half first.
    pub v: [[u64; 2]; 32],
    /// FPCR.
    pub fpcr: u64,
    /// FPSR.
    pub fpsr: u64,
}

/// The generic timers of a vCPU. Compare values are in guest counter ticks.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Timer {
    /// CNTV_CTL_EL0: ENABLE and IMASK.
    pub cntv_ctl: u64,
    /// CNTV_CVAL_EL0.
    pub cntv_cval: u64,
    /// CNTP_CTL_EL0: ENABLE and IMASK.
    pub cntp_ctl: u64,
    /// CNTP_CVAL_EL0.
    pub cntp_cval: u64,
}

/// State of 32 interrupts, one bit each, as the GIC's registers show it.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct InterruptBank {
    /// Bits of GIC[DR]_IGROUPR.
    pub group: u32,
    /// Bits of GIC[DR]_ISENABLER.
    pub enabled: u32,
    /// Bits of GIC[DR]_ISPENDR that a write or an edge latched.
    pub pending: u32,
    /// Bits of GIC[DR]_ISACTIVER.
    pub active: u32,
    /// Level inputs that are high.
    pub level: u32,
    /// One bit for each: edge-triggered.
    pub edge: u32,
    /// GIC[DR]_IPRIORITYR bytes.
    pub priority: [u8; 32],
}

/// The distributor of a GICv3: SPIs only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Distributor {
    /// GICD_CTLR.
    pub ctlr: u32,
    /// SPIs in use by this record (a multiple of 32).
    pub spis: u32,
    /// INTIDs 32 to 287.
    pub banks: [InterruptBank; 8],
    /// GICD_IROUTER of each.
    pub router: [u64; 256],
}

/// The redistributor and CPU interface of a vCPU: SGIs and PPIs, with list registers folded back in.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Redistributor {
    /// INTIDs 0 to 31.
    pub bank: InterruptBank,
    /// GICR_WAKER.ProcessorSleep.
    pub asleep: u32,
    /// Reserved.
    pub reserved: u32,
    /// ICC_PMR_EL1.
    pub icc_pmr: u64,
    /// ICC_BPR0_EL1 and ICC_BPR1_EL1.
    pub icc_bpr: [u64; 2],
    /// ICC_CTLR_EL1: CBPR and EOImode.
    pub icc_ctlr: u64,
    /// ICC_IGRPEN0_EL1 and ICC_IGRPEN1_EL1.
    pub icc_igrpen: [u64; 2],
    /// Active priorities, ICC_AP0R<n>_EL1 then ICC_AP1R<n>_EL1.
    pub icc_apr: [[u64; 4]; 2],
}

/// The distributor of a GICv2: SPIs only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Gicv2Distributor {
    /// GICD_CTLR.
    pub ctlr: u32,
    /// SPIs in use by this record (a multiple of 32).
    pub spis: u32,
    /// INTIDs 32 to 287.
    pub banks: [InterruptBank; 8],
    /// GICD_ITARGETSR byte of each.
    pub targets: [u8; 256],
}

/// What a vCPU of a GICv2 has for itself: SGIs and PPIs, with list registers folded back in, and its CPU interface.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Gicv2Interface {
    /// INTIDs 0 to 31.
    pub bank: InterruptBank,
    /// GICD_SPENDSGIR bytes: which vCPUs a pending SGI came from.
    pub sgi_pending: [u8; 16],
    /// The vCPU that an active SGI came from.
    pub sgi_active: [u8; 16],
    /// GICC_CTLR.
    pub gicc_ctlr: u32,
    /// GICC_PMR.
    pub gicc_pmr: u32,
    /// GICC_BPR.
    pub gicc_bpr: u32,
    /// GICC_ABPR.
    pub gicc_abpr: u32,
    /// GICC_APR0.
    pub gicc_apr: u32,
    /// Reserved.
    pub reserved: u32,
}
