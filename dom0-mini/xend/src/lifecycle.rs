//! What a domain may be asked in which state, as one table.
//!
//! Requests come in any order from several clients at once, and the guest acts on its own meanwhile; [`verdict`] and
//! [`follow`] decide alone what is possible, so no order of them can confuse anything. They are total: every request
//! and every happening has an answer in every state, and the tests go through all pairs.

use core::fmt;

/// Where a domain is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Being built, or rebuilt after a reboot.
    Building,
    /// Stopped by the operator, or not started yet.
    Paused,
    /// Running.
    Running,
    /// Asked to shut down or reboot, and still running.
    ShuttingDown,
    /// Standing still while it is saved.
    Saving,
    /// Being made from a snapshot.
    Restoring,
    /// It stopped, and is kept to be looked at.
    Dead,
    /// Being taken apart.
    Dying,
    /// It crashed, is gone, and waits to be built again.
    Waiting,
}

impl State {
    /// Every state.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Building,
        Self::Paused,
        Self::Running,
        Self::ShuttingDown,
        Self::Saving,
        Self::Restoring,
        Self::Dead,
        Self::Dying,
        Self::Waiting,
    ];

    /// Whether a guest is there that may act on its own.
    #[must_use]
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Paused | Self::Running | Self::ShuttingDown)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Building => "is being built",
            Self::Paused => "is paused",
            Self::Running => "is running",
            Self::ShuttingDown => "is shutting down",
            Self::Saving => "is being saved",
            Self::Restoring => "is being restored",
            Self::Dead => "has stopped and is kept by its policy",
            Self::Dying => "is being taken apart",
            Self::Waiting => "waits to be started again, as it crashed",
        })
    }
}

/// What a client can ask of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Stop its vCPUs.
    Pause,
    /// Let them run.
    Unpause,
    /// Shut down or reboot, with the guest's help.
    Shutdown,
    /// Take it apart.
    Destroy,
    /// Give it another name.
    Rename,
    /// Type on its console.
    Type,
    /// Begin to save it.
    Save,
}

impl Ask {
    /// Everything that can be asked.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] = [
        Self::Pause,
        Self::Unpause,
        Self::Shutdown,
        Self::Destroy,
        Self::Rename,
        Self::Type,
        Self::Save,
    ];
}

/// What is done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Do it; the domain is in this state from then on.
    Go(State),
    /// It is so already.
    Already,
    /// It is under way already: wait for it too.
    Join,
    /// Something else is going on; later perhaps.
    Busy,
    /// Not in this state.
    Wrong,
}

/// What is done about `ask` in `state`.
#[must_use]
pub(crate) const fn verdict(state: State, ask: Ask) -> Verdict {
    use Verdict::{Already, Busy, Go, Join, Wrong};
    match (ask, state) {
        (Ask::Destroy, State::Dying) => Join,
        (Ask::Destroy, State::Saving) => Busy,
        (Ask::Destroy, _) => Go(State::Dying),

        (_, State::Building | State::Saving | State::Restoring | State::Dying | State::Waiting) => {
            Busy
        }

        (Ask::Rename, state) => Go(state),
        (_, State::Dead) => Wrong,

        (Ask::Pause, State::Paused) => Already,
        (Ask::Pause, _) => Go(State::Paused),
        (Ask::Unpause, State::Paused) => Go(State::Running),
        (Ask::Unpause, _) => Already,
        (Ask::Shutdown, State::Paused) => Wrong,
        (Ask::Shutdown, _) => Go(State::ShuttingDown),
        (Ask::Type, state) => Go(state),
        (Ask::Save, State::ShuttingDown) => Busy,
        (Ask::Save, _) => Go(State::Saving),
    }
}

/// What happens to a domain without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// It was built or restored, and is to run.
    Ready,
    /// It was built or restored, and is to stay paused.
    ReadyPaused,
    /// Building or restoring failed.
    Failed,
    /// The guest stopped, and its policy keeps it.
    StoppedKept,
    /// The guest stopped, and its policy does not keep it.
    StoppedGone,
    /// A save was given up; the domain ran before it.
    SaveGivenUp,
    /// A save was given up; the domain was paused before it.
    SaveGivenUpPaused,
    /// A save is complete.
    Saved,
    /// The old machine is gone, and a new one is built for the same domain.
    Rebuild,
    /// The old machine is gone, and a new one is built later.
    BackedOff,
}

