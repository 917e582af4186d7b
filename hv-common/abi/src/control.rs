//! Alcove's control interface: what Domain-0 may ask of the hypervisor, one module per family.
//!
//! A call carries its operation in the first argument. Small arguments follow in registers; larger ones are a struct
//! of this module at the virtual address in the second argument. Lists and copies take a range and return how much
//! they did; a caller asks again for the rest, so that no call runs long.

pub mod domain;
pub mod host;
pub mod memory;
pub mod state;
pub mod vcpu;

/// Version of this interface; [`host::VERSION`] returns it.
pub const VERSION: u64 = 1;

/// Bytes a copy call moves at most.
pub const COPY_MAX: usize = 64 * 1024;
