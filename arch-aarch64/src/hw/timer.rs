//! The generic timer: the counter, the hypervisor's own timer, waiting.

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTHP_CTL_EL2, CNTPCT_EL0};
use tock_registers::interfaces::{Readable, Writeable};

use super::registers::CNTHP_CVAL_EL2;

/// The physical counter.
#[inline(always)]
pub(crate) fn now_ticks() -> u64 {
    CNTPCT_EL0.get()
}

/// Its ticks per second, as firmware says.
pub(crate) fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// Makes the hypervisor's timer interrupt this CPU when the counter reaches `ticks`; `None`: never.
#[inline]
pub(crate) fn set_host_deadline(ticks: Option<u64>) {
    match ticks {
        Some(ticks) => {
            CNTHP_CVAL_EL2.set(ticks);
            CNTHP_CTL_EL2.set(1);
        }
        None => CNTHP_CTL_EL2.set(0),
    }
}

/// Waits until an interrupt is pending.
pub(crate) fn wait_for_interrupt() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: waits; memory is not touched.
    unsafe {
        core::arch::asm!("dsb sy", "wfi", options(nostack));
    }
}
