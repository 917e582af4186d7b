//! Hypercalls.

use hv_abi::{CallNumber, Errno};

pub use crate::arch::hypercall::raw;

/// Makes a call with numbers.
///
/// # Errors
/// The hypervisor's.
#[inline]
pub fn call(number: CallNumber, operation: u64, a: u64, b: u64) -> Result<u64, Errno> {
    Errno::from_return_value(raw(number, operation, a, b))
}

/// Makes a call whose argument is a struct that is read and written back.
///
/// # Errors
/// The hypervisor's.
pub fn call_with<T>(number: CallNumber, operation: u64, argument: &mut T) -> Result<u64, Errno> {
    call(number, operation, core::ptr::from_mut(argument) as u64, 0)
}
