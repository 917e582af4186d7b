//! Ticks of the machine's counter as nanoseconds, and back.
//!
//! Both ways multiply instead of dividing, by factors that are exact enough that neither way drifts away from the other
//! over months: or the timer would come again and again before the time that it was set to.

use crate::time::SECOND_NS;

/// A quotient to multiply by.
pub trait Factor: Copy {
    /// The quotient; neither is 0.
    fn new(numerator: u64, denominator: u64) -> Self;

    /// So many times the quotient, rounded down, or all ones.
    fn scale(self, by: u64) -> u64;
}

/// A factor with `BITS` bits behind the point: the shortest way, where the quotient is known to be of that size.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<const BITS: u32>(u64);

impl<const BITS: u32> Factor for Fixed<BITS> {
    fn new(numerator: u64, denominator: u64) -> Self {
        Self(quotient(numerator, denominator, BITS))
    }

    #[inline]
    fn scale(self, by: u64) -> u64 {
        product(by, self.0, BITS)
    }
}

/// A factor with as many bits behind the point as there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Floating {
    value: u64,
    bits: u32,
}

impl Factor for Floating {
    fn new(numerator: u64, denominator: u64) -> Self {
        let bits = (numerator / denominator).leading_zeros();
        Self {
            value: quotient(numerator, denominator, bits),
            bits,
        }
    }

    #[inline]
    fn scale(self, by: u64) -> u64 {
        product(by, self.value, self.bits)
    }
}

fn quotient(numerator: u64, denominator: u64, bits: u32) -> u64 {
    let value = (u128::from(numerator) << bits) / u128::from(denominator);
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[inline]
fn product(by: u64, factor: u64, bits: u32) -> u64 {
    let product = (u128::from(by) * u128::from(factor)) >> bits;
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// A clock that counts nanoseconds since a count of the counter; `N` makes nanoseconds of ticks, `T` ticks of nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock<N, T> {
    hz: u64,
    /// Ticks at nanosecond 0.
    start: u64,
    ns_per_tick: N,
    ticks_per_ns: T,
}

impl<N: Factor, T: Factor> Clock<N, T> {
    /// A clock that shows 0 when the counter, which runs at `hz`, shows `start`. A counter that claims not to run is
    /// taken for one of 1 MHz.
    #[must_use]
    pub fn new(hz: u64, start: u64) -> Self {
        let hz = if hz == 0 { 1_000_000 } else { hz };
        Self {
            hz,
            start,
            ns_per_tick: N::new(SECOND_NS, hz),
            ticks_per_ns: T::new(hz, SECOND_NS),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// For counters of at most 1 GHz.
    type Slow = Clock<Fixed<32>, Fixed<64>>;
    /// For any.
    type Any = Clock<Floating, Floating>;

    #[test]
    fn a_second_is_a_second() {
        for hz in [62_500_000, 54_000_000, 1_000_000_000, 24_000_000] {
            let slow = Slow::new(hz, 12345).ns_at(12345 + hz);
            let any = Any::new(hz, 12345).ns_at(12345 + hz);
            assert!(slow.abs_diff(SECOND_NS) < 100, "{hz}: {slow}");
            assert!(any.abs_diff(SECOND_NS) < 100, "{hz}: {any}");
        }
    }

    #[test]
    fn when_a_deadline_comes_its_time_has_come() {
        const YEAR: u64 = 365 * 86_400 * SECOND_NS;
        for hz in [
            1_000_000,
            54_000_000,
            999_999_937,
            1_000_013_000,
            2_899_999_999,
        ] {
            let clock = Any::new(hz, 1000);
            for ns in [0, 1, 999, 1_000_000_007, 3_600_000_000_000, YEAR] {
                let shown = clock.ns_at(clock.ticks_at(ns));
                assert!(shown + 1 >= ns, "{hz}, {ns}: {shown}");
                assert!(shown <= ns + 2 * SECOND_NS / hz + 2, "{hz}, {ns}: {shown}");
            }
        }
    }

    #[test]
    fn a_deadline_is_never_early() {
        let (slow, any) = (Slow::new(54_000_000, 1000), Any::new(54_000_000, 1000));
        for ns in [0, 1, 999, 1_000_000_007, 3_600_000_000_000] {
            assert!(slow.ns_at(slow.ticks_at(ns)) + 40 >= ns, "{ns}");
            assert!(any.ns_at(any.ticks_at(ns)) + 40 >= ns, "{ns}");
        }
        assert_eq!((slow.deadline_ns(0), any.deadline_ns(0)), (0, 0));
        assert_eq!(
            slow.deadline_ns(u64::MAX),
            slow.ns_at(u64::MAX).saturating_add(1)
        );
        assert_eq!(
            any.deadline_ns(u64::MAX),
            any.ns_at(u64::MAX).saturating_add(1)
        );
    }

    #[test]
    fn what_does_not_fit_is_all_ones() {
        assert_eq!(Slow::new(54_000_000, 0).ns_at(u64::MAX), u64::MAX);
        assert_eq!(Any::new(54_000_000, 0).ns_at(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_counter_without_frequency_does_not_divide_by_zero() {
        assert_eq!(Slow::new(0, 0).hz(), 1_000_000);
        assert_eq!(Any::new(0, 0).hz(), 1_000_000);
    }
}
