//! What other CPUs touch on the way to a vCPU without a lock: what it wants, whether it waits in a queue, where it runs;
//! and what they tell a CPU.
//!
//! Who makes a vCPU go on sets first what it waits for (an interrupt, a port), then calls [`RunState::wake`]. The vCPU
//! says that it waits, and then looks once more ([`RunState::wait`]). So one of the two sees the other. The tests here go
//! through all interleavings (`cargo test -p hv-common --features loom loom`).

#[cfg(not(all(test, feature = "loom")))]
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
#[cfg(all(test, feature = "loom"))]
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};

/// What a vCPU wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Activity {
    /// It is switched off.
    Off = 0,
    /// It waits for an interrupt or event.
    Blocked = 1,
    /// It runs or wants to.
    Ready = 2,
}

/// What came of waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waited {
    /// It waits.
    Waits,
    /// What it would wait for is there: it goes on.
    GoesOn,
    /// Somebody woke it, and has put it into a queue.
    WasWoken,
    /// Somebody switched it off.
    IsOff,
}

/// "On no CPU".
const NO_CPU: u32 = u32::MAX;

/// The state of a vCPU. See the module.
#[derive(Debug)]
pub(crate) struct RunState {
    activity: AtomicU8,
    running_on: AtomicU32,
    queued: AtomicBool,
}

impl RunState {
    /// Switched off.
    pub(crate) fn new() -> Self {
        Self {
            activity: AtomicU8::new(Activity::Off as u8),
            running_on: AtomicU32::new(NO_CPU),
            queued: AtomicBool::new(false),
        }
    }

