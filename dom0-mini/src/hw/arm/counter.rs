//! The virtual counter and its timer (Arm ARM D12): Domain-0's clock.

use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable,
};

/// The counter says itself how fast it is.
pub(crate) fn start(_: u64) {}

/// Ticks per second.
pub(crate) fn frequency_hz() -> u64 {
    CNTFRQ_EL0.get()
}

/// Ticks so far.
pub(crate) fn ticks() -> u64 {
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
    CNTVCT_EL0.get()
}

/// Makes the timer's interrupt pending at that count.
pub(crate) fn set_timer(at_ticks: u64) {
    CNTV_CVAL_EL0.set(at_ticks);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

/// Makes the timer's interrupt pending at that count at the latest. It may come early for who has set it before, and is
/// then set again.
pub(super) fn set_timer_at_latest(at_ticks: u64) {
    let is_set = CNTV_CTL_EL0.is_set(CNTV_CTL_EL0::ENABLE);
    if !is_set || CNTV_CVAL_EL0.get() > at_ticks {
        set_timer(at_ticks);
    }
}

/// Switches the timer off.
pub(crate) fn stop_timer() {
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
}
