//! The domain's CPUs: others than the first run a function each, on a stack of their own.
// UNSAFETY: a function that another CPU left for us.
#![expect(unsafe_code, reason = "a function that another CPU left for us")]

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use crate::arch::cpus::*;

/// CPUs of a domain at most.
pub const MOST: usize = 16;
/// Bytes of a stack.
pub(crate) const STACK_LOG2: usize = 14;
const STACK: usize = 1 << STACK_LOG2;

/// What [`switch_on`] and [`affinity_info`] answer: PSCI's words (DEN 0022).
pub mod answer {
    /// Done; for [`super::affinity_info`], on.
    pub const DONE: i64 = 0;
    /// [`super::affinity_info`]: off.
    pub const OFF: i64 = 1;
    /// There is no such CPU.
    pub const INVALID_PARAMETERS: i64 = -2;
    /// It is on.
    pub const ALREADY_ON: i64 = -4;
}

#[repr(C, align(16))]
pub(crate) struct Stacks(pub(crate) [[AtomicU64; STACK / 8]; MOST]);

/// Only the CPU of that number uses its stack, and only while it is on.
#[unsafe(no_mangle)]
pub(crate) static cpu_stacks: Stacks =
    Stacks([const { [const { AtomicU64::new(0) }; STACK / 8] }; MOST]);

/// What each CPU is to do: a `fn(u32)`.
static BODIES: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];

/// Leaves a function for a CPU to run when it is switched on.
pub(crate) fn leave(cpu: u32, body: fn(u32)) {
    if let Some(place) = BODIES.get(cpu as usize) {
        place.store(body as usize, Ordering::Release);
    }
}

/// Runs what was left for this CPU.
pub(crate) fn run(cpu: u32) {
    let body = BODIES[cpu as usize].load(Ordering::Acquire);
    // SAFETY: `leave` stored a `fn(u32)` there before this CPU was started.
    let body: fn(u32) = unsafe { core::mem::transmute(body) };
    body(cpu);
}
