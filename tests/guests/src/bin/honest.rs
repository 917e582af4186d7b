//! Claim: nobody else's doing changes this guest's memory or time. Prints `tick N` every 100 ms of its time, for ever, and
//! fails if a sum over 16 MiB that it wrote once is another than before.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod pattern {
    use core::sync::atomic::{AtomicU64, Ordering};

    const WORDS: usize = (16 << 20) / 8;

    static PATTERN: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

    pub(crate) fn write() {
        for (number, word) in (0_u64..).zip(&PATTERN) {
            word.store(
                number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                Ordering::Relaxed,
            );
        }
    }

    pub(crate) fn sum() -> u64 {
        let add = |sum: u64, word: &AtomicU64| sum.rotate_left(5) ^ word.load(Ordering::Relaxed);
        PATTERN.iter().fold(0, add)
    }
}

guests::guest!("honest", || {
    pattern::write();
    let before = pattern::sum();
    let period = guests::timer::frequency() / 10;
    for tick in 0_u64.. {
        assert_eq!(pattern::sum(), before, "somebody wrote our memory");
        guests::say!("tick {tick}");
        guests::timer::sleep_until(guests::timer::now() + period);
    }
});
