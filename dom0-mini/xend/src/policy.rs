//! What becomes of a domain that stopped: its configured policy, and a brake on crash loops.

use hv_abi::control::domain::ShutdownReason;
use mgmt_proto::config::{Action, Policies};

/// A crash this soon after the start counts for the brake.
const EARLY_NS: u64 = 10_000_000_000;

/// After so many early crashes in a row a domain is not started again.
const EARLY_CRASHES: u8 = 3;

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

/// Keeps a domain that crashes at once from being restarted forever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Brake {
    early: u8,
}

/// What is to be done with a domain that stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// What its policy says.
    Do(Action),
    /// It would be restarted, but crashed too often: take it apart.
    GiveUp,
}

impl Brake {
    /// Notes a stop after `uptime_ns` and decides.
    pub(crate) fn decide(&mut self, stop: Stop, policies: &Policies, uptime_ns: u64) -> Decision {
        let early = stop.is_failure() && uptime_ns < EARLY_NS;
        self.early = if early {
            self.early.saturating_add(1)
        } else {
            0
        };
        let action = stop.action(policies);
        let restarts = matches!(action, Action::Restart | Action::RenameRestart);
        if restarts && self.early >= EARLY_CRASHES {
            self.early = 0;
            return Decision::GiveUp;
        }
        Decision::Do(action)
    }
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
}
