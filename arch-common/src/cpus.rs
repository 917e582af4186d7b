//! What each CPU has for itself, and which CPUs run the hypervisor.

use core::sync::atomic::{AtomicU32, Ordering};

/// CPUs at most. The link.ld of each architecture has stacks for them.
pub const CPUS_MAX: usize = 8;

/// A value for each CPU.
#[derive(Debug)]
pub struct Cpus<T> {
    values: [T; CPUS_MAX],
    /// A bit for each CPU that runs.
    online: AtomicU32,
}

impl<T> Cpus<T> {
    /// Values of CPUs none of which runs yet.
    #[must_use]
    pub const fn new(values: [T; CPUS_MAX]) -> Self {
        Self {
            values,
            online: AtomicU32::new(0),
        }
    }

    /// The first CPU's value.
    #[must_use]
    pub const fn first(&self) -> &T {
        &self.values[0]
    }

    /// A CPU's value, whether it runs or not.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&T> {
        self.values.get(number)
    }

    /// A CPU's value, if it runs.
    #[must_use]
    pub fn online(&self, number: usize) -> Option<&T> {
        let value = self.get(number)?;
        (self.online.load(Ordering::Acquire) & 1 << number != 0).then_some(value)
    }

    /// The values of all CPUs that run, but `here`.
    pub fn others(&self, here: usize) -> impl Iterator<Item = &T> {
        (0..CPUS_MAX)
            .filter(move |number| *number != here)
            .filter_map(|number| self.online(number))
    }

    /// CPU `number` runs, and what it wrote before is seen by who finds it here.
    pub fn go_online(&self, number: usize) {
        self.online.fetch_or(1 << number, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_run_that_went_online() {
        let cpus = Cpus::new(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
        assert_eq!((cpus.first(), cpus.get(0)), (&'a', Some(&'a')));
        assert_eq!(cpus.online(0), None);
        for number in [0, 7, 3] {
            cpus.go_online(number);
        }
        assert_eq!((cpus.online(7), cpus.online(6)), (Some(&'h'), None));
        assert_eq!(cpus.online(usize::MAX), None);
        assert!(cpus.others(3).eq(&['a', 'h']));
    }
}
