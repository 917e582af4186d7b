//! Counter ticks and nanoseconds.

/// Converts between the two without division, by factors of 64 bits: neither drifts away from the other over months, or the
/// timer would come again and again before the time that it was set to.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hz: u64,
    /// Ticks at nanosecond 0.
    start: u64,
    ns_per_tick: Factor,
    ticks_per_ns: Factor,
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
            ns_per_tick: Factor::new(NS_PER_S, hz),
            ticks_per_ns: Factor::new(hz, NS_PER_S),
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
        self.ns_per_tick.scale(ticks.wrapping_sub(self.start))
    }

    /// The first count at or after a time.
    #[must_use]
    pub fn ticks_at(&self, ns: u64) -> u64 {
        let ticks = self.ticks_per_ns.scale(ns).saturating_add(1);
        self.start.saturating_add(ticks)
    }

    /// The time of a count that may be before the start or far away: clamped.
    #[must_use]
    pub fn deadline_ns(&self, ticks: u64) -> u64 {
        match ticks.checked_sub(self.start) {
            Some(ticks) => self.ns_per_tick.scale(ticks).saturating_add(1),
            None => 0,
        }
    }
}

/// A fixed-point number with as many bits behind the point as there is room for.
#[derive(Clone, Copy, Debug)]
struct Factor {
    value: u64,
    bits: u32,
}

impl Factor {
    /// A quotient; neither is 0.
    fn new(numerator: u64, denominator: u64) -> Self {
        let bits = (numerator / denominator).leading_zeros();
        let value = (u128::from(numerator) << bits) / u128::from(denominator);
        Self {
            value: u64::try_from(value).unwrap_or(u64::MAX),
            bits,
        }
    }

    #[inline]
    fn scale(self, by: u64) -> u64 {
        let product = (u128::from(by) * u128::from(self.value)) >> self.bits;
        u64::try_from(product).unwrap_or(u64::MAX)
    }
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
    fn when_a_deadline_comes_its_time_has_come() {
        const YEAR: u64 = 365 * 86_400 * NS_PER_S;
        for hz in [
            1_000_000,
            54_000_000,
            999_999_937,
            1_000_013_000,
            2_899_999_999,
        ] {
            let clock = Clock::new(hz, 1000);
            for ns in [0, 1, 999, 1_000_000_007, 3_600_000_000_000, YEAR] {
                let shown = clock.ns_at(clock.ticks_at(ns));
                assert!(shown + 1 >= ns, "{hz}, {ns}: {shown}");
                assert!(shown <= ns + 2 * NS_PER_S / hz + 2, "{hz}, {ns}: {shown}");
            }
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
