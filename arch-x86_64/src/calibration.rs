//! The arithmetic of measuring clocks against each other.

/// Fixed-point shift of the APIC timer's rate.
const SHIFT: u32 = 20;

/// Ticks per second, if that many passed in that many nanoseconds.
#[must_use]
pub fn rate(ticks: u64, elapsed_ns: u64) -> u64 {
    let hz = u128::from(ticks) * 1_000_000_000 / u128::from(elapsed_ns.max(1));
    u64::try_from(hz).unwrap_or(u64::MAX).max(1)
}

/// Counts of the APIC timer in 2^20 TSC ticks, at least 1.
#[must_use]
pub fn counts(counted: u32, ticks: u64) -> u32 {
    let counts = (u64::from(counted) << SHIFT) / ticks.max(1);
    u32::try_from(counts).unwrap_or(u32::MAX).max(1)
}

/// What the APIC timer counts down from to come when the TSC reaches `at`: at least 1, and early if that is far away.
#[must_use]
pub fn count_until(at: u64, now: u64, counts: u32) -> u32 {
    let ticks = u128::from(at.saturating_sub(now));
    let count = ((ticks * u128::from(counts)) >> SHIFT) + 1;
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate(2_000_000, 1_000_000), 2_000_000_000);
        assert_eq!(rate(0, 0), 1);
        // 1 GHz and 62.5 MHz.
        let counts = counts(62_500, 1_000_000);
        assert_eq!(counts, 65_536);
        assert_eq!(count_until(5_000_000, 4_000_000, counts), 62_501);
        assert_eq!(count_until(1, 2, counts), 1);
        assert_eq!(count_until(u64::MAX, 0, counts), u32::MAX);
    }
}
