//! A vCPU: the slot that all CPUs see, and the loop that runs it ([`run`]).
//!
//! The registers ([`VcpuSlot::registers`]) are open to one CPU at a time: the one that runs the vCPU, or the one that
//! serves a control call while nothing runs it. Opening is tried, never waited for. What others need on the way to
//! the vCPU is atomic.
//!
//! A vCPU is off, waits, or is ready ([`Activity`]). Blocking publishes "waits" and then looks once more at what it
//! waits for; a wake-up changes "waits" to "ready" and only then enqueues. So a wake-up between the two is seen by one
//! of them.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use hv_abi::control::vcpu::Usage;

use crate::arch::Arch;
use crate::lock::{Guard, Lock};
use crate::time::NEVER;

mod run_state;
mod stay;
mod usage;

pub use run_state::Activity;
pub(crate) use run_state::Attention;
use run_state::RunState;
pub use stay::run;
pub use usage::{Counters, Runstate};
pub(crate) use usage::{Queued, count};

/// It polls for no port.
pub const NOT_POLLING: u32 = u32::MAX;
/// It polls for any port.
pub const POLLING_ANY: u32 = 0;
/// No machine or guest-physical address.
pub const NO_ADDRESS: u64 = u64::MAX;

/// A vCPU as everybody may see it.
pub struct VcpuSlot<A: Arch> {
    /// Its number in its domain.
    pub index: u32,
    registers: Lock<A::Vcpu>,
    /// What others touch on the way to it.
    pub(crate) run_state: RunState,
    home: AtomicU32,
    /// Since when it waits for a CPU.
    pub(crate) queued: Queued,
    /// A device's interrupt waits for it: it goes first.
    pub(crate) urgent: AtomicBool,
    /// Weighted time it has run.
    pub(crate) virtual_ns: AtomicU64,
    /// When it has waited long enough for its domain's cap.
    pub(crate) capped_until_ns: AtomicU64,
    /// Where it may run: a bit for each CPU.
    affinity: AtomicU64,
    /// Whether its first context was set.
    pub has_context: AtomicBool,
    /// The port it polls for: [`NOT_POLLING`], [`POLLING_ANY`] or a number.
    pub polling: AtomicU32,
    /// Singleshot timer, host nanoseconds, [`NEVER`] if none. Set by [`crate::sched::set_singleshot`].
    pub singleshot_ns: AtomicU64,
    /// Guest-physical address of its `vcpu_info`; [`NO_ADDRESS`]: the one in `shared_info`.
    pub info_gpa: AtomicU64,
    /// Machine address of the same, its frame pinned by a reference.
    pub info_address: AtomicU64,
    /// Guest-physical address of its runstate area.
    pub runstate_gpa: AtomicU64,
    /// Guest-physical address of its second `vcpu_time_info`.
    pub clock_gpa: AtomicU64,
    /// Time spent in each run state.
    pub runstate: Runstate,
    /// Counters.
    pub counters: Counters,
}

impl<A: Arch> VcpuSlot<A> {
    /// A vCPU that is off, on that CPU's queue.
    pub fn new(index: u32, registers: A::Vcpu, home: u32, now_ns: u64) -> Self {
        Self {
            index,
            registers: Lock::new(registers),
            run_state: RunState::new(),
            home: AtomicU32::new(home),
            queued: Queued::new(),
            urgent: AtomicBool::new(false),
            virtual_ns: AtomicU64::new(0),
            capped_until_ns: AtomicU64::new(0),
            affinity: AtomicU64::new(u64::MAX),
            has_context: AtomicBool::new(false),
            polling: AtomicU32::new(NOT_POLLING),
            singleshot_ns: AtomicU64::new(NEVER),
            info_gpa: AtomicU64::new(NO_ADDRESS),
            info_address: AtomicU64::new(NO_ADDRESS),
            runstate_gpa: AtomicU64::new(NO_ADDRESS),
            clock_gpa: AtomicU64::new(NO_ADDRESS),
            runstate: Runstate::new(now_ns),
            counters: Counters::default(),
        }
    }

    /// Its registers, if nothing runs it and nobody else looks at them.
    pub fn registers(&self) -> Option<Guard<'_, A::Vcpu>> {
        self.registers.try_lock()
    }

    /// What it wants.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.run_state.activity()
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.activity() != Activity::Off
    }

    /// Whether it is on, or has not left its CPU after it was switched off: until then it cannot be switched on again, so
    /// this is what others are told.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_online() || self.running_on().is_some()
    }

    /// Sets what it wants (restore, power); the caller enqueues it if it is ready.
    pub fn set_activity(&self, activity: Activity) {
        self.run_state.set_activity(activity);
    }

    /// Changes what it wants from one to another. Returns whether it was the first.
    pub fn change_activity(&self, from: Activity, to: Activity) -> bool {
        self.run_state.change_activity(from, to)
    }

    /// The CPU it is on.
    #[must_use]
    pub fn running_on(&self) -> Option<usize> {
        self.run_state.running_on()
    }

    /// The CPU whose queue it is in.
    #[must_use]
    pub fn home(&self) -> usize {
        self.home.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn set_home(&self, cpu: u32) {
        self.home.store(cpu, Ordering::Relaxed);
    }

    /// Where it may run: a bit for each CPU.
    #[must_use]
    pub fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    /// See [`crate::sched::set_affinity`].
    pub(crate) fn set_affinity(&self, cpus: u64) {
        self.affinity.store(cpus, Ordering::Relaxed);
    }

    /// Whether it may run on that CPU.
    #[must_use]
    pub fn may_run_on(&self, cpu: u32) -> bool {
        self.affinity().wrapping_shr(cpu) & 1 != 0
    }

    /// What it did so far.
    #[must_use]
    pub fn usage(&self, now_ns: u64) -> Usage {
        let (_, _, times) = self.runstate.read(now_ns);
        self.counters.usage(times)
    }
}
