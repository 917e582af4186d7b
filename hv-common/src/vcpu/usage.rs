//! What a vCPU did so far: its time by run state ([`Runstate`]), and counts ([`Counters`]).
//!
//! Only one CPU writes at a time: the one that runs the vCPU, or one that holds its registers or its domain's lock
//! (for events). So counts need no atomic addition. Anybody may read.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use hv_abi::control::vcpu::{ExitCounts, Usage};
use hv_abi::xen::vcpu::runstate;

use crate::arch::Taken;
use crate::time::NEVER;

/// How often a reader looks again when it was disturbed. The writer is done after a few instructions.
const READS: usize = 16;

/// Counts. What each is: [`Usage`].
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) hypercalls: AtomicU64,
    pub(super) accesses: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) interrupted: AtomicU64,
    pub(super) ipis: AtomicU64,
    pub(super) power: AtomicU64,
    pub(super) refused: AtomicU64,
    architecture: AtomicU64,
    interrupts: AtomicU64,
    pub(crate) events: AtomicU64,
    runs: AtomicU64,
    queued_ns: AtomicU64,
    longest_queued_ns: AtomicU64,
    /// Program counter when it last left its CPU.
    pub pc: AtomicU64,
}

/// Adds one to a counter that only this CPU writes now.
#[inline(always)]
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

#[inline(always)]
fn add(counter: &AtomicU64, more: u64) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more);
    counter.store(sum, Ordering::Relaxed);
}

impl Counters {
    /// It got a CPU, after it had stood in its queue for that long.
    pub(super) fn note_run(&self, queued_ns: u64) {
        count(&self.runs);
        add(&self.queued_ns, queued_ns);
        if queued_ns > self.longest_queued_ns.load(Ordering::Relaxed) {
            self.longest_queued_ns.store(queued_ns, Ordering::Relaxed);
        }
    }

    /// Adds what the architecture counted.
    pub(super) fn take(&self, taken: Taken) {
        add(&self.architecture, u64::from(taken.exits));
        add(&self.interrupts, u64::from(taken.interrupts));
    }

    fn exits(&self) -> ExitCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExitCounts {
            hypercalls: read(&self.hypercalls),
            accesses: read(&self.accesses),
            idle: read(&self.idle),
            interrupted: read(&self.interrupted),
            ipis: read(&self.ipis),
            power: read(&self.power),
            refused: read(&self.refused),
            architecture: read(&self.architecture),
        }
    }

    /// All of it, with the times.
    pub(super) fn usage(&self, times: [u64; 4]) -> Usage {
        let [cpu_ns, runnable_ns, blocked_ns, _offline] = times;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            cpu_ns,
            runnable_ns,
            blocked_ns,
            runs: read(&self.runs),
            queued_ns: read(&self.queued_ns),
            longest_queued_ns: read(&self.longest_queued_ns),
            exits: self.exits(),
            interrupts: read(&self.interrupts),
            events: read(&self.events),
        }
    }
}

/// Time a vCPU spent in each state of [`runstate`], host nanoseconds.
///
/// `version` is odd while they change: a reader that sees that, or another version after than before, looks again.
#[derive(Debug)]
pub struct Runstate {
    version: AtomicU32,
    state: AtomicU32,
    since_ns: AtomicU64,
    time_ns: [AtomicU64; 4],
}

impl Runstate {
    pub(super) const fn new(now_ns: u64) -> Self {
        Self {
            version: AtomicU32::new(0),
            state: AtomicU32::new(runstate::OFFLINE),
            since_ns: AtomicU64::new(now_ns),
            time_ns: [const { AtomicU64::new(0) }; 4],
        }
    }

    /// Goes over to a state.
    #[inline]
    pub fn enter(&self, state: u32, now_ns: u64) {
        self.change(|| self.go_over(self.since_ns.load(Ordering::Relaxed), state, now_ns));
    }

    /// It gets a CPU after it came into the queue at `queued_ns`. Returns how long it stood there.
    #[inline]
    pub(super) fn arrive(&self, queued_ns: u64, now_ns: u64) -> u64 {
        let since = self.since_ns.load(Ordering::Relaxed);
        let queued = queued_ns.min(now_ns).max(since.min(now_ns));
        let waited = now_ns - queued;
        self.change(|| {
            // All of the last state's time but what it stood in the queue.
            self.go_over(since.saturating_add(waited), runstate::RUNNING, now_ns);
            self.spend(runstate::RUNNABLE, waited);
        });
        waited
    }

