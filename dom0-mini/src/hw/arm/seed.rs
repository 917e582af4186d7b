//! A random seed: `/chosen/rng-seed` of the host's device tree.

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};

/// Said when there is none.
pub(crate) const MISSING: &str = "the firmware gives no random seed";

/// Hands the seed to `mix`; how many bytes there were.
pub(crate) fn draw(host_tables: &[u8], mut mix: impl FnMut(&[u8])) -> usize {
    let tree = Fdt::new(host_tables).ok();
    let seed = tree.and_then(|tree| {
        let chosen = tree.find_node("/chosen")?;
        let seed = chosen.property("rng-seed")?;
        mix(seed.value());
        Some(seed.value().len())
    });
    seed.unwrap_or(0)
}
