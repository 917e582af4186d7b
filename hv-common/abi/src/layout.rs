//! The memory map of a guest that xend builds and the hypervisor serves.
//!
//! Guests read all of it from their device tree, so nothing here is ABI; the addresses are those Xen uses, because
//! tools and people expect them there.

/// How long Domain-0 is left alone after it was told of output of an `hvm` domain's serial line: who serves the console
/// looks again this long after each event, and after each look that found something.
pub const SERIAL_QUIET_NS: u64 = 10_000_000;

/// ARM guests.
pub mod arm {
    /// Distributor of either vGIC.
    pub const GICD_BASE: u64 = 0x0300_1000;
    /// Size of the vGICv3's distributor.
    pub const GICD_SIZE: u64 = 0x1_0000;
    /// Size of the vGICv2's distributor.
    pub const GICV2_GICD_SIZE: u64 = 0x1000;
    /// vGICv2 CPU interface.
    pub const GICC_BASE: u64 = 0x0300_2000;
    /// Size of [`GICC_BASE`]'s region.
    pub const GICC_SIZE: u64 = 0x2000;
    /// vCPUs that a GICv2 serves at most.
    pub const GICV2_VCPUS_MAX: u32 = 8;
    /// vGICv3 redistributors, two 64 KiB frames per vCPU.
    pub const GICR_BASE: u64 = 0x0302_0000;
    /// Size of one vCPU's redistributor.
    pub const GICR_STRIDE: u64 = 0x2_0000;
    /// Emulated PL011 of an `hvm` guest.
    pub const PL011_BASE: u64 = 0x2200_0000;
    /// Its interrupt: SPI 0.
    pub const PL011_INTID: u32 = 32;
    /// Emulated PL031 of an `hvm` guest.
    pub const PL031_BASE: u64 = 0x2201_0000;
    /// Its interrupt: SPI 1.
    pub const PL031_INTID: u32 = 33;
    /// Where the guest maps its grant frames.
    pub const GRANT_BASE: u64 = 0x3800_0000;
    /// Size of [`GRANT_BASE`]'s region.
    pub const GRANT_SIZE: u64 = 0x0100_0000;
    /// Console ring page, xenstore ring page, in this order.
    pub const MAGIC_BASE: u64 = 0x3900_0000;
    /// Guest frame of the PV console's ring.
    pub const CONSOLE_GFN: u64 = MAGIC_BASE >> 12;
    /// Guest frame of the xenstore ring.
    pub const XENSTORE_GFN: u64 = (MAGIC_BASE >> 12) + 1;
    /// First bank of RAM.
    pub const RAM0_BASE: u64 = 0x4000_0000;
    /// Size of the first bank at most: 3 GiB.
    pub const RAM0_SIZE: u64 = 0xC000_0000;
    /// Second bank of RAM, for what does not fit the first.
    pub const RAM1_BASE: u64 = 0x2_0000_0000;
    /// Highest guest-physical address plus one: 40 bits, the smallest stage-2 input range that all our boards have.
    pub const IPA_END: u64 = 1 << 40;

    /// INTID of the EL1 virtual timer.
    pub const VIRTUAL_TIMER_INTID: u32 = 27;
    /// INTID of the EL1 physical timer.
    pub const PHYSICAL_TIMER_INTID: u32 = 30;
    /// INTID of the event-channel upcall: PPI 15.
    pub const EVENT_INTID: u32 = 31;
    /// SPIs every vGIC has (INTIDs 32 to 32 + this).
    pub const SPIS: u32 = 256;
}

/// x86 PVH guests. What is not ABI is in `hvm_start_info` and the ACPI tables.
pub mod x86 {
    /// `hvm_start_info`, memory map and module list: one page of RAM that the guest may use once it has read it.
    pub const START_INFO_BASE: u64 = 0x5000;
    /// The kernel's command line, NUL-terminated, one page likewise.
    pub const COMMAND_LINE_BASE: u64 = 0x6000;
    /// Where RAM ends that the memory map shows below 1 MiB.
    pub const LOW_RAM_END: u64 = 0xA_0000;
    /// ACPI tables; RSDP first.
    pub const ACPI_BASE: u64 = 0xF_0000;
    /// Bytes for them; RAM of the domain, shown as ACPI memory.
    pub const ACPI_SIZE: u64 = 0x1_0000;
    /// Where RAM goes on after that.
    pub const HIGH_RAM_BASE: u64 = 0x10_0000;
    /// The first bank of RAM starts at 0 and has this size at most.
    pub const RAM0_SIZE: u64 = 0xC000_0000;
    /// Second bank of RAM, for what does not fit the first.
    pub const RAM1_BASE: u64 = 0x1_0000_0000;
    /// Where small guests map their grant frames. Linux chooses for itself.
    pub const GRANT_BASE: u64 = 0xF000_0000;
    /// Size of [`GRANT_BASE`]'s region.
    pub const GRANT_SIZE: u64 = 0x0100_0000;
    /// Local APIC registers, where a guest uses them without x2APIC.
    pub const APIC_BASE: u64 = 0xFEE0_0000;
    /// Guest frame of the PV console's ring.
    pub const CONSOLE_GFN: u64 = 0xF_EFFE;
    /// Guest frame of the xenstore ring.
    pub const XENSTORE_GFN: u64 = 0xF_EFFF;
    /// Port of ACPI's sleep control register: a guest that writes [`SLEEP_ENABLE`] is switched off.
    pub const SLEEP_CONTROL_PORT: u16 = 0x600;
    /// Port of ACPI's sleep status register.
    pub const SLEEP_STATUS_PORT: u16 = 0x601;
    /// Port of ACPI's reset register: a guest that writes [`RESET_VALUE`] is restarted.
    pub const RESET_PORT: u16 = 0x602;
    /// SLP_EN in the sleep control register.
    pub const SLEEP_ENABLE: u8 = 1 << 5;
    /// SLP_TYP of S5, the only sleep there is.
    pub const SLEEP_TYPE_OFF: u8 = 5;
    /// What restarts.
    pub const RESET_VALUE: u8 = 1;
    /// Highest guest-physical address plus one: 39 bits, what four levels give every CPU.
    pub const IPA_END: u64 = 1 << 39;
    /// First Xen CPUID leaf.
    pub const XEN_CPUID_BASE: u32 = 0x4000_0000;
    /// The MSR that places the hypercall page.
    pub const HYPERCALL_PAGE_MSR: u32 = 0x4000_0000;
}
