//! A CPU's run queue and timers, as values without a clock.

use hv_abi::DomId;

use crate::time::NEVER;

/// vCPUs of all domains together at most.
pub const VCPUS_MAX: usize = 128;

/// A vCPU's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) domain: DomId,
    pub(crate) vcpu: u32,
}

/// A vCPU that is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) virtual_ns: u64,
    pub(crate) urgent: bool,
    /// Where it may run: a bit for each CPU.
    pub(crate) affinity: u64,
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimerKind {
    /// A vCPU that waits goes on.
    Wake,
    /// `VIRQ_TIMER`.
    Singleshot,
    /// A vCPU that used up what its domain's cap allows goes on.
    Release,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    at_ns: u64,
    key: Key,
    kind: TimerKind,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: heapless::Vec<Entry, VCPUS_MAX>,
    timers: heapless::Vec<Timer, { 3 * VCPUS_MAX }>,
    floor_ns: u64,
}

impl Queue {
    /// What the vCPU picked last had paid: nobody starts much below it.
    pub(crate) const fn floor_ns(&self) -> u64 {
        self.floor_ns
    }

    /// The same, with one on the CPU that has paid this much.
    pub(crate) fn floor_with(&self, running_ns: u64) -> u64 {
        let least = self
            .best_virtual_ns()
            .map_or(running_ns, |best| best.min(running_ns));
        self.floor_ns.max(least)
    }

    /// One has left the CPU that has paid this much.
    pub(crate) fn raise_floor(&mut self, paid_ns: u64) {
        self.floor_ns = self.floor_with(paid_ns);
    }

    fn best_virtual_ns(&self) -> Option<u64> {
        self.ready.iter().map(|entry| entry.virtual_ns).min()
    }

    /// Puts a vCPU in. There is room for all that exist.
    pub(crate) fn push(&mut self, entry: Entry) {
        let fitted = self.ready.push(entry).is_ok();
        debug_assert!(fitted, "more vCPUs than may exist");
    }

    fn best_index(&self) -> Option<usize> {
        let rank = |entry: &Entry| (!entry.urgent, entry.virtual_ns);
        let numbered = self.ready.iter().enumerate();
        numbered
            .min_by_key(|(_, entry)| rank(entry))
            .map(|(n, _)| n)
    }

    /// The one that is next.
    pub(crate) fn best(&self) -> Option<&Entry> {
        self.ready.get(self.best_index()?)
    }

    /// Takes the one that is next.
    pub(crate) fn take_best(&mut self) -> Option<Entry> {
        let entry = self.ready.swap_remove(self.best_index()?);
        self.floor_ns = self.floor_ns.max(entry.virtual_ns);
        Some(entry)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// Takes the one that has paid least of those that may run on that CPU, for another CPU.
    pub(crate) fn give_away(&mut self, cpu: u32) -> Option<Entry> {
        let allowed = self.ready.iter().enumerate();
        let allowed = allowed.filter(|(_, entry)| entry.affinity >> cpu & 1 != 0);
        let (index, _) = allowed.min_by_key(|(_, entry)| entry.virtual_ns)?;
        Some(self.ready.swap_remove(index))
    }

    /// Takes a vCPU's timers out, to be set elsewhere.
    pub(crate) fn take_timers(&mut self, key: Key) -> [Option<(TimerKind, u64)>; 3] {
        let mut taken = [None; 3];
        for slot in &mut taken {
            let Some(index) = self.timers.iter().position(|timer| timer.key == key) else {
                break;
            };
            let timer = self.timers.swap_remove(index);
            *slot = Some((timer.kind, timer.at_ns));
        }
        taken
    }

    /// Lets one go first. Returns whether it is here.
    pub(crate) fn promote(&mut self, key: Key) -> bool {
        let entry = self.ready.iter_mut().find(|entry| entry.key == key);
        entry.map(|entry| entry.urgent = true).is_some()
    }

    /// Sets one of a vCPU's timers; [`NEVER`] takes it away.
    pub(crate) fn set_timer(&mut self, key: Key, kind: TimerKind, at_ns: u64) {
        let same = |timer: &Timer| timer.key == key && timer.kind == kind;
        let found = self.timers.iter().position(same);
        match (found, at_ns) {
            (Some(index), NEVER) => {
                self.timers.swap_remove(index);
            }
            (Some(index), _) => {
                if let Some(timer) = self.timers.get_mut(index) {
                    timer.at_ns = at_ns;
                }
            }
            (None, NEVER) => {}
            (None, _) => {
                let fitted = self.timers.push(Timer { at_ns, key, kind }).is_ok();
                debug_assert!(fitted, "more timers than vCPUs can have");
            }
        }
    }

    /// The earliest timer, [`NEVER`] if there is none.
    pub(crate) fn next_timer_ns(&self) -> u64 {
        let times = self.timers.iter().map(|timer| timer.at_ns);
        times.min().unwrap_or(NEVER)
    }

    /// Takes a timer that is due.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<(Key, TimerKind)> {
        let due = |timer: &Timer| timer.at_ns <= now_ns;
        let index = self.timers.iter().position(due)?;
        let timer = self.timers.swap_remove(index);
        Some((timer.key, timer.kind))
    }

    /// Forgets a domain.
    pub(crate) fn forget(&mut self, domain: DomId) {
        self.ready.retain(|entry| entry.key.domain != domain);
        self.timers.retain(|timer| timer.key.domain != domain);
    }
}
