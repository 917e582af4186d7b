//! Interrupts that were taken, counted.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::cpus;

static TIMER: AtomicU32 = AtomicU32::new(0);
static IPIS: [AtomicU32; cpus::MOST] = [const { AtomicU32::new(0) }; cpus::MOST];
static EVENTS: AtomicU32 = AtomicU32::new(0);
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// How many timer interrupts there were.
#[must_use]
pub fn timer() -> u32 {
    TIMER.load(Ordering::SeqCst)
}

/// How many interrupts of other CPUs, or of its own, a CPU has taken.
#[must_use]
pub fn ipis(cpu: u32) -> u32 {
    IPIS[cpu as usize].load(Ordering::SeqCst)
}

/// How many events there were.
#[must_use]
pub fn events() -> u32 {
    EVENTS.load(Ordering::SeqCst)
}

/// The counter when the last interrupt arrived.
#[must_use]
pub fn arrived() -> u64 {
    ARRIVED.load(Ordering::SeqCst)
}

pub(crate) fn note_timer() {
    TIMER.fetch_add(1, Ordering::SeqCst);
}

pub(crate) fn note_ipi(cpu: u32) {
    IPIS[cpu as usize].fetch_add(1, Ordering::SeqCst);
}

pub(crate) fn note_events(count: u32) {
    EVENTS.fetch_add(count, Ordering::SeqCst);
}

pub(crate) fn note_arrival(now: u64) {
    ARRIVED.store(now, Ordering::SeqCst);
}
