//! The end of a domain: switched off, restarted, or reported as crashed through Xen's call.

use hv_abi::CallNumber;
use hv_abi::control::domain::ShutdownReason;
use hv_abi::xen::sched;

pub use crate::arch::power::{off, reset};
use crate::hypercall::call_with;

/// Reports a crash, as Linux does when it panics.
pub fn crash() -> ! {
    shut_down(ShutdownReason::CRASH)
}

/// Ends the domain by Xen's call.
pub(crate) fn shut_down(reason: ShutdownReason) -> ! {
    let mut shutdown = sched::Shutdown { reason: reason.0 };
    let answer = call_with(CallNumber::SCHED_OP, sched::SHUTDOWN, &mut shutdown);
    panic!("SCHEDOP_shutdown came back with {answer:?}")
}
