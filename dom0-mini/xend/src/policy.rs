//! What becomes of a domain that stopped: its configured policy, and a brake on crash loops.

use hv_abi::control::domain::ShutdownReason;
use mgmt_proto::config::{Action, Policies};

/// A crash this soon after the start counts for the brake that gives up.
const EARLY_NS: u64 = 10_000_000_000;

/// After so many early crashes in a row a domain is not started again.
const EARLY_CRASHES: u8 = 3;

/// After a run this long, the brake that backs off forgets the crashes before.
const CALM_NS: u64 = 60_000_000_000;

/// How long it waits after the first crash; twice as long after each further one.
const FIRST_DELAY_NS: u64 = 1_000_000_000;

/// How long it waits at most.
const LONGEST_DELAY_NS: u64 = 300_000_000_000;

/// How a guest stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It switched itself off, or suspended itself, which nobody here asked for.
    PowerOff,
    /// It wants to be started again.
    Reboot,
    /// It crashed.
    Crash,
    /// Its watchdog fired.
    Watchdog,
}

impl From<ShutdownReason> for Stop {
    fn from(reason: ShutdownReason) -> Self {
        match reason {
            ShutdownReason::REBOOT => Self::Reboot,
            ShutdownReason::CRASH => Self::Crash,
            ShutdownReason::WATCHDOG => Self::Watchdog,
            _ => Self::PowerOff,
        }
    }
}

impl Stop {
    /// Whether the guest failed rather than meant to stop.
    #[must_use]
    pub(crate) const fn is_failure(self) -> bool {
        matches!(self, Self::Crash | Self::Watchdog)
    }

    /// What the configuration says about it.
    #[must_use]
    pub(crate) const fn action(self, policies: &Policies) -> Action {
        match self {
            Self::PowerOff => policies.on_poweroff,
            Self::Reboot => policies.on_reboot,
            Self::Crash => policies.on_crash,
            Self::Watchdog => policies.on_watchdog,
        }
    }
}

/// Keeps a domain that crashes at once from being restarted at once forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brake {
    /// Gives the domain up after some early crashes.
    GiveUp {
        /// Early crashes in a row so far.
        early: u8,
    },
    /// Waits longer each time: for a managed domain, which is to run.
    BackOff {
        /// Crashes in a row so far.
        crashes: u8,
    },
}

impl Default for Brake {
    fn default() -> Self {
        Self::GiveUp { early: 0 }
    }
}

/// What is to be done with a domain that stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// What its policy says.
    Do(Action),
    /// The same, after so many nanoseconds.
    Later(Action, u64),
    /// It would be restarted, but crashed too often: take it apart.
    GiveUp,
}

impl Brake {
    /// One that waits longer each time.
    pub(crate) const BACK_OFF: Self = Self::BackOff { crashes: 0 };

    /// Notes a stop after `uptime_ns` and decides.
    pub(crate) fn decide(&mut self, stop: Stop, policies: &Policies, uptime_ns: u64) -> Decision {
        let action = stop.action(policies);
        let restarts = matches!(action, Action::Restart | Action::RenameRestart);
        match self {
            Self::GiveUp { early } => {
                let counts = stop.is_failure() && uptime_ns < EARLY_NS;
                *early = if counts { early.saturating_add(1) } else { 0 };
                if restarts && *early >= EARLY_CRASHES {
                    *early = 0;
                    return Decision::GiveUp;
                }
                Decision::Do(action)
            }
            Self::BackOff { crashes } => {
                if !stop.is_failure() || uptime_ns >= CALM_NS {
                    *crashes = 0;
                }
                if !stop.is_failure() || !restarts {
                    return Decision::Do(action);
                }
                let delay = delay_ns(*crashes);
                *crashes = crashes.saturating_add(1);
                Decision::Later(action, delay)
            }
        }
    }
}

/// How long to wait after the crash behind so many others.
fn delay_ns(crashes: u8) -> u64 {
    let factor = 1_u64.checked_shl(crashes.into()).unwrap_or(u64::MAX);
    FIRST_DELAY_NS.saturating_mul(factor).min(LONGEST_DELAY_NS)
}