    #[inline(always)]
    fn change(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    #[inline(always)]
    fn go_over(&self, since_ns: u64, state: u32, now_ns: u64) {
        let before = self.state.load(Ordering::Relaxed);
        self.spend(before, now_ns.saturating_sub(since_ns));
        self.state.store(state, Ordering::Relaxed);
        self.since_ns.store(now_ns, Ordering::Relaxed);
    }

    #[inline(always)]
    fn spend(&self, state: u32, ns: u64) {
        if let Some(time) = self.time_ns.get(state as usize) {
            // A restored one may be anything.
            let sum = time.load(Ordering::Relaxed).saturating_add(ns);
            time.store(sum, Ordering::Relaxed);
        }
    }

    /// The state, since when, and the times, as of now.
    #[must_use]
    pub fn read(&self, now_ns: u64) -> (u32, u64, [u64; 4]) {
        let whole = (0..READS).find_map(|_| self.read_whole(now_ns));
        // Better a little wrong than to wait for ever.
        whole.unwrap_or_else(|| self.read_any(now_ns))
    }

    /// The same if nothing changed meanwhile.
    fn read_whole(&self, now_ns: u64) -> Option<(u32, u64, [u64; 4])> {
        let version = self.version.load(Ordering::Acquire);
        let values = self.read_any(now_ns);
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        is_whole.then_some(values)
    }

    fn read_any(&self, now_ns: u64) -> (u32, u64, [u64; 4]) {
        let state = self.state.load(Ordering::Relaxed);
        let since = self.since_ns.load(Ordering::Relaxed);
        let mut times = [0; 4];
        for (out, time) in times.iter_mut().zip(&self.time_ns) {
            *out = time.load(Ordering::Relaxed);
        }
        if let Some(time) = times.get_mut(state as usize) {
            *time = time.saturating_add(now_ns.saturating_sub(since));
        }
        (state, since, times)
    }

    /// Sets the times (restore).
    pub fn set_times(&self, times: [u64; 4]) {
        for (time, value) in self.time_ns.iter().zip(times) {
            time.store(value, Ordering::Relaxed);
        }
    }
}

/// When a vCPU came into the queue it is in.
#[derive(Debug)]
pub(crate) struct Queued(AtomicU64);

impl Queued {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    /// It is put into a queue. One that only moves to another has been waiting since it came into the first.
    #[inline]
    pub(crate) fn begin(&self, now_ns: u64) {
        if self.0.load(Ordering::Relaxed) == NEVER {
            self.0.store(now_ns, Ordering::Relaxed);
        }
    }

    /// It is in a queue, where it could not run until now.
    pub(crate) fn restart(&self, now_ns: u64) {
        self.0.store(now_ns, Ordering::Relaxed);
    }

    /// It is in none any more; since when it was. [`NEVER`]: it was in none.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        let since = self.0.load(Ordering::Relaxed);
        self.0.store(NEVER, Ordering::Relaxed);
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_the_queue_is_neither_waiting_nor_running() {
        let runstate = Runstate::new(100);
        assert_eq!(runstate.arrive(150, 170), 20);
        runstate.enter(runstate::BLOCKED, 200);
        // Woken at 260, on a CPU at 300.
        assert_eq!(runstate.arrive(260, 300), 40);
        let (state, since, times) = runstate.read(310);
        assert_eq!((state, since), (runstate::RUNNING, 300));
        assert_eq!(times, [30 + 10, 20 + 40, 60, 50]);
    }

    #[test]
    fn one_that_was_in_no_queue_did_not_wait() {
        let runstate = Runstate::new(100);
        assert_eq!(runstate.arrive(NEVER, 130), 0);
        assert_eq!(runstate.read(130).2, [0, 0, 0, 30]);
        runstate.enter(runstate::BLOCKED, 140);
        assert_eq!(runstate.arrive(7, 150), 10, "not before it left its CPU");
    }

    #[test]
    fn moving_to_another_queue_is_no_new_wait() {
        let queued = Queued::new();
        queued.begin(10);
        queued.begin(20);
        assert_eq!(queued.end(), 10);
        assert_eq!(queued.end(), NEVER);
    }

    #[test]
    fn the_longest_wait_stays() {
        let counters = Counters::default();
        [5, 9, 2].into_iter().for_each(|ns| counters.note_run(ns));
        let usage = counters.usage([1, 2, 3, 4]);
        assert_eq!(
            (usage.runs, usage.queued_ns, usage.longest_queued_ns),
            (3, 16, 9)
        );
        assert_eq!(
            (usage.cpu_ns, usage.runnable_ns, usage.blocked_ns),
            (1, 2, 3)
        );
    }

    #[test]
    fn a_reader_never_sees_time_twice() {
        let runstate = std::sync::Arc::new(Runstate::new(0));
        let written = runstate.clone();
        let writer = std::thread::spawn(move || {
            for step in 1..200_000_u64 {
                written.enter(
                    [runstate::RUNNING, runstate::BLOCKED][step as usize % 2],
                    step,
                );
            }
        });
        while !writer.is_finished() {
            // Not `read`: the writer may lose its CPU in the middle for as long as its host likes.
            if let Some((_, since, times)) = runstate.read_whole(0) {
                assert_eq!(times.iter().sum::<u64>(), since);
            }
        }
        writer.join().unwrap();
    }
}
