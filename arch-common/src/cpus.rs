//! Which CPUs run the hypervisor.

use core::sync::atomic::{AtomicU32, Ordering};

/// CPUs at most. The link.ld of each architecture has stacks for them.
pub const CPUS_MAX: usize = 8;

/// A set of CPUs that only grows.
#[derive(Debug)]
pub struct Online(AtomicU32);

impl Online {
    /// Nobody.
    #[expect(clippy::new_without_default, reason = "there is one, a static")]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// CPU `number` runs, and what it wrote before is seen by who finds it here.
    pub fn add(&self, number: usize) {
        self.0.fetch_or(1 << number, Ordering::Release);
    }

    /// Whether a CPU runs.
    #[inline]
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        number < CPUS_MAX && self.0.load(Ordering::Acquire) & 1 << number != 0
    }

    /// All CPUs that run, but `here`.
    pub fn others(&self, here: usize) -> impl Iterator<Item = usize> {
        (0..CPUS_MAX).filter(move |number| *number != here && self.has(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_those_that_were_added() {
        let online = Online::new();
        assert!(!online.has(0));
        online.add(0);
        online.add(7);
        online.add(3);
        assert!(online.has(7) && !online.has(6) && !online.has(usize::MAX));
        assert!(online.others(3).eq([0, 7]));
    }
}