    /// What it wants.
    #[inline]
    pub(crate) fn activity(&self) -> Activity {
        match self.activity.load(Ordering::SeqCst) {
            1 => Activity::Blocked,
            2 => Activity::Ready,
            _ => Activity::Off,
        }
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::SeqCst);
    }

    /// Switches it off, whatever it does. Whoever has it running sees it.
    pub(crate) fn switch_off(&self) {
        let _before = self.activity.swap(Activity::Off as u8, Ordering::SeqCst);
    }

    /// Changes what it wants from one to another. Returns whether it was the first.
    #[inline]
    pub(crate) fn change_activity(&self, from: Activity, to: Activity) -> bool {
        self.activity
            .compare_exchange(from as u8, to as u8, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Says that it waits, and looks whether that is over. On its own CPU only.
    #[inline]
    pub(crate) fn wait(&self, is_over: impl FnOnce() -> bool) -> Waited {
        if !self.change_activity(Activity::Ready, Activity::Blocked) {
            return Waited::IsOff;
        }
        // Said before looked, whatever is looked at: the other half is in `wake`.
        fence(Ordering::SeqCst);
        if !is_over() {
            Waited::Waits
        } else if self.change_activity(Activity::Blocked, Activity::Ready) {
            Waited::GoesOn
        } else {
            Waited::WasWoken
        }
    }

    /// Makes it ready if it waits. Returns whether it did: then it is the caller's to put it into a queue.
    #[inline]
    pub(crate) fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.change_activity(Activity::Blocked, Activity::Ready)
    }

    /// Marks it as queued. Returns whether it was not: then it is the caller's to put it there.
    #[inline]
    pub(crate) fn enter_queue(&self) -> bool {
        !self.queued.swap(true, Ordering::SeqCst)
    }

    /// It is in no queue any more.
    #[inline]
    pub(crate) fn leave_queue(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }

    /// The CPU it is on.
    #[inline]
    pub(crate) fn running_on(&self) -> Option<usize> {
        match self.running_on.load(Ordering::SeqCst) {
            NO_CPU => None,
            cpu => Some(cpu as usize),
        }
    }

    /// It is on that CPU now.
    #[inline]
    pub(crate) fn arrive(&self, cpu: u32) {
        let _left = self.running_on.swap(cpu, Ordering::SeqCst);
    }

    /// It has left that CPU. If it is on another one by now, that stays so.
    #[inline]
    pub(crate) fn leave(&self, cpu: u32) {
        let on = &self.running_on;
        let _elsewhere = on.compare_exchange(cpu, NO_CPU, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Tells a CPU that something may have changed about what it runs. Who changes something asks for it afterwards; the CPU
/// takes note before it looks.
#[derive(Debug)]
pub(crate) struct Attention(AtomicBool);

impl Attention {
    pub(crate) fn new(wanted: bool) -> Self {
        Self(AtomicBool::new(wanted))
    }

    #[inline]
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn take_note(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;
    use loom::sync::{Arc, Mutex};
    use loom::thread;
    use std::vec::Vec;

    #[test]
    fn no_wake_up_is_lost_and_none_is_made_twice() {
        loom::model(|| {
            let state = Arc::new(RunState::new());
            state.set_activity(Activity::Ready);
            let pending = Arc::new(AtomicBool::new(false));
            let wakers: Vec<_> = (0..2)
                .map(|_| {
                    let (state, pending) = (state.clone(), pending.clone());
                    thread::spawn(move || {
                        pending.store(true, Ordering::SeqCst);
                        state.wake() && state.enter_queue()
                    })
                })
                .collect();
            let waited = state.wait(|| pending.load(Ordering::SeqCst));
            let queued = wakers.into_iter().map(|waker| waker.join().unwrap());
            let queued = queued.filter(|queued| *queued).count();
            // What was sent before it waits for good leaves it ready: on its CPU, or once in a queue.
            assert_eq!(state.activity(), Activity::Ready);
            match waited {
                Waited::GoesOn => assert_eq!(queued, 0),
                Waited::Waits | Waited::WasWoken => assert_eq!(queued, 1),
                Waited::IsOff => unreachable!("nobody switches it off"),
            }
        });
    }

    #[test]
    fn one_that_is_switched_off_meanwhile_stays_off() {
        loom::model(|| {
            let state = Arc::new(RunState::new());
            state.set_activity(Activity::Ready);
            let others = [
                {
                    let state = state.clone();
                    thread::spawn(move || state.switch_off())
                },
                {
                    let state = state.clone();
                    thread::spawn(move || {
                        state.wake();
                    })
                },
            ];
            let _waited = state.wait(|| false);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(state.activity(), Activity::Off);
        });
    }

    #[test]
    fn one_of_several_puts_it_into_a_queue() {
        loom::model(|| {
            let state = Arc::new(RunState::new());
            let other = {
                let state = state.clone();
                thread::spawn(move || state.enter_queue())
            };
            let mine = state.enter_queue();
            assert!(mine ^ other.join().unwrap());
            state.leave_queue();
            assert!(state.enter_queue());
        });
    }

    #[test]
    fn the_cpu_it_left_does_not_hide_the_cpu_it_is_on() {
        loom::model(|| {
            let state = Arc::new(RunState::new());
            // Its registers: whoever has them runs it.
            let registers = Arc::new(Mutex::new(()));
            state.arrive(0);
            let held = registers.lock().unwrap();
            let other = {
                let (state, registers) = (state.clone(), registers.clone());
                thread::spawn(move || {
                    let _held = registers.lock().unwrap();
                    state.arrive(1);
                })
            };
            drop(held);
            state.leave(0);
            other.join().unwrap();
            assert_eq!(state.running_on(), Some(1));
        });
    }

    #[test]
    fn a_change_is_seen_or_asked_for_again() {
        loom::model(|| {
            let attention = Arc::new(Attention::new(false));
            let queue = Arc::new(Mutex::new(0));
            let other = {
                let (attention, queue) = (attention.clone(), queue.clone());
                thread::spawn(move || {
                    *queue.lock().unwrap() += 1;
                    attention.ask();
                })
            };
            attention.take_note();
            let seen = *queue.lock().unwrap();
            other.join().unwrap();
            assert!(seen == 1 || attention.is_wanted());
        });
    }
}
