//! What is ARM's: EL1, an interrupt controller of its own (GICv2 or v3), the virtual timer, virtio over MMIO.

pub(crate) mod counter;
mod entry;
pub(crate) mod hypercall;
pub(crate) mod interrupts;
pub(crate) mod link;
pub(crate) mod page_tables;
pub(crate) mod real_time_clock;
pub(crate) mod seed;
pub(crate) mod transports;
mod vectors;

pub(crate) use hv_abi::xen::shared_info::ARM64 as SHARED_INFO;

/// The architecture, as reports name it.
pub(crate) const ARCH: &str = "aarch64";

/// What comes before everything else.
pub(super) fn begin() {
    vectors::install();
}
