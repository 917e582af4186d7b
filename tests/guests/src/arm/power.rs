//! Switching off and restarting through PSCI (DEN 0022).
// UNSAFETY: the HVC instruction.
#![expect(unsafe_code, reason = "the HVC instruction")]

use core::arch::asm;

const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;

/// Switches the domain off.
pub fn off() -> ! {
    end(SYSTEM_OFF)
}

/// Asks for the domain to be started again.
pub fn reset() -> ! {
    end(SYSTEM_RESET)
}

fn end(function: u64) -> ! {
    loop {
        // SAFETY: neither of the two calls comes back; if one does, the calling convention leaves memory alone and may
        // change x0 to x17.
        unsafe {
            asm!("hvc #0", inout("x0") function => _, clobber_abi("C"), options(nostack));
        }
    }
}
