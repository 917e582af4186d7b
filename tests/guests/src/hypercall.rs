//! Hypercalls: number in `x16`, arguments in `x0` to `x2`, result in `x0` (Xen's `arch-arm.h`).
// UNSAFETY: the HVC instruction.
#![expect(unsafe_code, reason = "the HVC instruction")]

use core::arch::asm;

use hv_abi::{CallNumber, Errno};

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

/// Makes a call and returns `x0` as it is.
#[inline]
#[must_use]
pub fn raw(number: CallNumber, operation: u64, a: u64, b: u64) -> u64 {
    let mut result = operation;
    // SAFETY: the hypervisor writes x0 and what the call's arguments point to, which callers keep exclusively borrowed
    // or share on purpose.
    unsafe {
        asm!(
            "hvc {tag}",
            tag = const hv_abi::ARM_HYPERCALL_TAG,
            inout("x0") result,
            in("x1") a,
            in("x2") b,
            in("x16") number.0,
            options(nostack),
        );
    }
    result
}
