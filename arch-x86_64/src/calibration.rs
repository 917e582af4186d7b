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

/// What was read of another clock, and the TSC then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment<T> {
    /// The TSC.
    pub tsc: u64,
    /// The other clock.
    pub read: T,
}

/// How often two clocks are read beside each other.
const TRIES: u32 = 8;

/// Reads another clock beside the TSC. Whatever interrupts the CPU in between (a system management interrupt, whoever
/// emulates it) makes one of the two late: of several tries the one counts that took the least time.
pub fn moment<T>(mut tsc: impl FnMut() -> u64, mut read: impl FnMut() -> T) -> Moment<T> {
    let mut attempt = || {
        let before = tsc();
        let read = read();
        let took = tsc().wrapping_sub(before);
        let tsc = before.wrapping_add(took / 2);
        (took, Moment { tsc, read })
    };
    let mut best = attempt();
    for _ in 1..TRIES {
        let next = attempt();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clocks at one rate; the CPU is held up for 1000 ticks after most readings of the first.
    #[test]
    fn an_interruption_between_two_readings_does_not_count() {
        let now = core::cell::Cell::new(0_u64);
        let pass = |ticks| {
            now.set(now.get() + ticks);
            now.get()
        };
        let mut reads = 0;
        let tsc = || {
            reads += 1;
            let is_held_up = reads % 2 == 1 && reads != 5;
            let read = pass(10);
            pass(if is_held_up { 1000 } else { 0 });
            read
        };
        let moment = moment(tsc, || pass(10));
        assert_eq!(moment.tsc, moment.read);
    }

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
