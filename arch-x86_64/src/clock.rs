//! Counter ticks and nanoseconds.

/// Converts between the two without division: nanoseconds in a tick as 32.32, ticks in a nanosecond (at most one) as
/// 0.64 fixed-point factor, so that neither drifts away over months.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hz: u64,
    /// Ticks at nanosecond 0.
    start: u64,
    ns_per_tick: u64,
    ticks_per_ns: u64,
}

const NS_PER_S: u64 = 1_000_000_000;

impl Clock {
    /// A clock that shows 0 when the counter, which runs at `hz`, shows `start`. A counter that claims not to run is
    /// taken for one of 1 MHz.
    #[must_use]
    pub fn new(hz: u64, start: u64) -> Self {
        let hz = if hz == 0 { 1_000_000 } else { hz };
        Self {
            hz,
            start,
            ns_per_tick: fixed(NS_PER_S, hz, 32),
            ticks_per_ns: fixed(hz, NS_PER_S, 64),
        }
    }

    /// Ticks per second.
    #[must_use]
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// Time at a count.
    #[must_use]
    pub fn ns_at(&self, ticks: u64) -> u64 {
        scale(ticks.wrapping_sub(self.start), self.ns_per_tick, 32)
    }

    /// The first count at or after a time.
    #[must_use]
    pub fn ticks_at(&self, ns: u64) -> u64 {
        let ticks = scale(ns, self.ticks_per_ns, 64).saturating_add(1);
        self.start.saturating_add(ticks)
    }

    /// The time of a count that may be before the start or far away: clamped.
    #[must_use]
    pub fn deadline_ns(&self, ticks: u64) -> u64 {
        match ticks.checked_sub(self.start) {
            Some(ticks) => scale(ticks, self.ns_per_tick, 32).saturating_add(1),
            None => 0,
        }
    }
}

fn fixed(numerator: u64, denominator: u64, bits: u32) -> u64 {
    let value = (u128::from(numerator) << bits) / u128::from(denominator);
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[inline]
fn scale(value: u64, factor: u64, bits: u32) -> u64 {
    let product = (u128::from(value) * u128::from(factor)) >> bits;
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_second() {
        for hz in [62_500_000, 54_000_000, 1_000_000_000, 24_000_000] {
            let clock = Clock::new(hz, 12345);
            let after = clock.ns_at(12345 + hz);
            assert!(after.abs_diff(NS_PER_S) < 100, "{hz}: {after}");
        }
    }

    #[test]
    fn a_deadline_is_never_early() {
        let clock = Clock::new(54_000_000, 1000);
        for ns in [0, 1, 999, 1_000_000_007, 3_600_000_000_000] {
            let ticks = clock.ticks_at(ns);
            assert!(clock.ns_at(ticks) + 40 >= ns, "{ns}");
        }
        assert_eq!(clock.deadline_ns(0), 0);
        assert_eq!(
            clock.deadline_ns(u64::MAX),
            clock.ns_at(u64::MAX).saturating_add(1)
        );
    }

    #[test]
    fn a_counter_without_frequency_does_not_divide_by_zero() {
        assert_eq!(Clock::new(0, 0).hz(), 1_000_000);
    }
}
