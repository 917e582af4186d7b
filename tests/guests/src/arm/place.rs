//! Where a domain has what.

use hv_abi::layout::arm::{GICD_BASE, GICR_BASE};
pub use hv_abi::layout::arm::{GRANT_BASE, MAGIC_BASE as RINGS_BASE, RAM0_BASE as RAM_BASE};
use hv_abi::xen::shared_info::{ARM64, SharedInfoLayout};

/// How the shared page is laid out.
pub(crate) const SHARED_INFO: SharedInfoLayout = ARM64;
/// Where addresses may hurt, with 64 KiB behind them.
pub(crate) const DEVICES: [u64; 3] = [GICD_BASE, GICR_BASE, GRANT_BASE];
/// An address, virtual and physical, that nothing is at.
pub const NOTHING: u64 = 0x3000_0000;

/// RAM that holds our image: nothing is to be written there, or given away.
#[must_use]
pub fn own() -> core::ops::Range<u64> {
    RAM_BASE..RAM_BASE + (16 << 20)
}
