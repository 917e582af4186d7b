//! The hypercall instruction: number in `x16`, arguments in `x0` to `x4`, result in `x0` (Xen's `arch-arm.h`).

use core::arch::asm;
use hv_abi::CallNumber;

/// Makes a call. Pointers among the arguments must point to memory that may be read or written as the call says.
pub(in crate::hw) fn invoke(number: CallNumber, args: [u64; 5]) -> u64 {
    let [mut a0, a1, a2, a3, a4] = args;
    // SAFETY: the hypervisor writes x0 and memory that the call's arguments point to, nothing else; every caller passes
    // addresses of live, exclusively borrowed or shared-by-design memory.
    unsafe {
        asm!(
            "hvc {tag}",
            tag = const hv_abi::ARM_HYPERCALL_TAG,
            inout("x0") a0,
            in("x1") a1,
            in("x2") a2,
            in("x3") a3,
            in("x4") a4,
            in("x16") number.0,
            options(nostack),
        );
    }
    a0
}
