//! Switching off and restarting through Xen's call.

use hv_abi::control::domain::ShutdownReason;

use crate::power::shut_down;

/// Switches the domain off.
pub fn off() -> ! {
    shut_down(ShutdownReason::POWEROFF)
}

/// Asks for the domain to be started again.
pub fn reset() -> ! {
    shut_down(ShutdownReason::REBOOT)
}
