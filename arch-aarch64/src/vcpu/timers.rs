//! The guest's timers.
//!
//! They are the machine's EL1 timers while the vCPU is loaded: CNTV as it is, CNTP with the domain's offset added; what the
//! guest wrote is kept beside it. When one fires, its physical interrupt is active until the guest has ended the virtual one. A vCPU that leaves its CPU
//! takes the interrupt off the machine; whether it is pending is computed from control and compare value then.

use super::Vcpu;
use crate::host::{ArmHost, PHYSICAL_TIMER, VIRTUAL_TIMER, event};
use crate::hw::world::Timer;
use crate::hw::{interrupts, timer};
use crate::platform::Platform;

/// CNTx_CTL: ENABLE, and not IMASK.
const ACTIVE: u64 = 1;
const CONTROL_BITS: u64 = 3;

const TIMERS: [(Timer, u32, u32); 2] = [
    (Timer::Virtual, VIRTUAL_TIMER, event::VIRTUAL_TIMER),
    (Timer::Physical, PHYSICAL_TIMER, event::PHYSICAL_TIMER),
];

/// When a timer with this control fires, in guest ticks.
fn fires_at(control: u64, compare: u64) -> Option<u64> {
    (control & CONTROL_BITS == ACTIVE).then_some(compare)
}

/// The machine's counter at a guest's, which may be any number: one that the machine's does not reach is its last, and one
/// from before its first is that. On a machine that is younger than the guest, the offset is negative.
pub(super) fn machine_ticks(guest: u64, offset: u64) -> u64 {
    guest.saturating_add_signed(offset.cast_signed())
}

impl Vcpu {
    fn saved(&self, which: Timer) -> (u64, u64) {
        match which {
            Timer::Virtual => (self.timer.cntv_ctl, self.timer.cntv_cval),
            Timer::Physical => (self.timer.cntp_ctl, self.timer.cntp_cval),
        }
    }

    pub(super) fn load_timers(&mut self, _: &ArmHost, platform: &Platform, offset: u64) {
        let now = timer::now_ticks().wrapping_sub(offset);
        for (which, number, _) in TIMERS {
            let (control, compare) = self.saved(which);
            let mut gic = platform.gic();
            let mut active = gic.relink_timer(self.index, number);
            if !active && fires_at(control, compare).is_some_and(|at| at <= now) {
                gic.raise_private_linked(self.index, number);
                active = true;
            }
            drop(gic);
            if active {
                interrupts::set_private_active(number, true);
            }
            let compare = match which {
                Timer::Virtual => compare,
                Timer::Physical => machine_ticks(compare, offset),
            };
            which.write(control, compare);
        }
    }

    pub(super) fn unload_timers(&mut self, platform: &Platform) {
        let offset = platform.offset();
        self.offset = offset;
        self.timers_enabled = 0;
        for (which, number, bit) in TIMERS {
            let (control, compare) = which.read();
            which.control(0);
            let control = control & CONTROL_BITS;
            match which {
                Timer::Virtual => {
                    self.timer.cntv_ctl = control;
                    self.timer.cntv_cval = compare;
                }
                Timer::Physical => self.timer.cntp_ctl = control,
            }
            let mut gic = platform.gic();
            let was_linked = gic.unlink_timer(self.index, number);
            if gic.is_enabled(self.index, number) {
                self.timers_enabled |= bit;
            }
            drop(gic);
            if was_linked {
                interrupts::set_private_active(number, false);
            }
        }
    }

    /// Whether a timer's interrupt would be taken that the controller does not know of yet.
    pub(super) fn has_timer_interrupt(&self, platform: &Platform) -> bool {
        let now = timer::now_ticks().wrapping_sub(platform.offset());
        TIMERS.into_iter().any(|(which, number, _)| {
            let asserted = if self.is_loaded {
                which.is_asserted()
            } else {
                let (control, compare) = self.saved(which);
                fires_at(control, compare).is_some_and(|at| at <= now)
            };
            asserted && platform.gic().is_enabled(self.index, number)
        })
    }

    /// When the next timer fires whose interrupt would be taken.
    pub(super) fn next_timer(&self, host: &ArmHost) -> Option<u64> {
        let enabled = TIMERS
            .into_iter()
            .filter(|(_, _, bit)| self.timers_enabled & bit != 0);
        let ticks = enabled.filter_map(|(which, _, _)| {
            let (control, compare) = self.saved(which);
            fires_at(control, compare).map(|at| machine_ticks(at, self.offset))
        });
        ticks.min().map(|ticks| host.clock.deadline_ns(ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_be_older_than_its_machine() {
        let younger = 1000_u64.wrapping_neg();
        assert_eq!(machine_ticks(1500, younger), 500);
        assert_eq!(machine_ticks(500, younger), 0);
        assert_eq!(machine_ticks(u64::MAX, younger), u64::MAX - 1000);
        assert_eq!(machine_ticks(500, 1000), 1500);
        assert_eq!(machine_ticks(u64::MAX - 10, 1000), u64::MAX);
    }

    #[test]
    fn only_a_timer_that_is_on_and_not_masked_fires() {
        assert_eq!(fires_at(1, 7), Some(7));
        assert_eq!(fires_at(5, 7), None.or(fires_at(1, 7)));
        for control in [0, 2, 3] {
            assert_eq!(fires_at(control, 7), None);
        }
    }
}
