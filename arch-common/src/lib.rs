//! What every architecture's hypervisor needs that is of no architecture, and what `hv-common` may not do.
//!
//! 1. **Unsafe in [`hw`] only**: frames of RAM by their machine address, values that live in them, the parts of the image.
//!    No instruction and no register is in here: an architecture passes its own as types.
//! 2. **The machine is as the architectures make it**: all RAM that is given out is mapped one to one, and so is the image.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

pub mod console;
pub mod cpus;
pub mod hw;
pub mod report;