impl Happening {
    /// Everything that can happen.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 10] = [
        Self::Ready,
        Self::ReadyPaused,
        Self::Failed,
        Self::StoppedKept,
        Self::StoppedGone,
        Self::SaveGivenUp,
        Self::SaveGivenUpPaused,
        Self::Saved,
        Self::Rebuild,
        Self::BackedOff,
    ];
}

/// The state after `happening`; none: it cannot happen in `state`, and changes nothing.
#[must_use]
pub(crate) const fn follow(state: State, happening: Happening) -> Option<State> {
    match (happening, state) {
        (Happening::Ready, State::Building | State::Restoring) => Some(State::Running),
        (Happening::ReadyPaused, State::Building | State::Restoring) => Some(State::Paused),
        (Happening::Failed, State::Building | State::Restoring) => Some(State::Dying),
        (Happening::StoppedKept, state) if state.is_live() => Some(State::Dead),
        (Happening::StoppedGone, state) if state.is_live() => Some(State::Dying),
        (Happening::SaveGivenUp, State::Saving) => Some(State::Running),
        (Happening::SaveGivenUpPaused, State::Saving) => Some(State::Paused),
        (Happening::Saved, State::Saving) => Some(State::Dying),
        (Happening::Rebuild, State::Dying | State::Waiting) => Some(State::Building),
        (Happening::BackedOff, State::Dying) => Some(State::Waiting),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Happening, State, Verdict, follow, verdict};
    use std::collections::BTreeMap;
    use std::string::{String, ToString};

    /// One letter per state, in the order of `State::ALL`: `!` go, `=` already, `+` join, `b` busy, `w` wrong.
    const TABLE: [(Ask, &str); 7] = [
        (Ask::Pause, "b=!!bbwbb"),
        (Ask::Unpause, "b!==bbwbb"),
        (Ask::Shutdown, "bw!!bbwbb"),
        (Ask::Destroy, "!!!!b!!+!"),
        (Ask::Rename, "b!!!bb!bb"),
        (Ask::Type, "b!!!bbwbb"),
        (Ask::Save, "b!!bbbwbb"),
    ];

    fn letter(verdict: Verdict) -> char {
        match verdict {
            Verdict::Go(_) => '!',
            Verdict::Already => '=',
            Verdict::Join => '+',
            Verdict::Busy => 'b',
            Verdict::Wrong => 'w',
        }
    }

    #[test]
    fn every_request_has_its_verdict_in_every_state() {
        assert_eq!(TABLE.map(|(ask, _)| ask), Ask::ALL);
        for (ask, expected) in TABLE {
            let row: String = State::ALL
                .iter()
                .map(|state| letter(verdict(*state, ask)))
                .collect();
            assert_eq!(row, expected, "{ask:?}");
        }
    }

    #[test]
    fn what_goes_leads_where_it_says() {
        for state in State::ALL {
            for ask in Ask::ALL {
                let Verdict::Go(next) = verdict(state, ask) else {
                    continue;
                };
                let expected = match ask {
                    Ask::Pause => State::Paused,
                    Ask::Unpause => State::Running,
                    Ask::Shutdown => State::ShuttingDown,
                    Ask::Destroy => State::Dying,
                    Ask::Save => State::Saving,
                    Ask::Rename | Ask::Type => state,
                };
                assert_eq!(next, expected, "{ask:?} when it {state}");
            }
        }
    }

    #[test]
    fn a_domain_with_a_job_accepts_nothing_but_its_end() {
        let jobs = [
            State::Building,
            State::Saving,
            State::Restoring,
            State::Dying,
        ];
        for state in jobs {
            for ask in Ask::ALL.into_iter().filter(|ask| *ask != Ask::Destroy) {
                assert_eq!(verdict(state, ask), Verdict::Busy);
            }
        }
    }

    #[test]
    fn happenings_only_move_states_they_belong_to() {
        let mut moves: BTreeMap<String, usize> = BTreeMap::new();
        for state in State::ALL {
            for happening in Happening::ALL {
                if let Some(next) = follow(state, happening) {
                    assert_ne!(next, state);
                    *moves.entry(state.to_string()).or_default() += 1;
                }
            }
        }
        let count = |state: State| moves.get(&state.to_string()).copied().unwrap_or(0);
        assert_eq!(State::ALL.map(count), [3, 2, 2, 2, 3, 3, 0, 2, 1]);
        assert_eq!(
            follow(State::Dying, Happening::Rebuild),
            Some(State::Building)
        );
    }
}
