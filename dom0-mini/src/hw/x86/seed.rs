//! A random seed: RDRAND, where the CPU has it.

use x86_64::instructions::random::RdRand;

/// Said when there is none.
pub(crate) const MISSING: &str = "the CPU has no random numbers (RDRAND)";

/// Words drawn.
const WORDS: usize = 8;
/// How often a word is asked for: it fails when others draw much (Intel SDM volume 1, 7.3.17.1).
const TRIES: usize = 10;

/// Hands the seed to `mix`; how many bytes there were.
pub(crate) fn draw(_: &[u8], mut mix: impl FnMut(&[u8])) -> usize {
    let Some(source) = RdRand::new() else {
        return 0;
    };
    let words = (0..WORDS).filter_map(|_| (0..TRIES).find_map(|_| source.get_u64()));
    words
        .map(|word| {
            mix(&word.to_le_bytes());
            size_of_val(&word)
        })
        .sum()
}
