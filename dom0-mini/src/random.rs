//! Random bytes: a blake3 stream keyed from what the machine offers.
//!
//! Sources are mixed: `/chosen/rng-seed` of the host's device tree, and the counter at several moments. Without a seed the
//! stream is not secret ([`Random::is_seeded`]); it then serves for UUIDs only.

use crate::hw::counter;
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};

/// A stream of random bytes.
pub(crate) struct Random {
    hasher: blake3::Hasher,
    drawn: u64,
    seeded: bool,
}

impl Random {
    /// Seeds the stream from the host's device tree.
    pub(crate) fn from_host_tree(tree: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("Alcove Domain-0 random stream 1");
        let seeded = mix_seed(tree, &mut hasher).is_some_and(|length| length >= 16);
        hasher.update(&counter::ticks().to_le_bytes());
        Self {
            hasher,
            drawn: 0,
            seeded,
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

/// Mixes in the device tree's seed; its length, if there is one.
fn mix_seed(tree: &[u8], hasher: &mut blake3::Hasher) -> Option<usize> {
    let tree = Fdt::new(tree).ok()?;
    let seed = tree.find_node("/chosen")?.property("rng-seed")?;
    hasher.update(seed.value());
    Some(seed.value().len())
}
