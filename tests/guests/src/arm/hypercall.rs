//! Hypercalls: number in `x16`, arguments in `x0` to `x2`, result in `x0` (Xen's `arch-arm.h`).
// UNSAFETY: the HVC instruction.
#![expect(unsafe_code, reason = "the HVC instruction")]

use core::arch::asm;

use hv_abi::CallNumber;

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
