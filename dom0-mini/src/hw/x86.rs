//! What is x86's: long mode, no interrupt controller (interrupts are events), virtio over PCI, a 16550.

pub(crate) mod counter;
mod entry;
mod exceptions;
pub(crate) mod hypercall;
pub(crate) mod interrupts;
pub(crate) mod link;
mod mc146818;
mod msix;
pub(crate) mod page_tables;
mod pci;
pub(crate) mod real_time_clock;
pub(crate) mod seed;
mod serial;
pub(crate) mod transports;

pub(crate) use hv_abi::xen::shared_info::X86_64 as SHARED_INFO;

/// The architecture, as reports name it.
pub(crate) const ARCH: &str = "x86_64";

/// What comes before everything else.
pub(super) fn begin() {
    hypercall::install();
    exceptions::install();
}
