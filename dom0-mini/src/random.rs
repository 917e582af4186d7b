//! Random bytes: a blake3 stream keyed from what the machine offers.
//!
//! Sources are mixed: the machine's seed ([`seed`]), and the counter at several moments. Without a seed the stream is not
//! secret ([`Random::is_seeded`]); it then serves for UUIDs only.

use crate::hw::{counter, seed};

/// Bytes of seed that nobody guesses.
const SEED_ENOUGH: usize = 16;

/// A stream of random bytes.
pub(crate) struct Random {
    hasher: blake3::Hasher,
    drawn: u64,
    seeded: bool,
}

impl Random {
    /// Seeds the stream.
    pub(crate) fn from_machine(host_tables: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("Alcove Domain-0 random stream 1");
        let drawn = seed::draw(host_tables, |bytes| {
            hasher.update(bytes);
        });
        hasher.update(&counter::ticks().to_le_bytes());
        Self {
            hasher,
            drawn: 0,
            seeded: drawn >= SEED_ENOUGH,
        }
    }

    /// Whether there was a seed.
    pub(crate) fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// Fills `into`.
    pub(crate) fn fill(&mut self, into: &mut [u8]) {
        self.drawn += 1;
        self.hasher.update(&self.drawn.to_le_bytes());
        self.hasher.update(&counter::ticks().to_le_bytes());
        self.hasher.finalize_xof().fill(into);
    }
}
