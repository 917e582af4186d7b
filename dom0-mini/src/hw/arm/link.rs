//! The link's device: the first virtio console behind a virtio-mmio transport.

use super::interrupts::Interrupts;
use super::transports::Transports;
use crate::devices::LinkDevice;
use crate::hw::virtio::console;
use hv_abi::start::Device;

/// Said when there is none.
pub(crate) const MISSING: &str = "no virtio console found";

/// The first virtio console, ready, with its interrupt enabled.
pub(crate) fn find(
    _: &[Device],
    transports: &mut Transports,
    interrupts: &mut Interrupts,
) -> Option<LinkDevice> {
    console::find(transports, interrupts, "a virtio console")
}
