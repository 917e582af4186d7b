//! ARM: a Linux Image at EL1.

pub(crate) mod boot;
pub(crate) mod cpus;
mod entry;
pub mod gic;
pub(crate) mod hostile;
pub(crate) mod hypercall;
pub mod interrupts;
pub mod marks;
pub(crate) mod mmu;
pub mod place;
pub(crate) mod power;
pub mod serial;
pub(crate) mod timer;
pub mod vectors;
