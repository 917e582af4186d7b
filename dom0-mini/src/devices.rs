//! The devices that the start page gives us: finds the console that carries the link.

use crate::hw::interrupts::{Interrupts, Trigger};
use crate::hw::virtio::{self, Console};
use hv_abi::start::{Device, DeviceKind, Dom0Start};

/// A console and the interrupt it raises.
pub(crate) struct LinkDevice {
    /// The device.
    pub(crate) console: Console,
    /// Its interrupt.
    pub(crate) interrupt: u32,
}

/// The devices in use on the start page.
fn devices(start: &Dom0Start) -> &[Device] {
    start
        .devices
        .get(..start.device_count as usize)
        .unwrap_or(&start.devices)
}

/// The first virtio console, ready, with its interrupt enabled.
pub(crate) fn find_link(start: &Dom0Start, interrupts: &mut Interrupts) -> Option<LinkDevice> {
    devices(start)
        .iter()
        .filter(|device| device.kind == DeviceKind::VIRTIO_MMIO)
        .find_map(|device| {
            let console = virtio::probe_console(device.registers)?;
            interrupts.enable(device.interrupt, Trigger::Edge);
            Some(LinkDevice {
                console,
                interrupt: device.interrupt,
            })
        })
}

/// Registers that have to be mapped as device memory.
pub(crate) fn register_ranges(start: &Dom0Start) -> impl Iterator<Item = hv_abi::start::Range> {
    let controller = start.interrupt_controller.into_iter();
    controller.chain(devices(start).iter().map(|device| device.registers))
}

/// Seconds since 1970, from a PL031 (Arm DDI 0224, RTCDR).
pub(crate) fn wall_clock_s(start: &Dom0Start) -> Option<u64> {
    let clock = devices(start)
        .iter()
        .find(|device| device.kind == DeviceKind::PL031)?;
    Some(u64::from(crate::hw::memory::read_register(
        clock.registers,
        0,
    )))
    .filter(|seconds| *seconds != 0)
}
