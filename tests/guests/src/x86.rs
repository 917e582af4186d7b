//! x86-64: an ELF file that is entered as a Xen PVH guest is.

mod apics;
pub(crate) mod boot;
pub(crate) mod cpus;
mod entry;
pub mod extended;
pub(crate) mod hostile;
pub(crate) mod hypercall;
pub mod interrupts;
pub mod marks;
pub(crate) mod mmu;
pub mod msr;
pub mod place;
pub mod port;
pub(crate) mod power;
pub(crate) mod serial;
pub(crate) mod timer;
pub mod vectors;