#[cfg(test)]
mod tests {
    use super::{Brake, Decision, Stop};
    use hv_abi::control::domain::ShutdownReason;
    use mgmt_proto::config::{Action, Policies};

    const POLICIES: Policies = Policies {
        on_poweroff: Action::Destroy,
        on_reboot: Action::RenameRestart,
        on_crash: Action::Restart,
        on_watchdog: Action::Preserve,
    };
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_stop_has_its_policy() {
        let of = |reason| Stop::from(reason).action(&POLICIES);
        assert_eq!(of(ShutdownReason::POWEROFF), Action::Destroy);
        assert_eq!(of(ShutdownReason::SUSPEND), Action::Destroy);
        assert_eq!(of(ShutdownReason::REBOOT), Action::RenameRestart);
        assert_eq!(of(ShutdownReason::CRASH), Action::Restart);
        assert_eq!(of(ShutdownReason::WATCHDOG), Action::Preserve);
        assert_eq!(of(ShutdownReason(77)), Action::Destroy);
    }

    #[test]
    fn the_third_early_crash_in_a_row_is_the_last() {
        let mut brake = Brake::default();
        let mut crash = |seconds| brake.decide(Stop::Crash, &POLICIES, seconds * SECOND);
        assert_eq!(crash(1), Decision::Do(Action::Restart));
        assert_eq!(crash(9), Decision::Do(Action::Restart));
        assert_eq!(crash(0), Decision::GiveUp);
        assert_eq!(crash(1), Decision::Do(Action::Restart), "started anew");
    }

    #[test]
    fn a_long_run_or_a_reboot_releases_the_brake() {
        let mut brake = Brake::default();
        for (stop, seconds) in [
            (Stop::Crash, 1),
            (Stop::Crash, 1),
            (Stop::Reboot, 1),
            (Stop::Crash, 1),
            (Stop::Crash, 1),
            (Stop::Crash, 10),
            (Stop::Crash, 1),
        ] {
            let decision = brake.decide(stop, &POLICIES, seconds * SECOND);
            assert_ne!(decision, Decision::GiveUp);
        }
    }

    #[test]
    fn the_brake_does_not_touch_what_is_not_restarted() {
        let (mut brake, keep) = (
            Brake::default(),
            Policies {
                on_crash: Action::Preserve,
                ..POLICIES
            },
        );
        for _ in 0..5 {
            let decision = brake.decide(Stop::Crash, &keep, 0);
            assert_eq!(decision, Decision::Do(Action::Preserve));
        }
    }

    #[test]
    fn a_managed_domain_waits_longer_after_each_crash() {
        let mut brake = Brake::BACK_OFF;
        let mut crash = |seconds| match brake.decide(Stop::Crash, &POLICIES, seconds * SECOND) {
            Decision::Later(Action::Restart, delay) => delay / SECOND,
            other => panic!("{other:?}"),
        };
        let delays: [u64; 11] = core::array::from_fn(|_| crash(1));
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!((crash(59), crash(60), crash(0)), (300, 1, 2));
    }

    #[test]
    fn the_longest_crash_loop_waits_five_minutes() {
        let mut brake = Brake::BACK_OFF;
        for _ in 0..1000 {
            brake.decide(Stop::Crash, &POLICIES, 0);
        }
        let decision = brake.decide(Stop::Crash, &POLICIES, 0);
        assert_eq!(decision, Decision::Later(Action::Restart, 300 * SECOND));
    }

    #[test]
    fn a_managed_domain_reboots_and_stops_at_once() {
        let mut brake = Brake::BACK_OFF;
        brake.decide(Stop::Crash, &POLICIES, 0);
        for (stop, action) in [
            (Stop::Reboot, Action::RenameRestart),
            (Stop::PowerOff, Action::Destroy),
            (Stop::Watchdog, Action::Preserve),
        ] {
            assert_eq!(brake.decide(stop, &POLICIES, 0), Decision::Do(action));
        }
    }
}
