//! The devices that the start page gives us.

use crate::disk::BlockDevice;
use crate::hw::interrupts::Interrupts;
use crate::hw::transports::Transports;
use crate::hw::{disk, link, real_time_clock};
use crate::lines::Line;
use alloc::boxed::Box;
use hv_abi::start::{Device, Dom0Start, Range};
use mgmt_proto::link::LinkParameters;

/// A byte pipe that never waits.
pub(crate) trait Pipe {
    /// Tells the device that its interrupt was seen.
    fn acknowledge(&mut self);

    /// Hands over bytes that came. `false`: there are none.
    fn receive(&mut self, deliver: &mut dyn FnMut(&[u8])) -> bool;

    /// Sends what `fill` writes into a buffer, up to the length it returns. `false`: the pipe is full, or there was
    /// nothing.
    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> bool;
}

/// The device that carries the link.
pub(crate) struct LinkDevice {
    /// Its bytes.
    pub(crate) pipe: Box<dyn Pipe>,
    /// Its interrupt.
    pub(crate) line: Line,
    /// How the link is to be used over it.
    pub(crate) parameters: LinkParameters,
    /// What it is, for a report.
    pub(crate) name: &'static str,
}

/// A block device, and how it interrupts.
pub(crate) struct DiskDevice {
    /// The device.
    pub(crate) device: Box<dyn BlockDevice>,
    /// Its interrupt.
    pub(crate) line: Line,
}

/// What Domain-0 uses.
pub(crate) struct Found {
    /// The device that carries the link.
    pub(crate) link: Option<LinkDevice>,
    /// The disk for the store.
    pub(crate) disk: Option<DiskDevice>,
}

/// The devices in use on the start page.
fn devices(start: &'static Dom0Start) -> &'static [Device] {
    start
        .devices
        .get(..start.device_count as usize)
        .unwrap_or(&start.devices)
}

/// Starts the devices that Domain-0 uses. Call once.
pub(crate) fn find(start: &'static Dom0Start, interrupts: &mut Interrupts) -> Found {
    let devices = devices(start);
    let mut transports = Transports::probe(devices);
    Found {
        link: link::find(devices, &mut transports, interrupts),
        disk: disk::find(&mut transports, interrupts),
    }
}

/// Registers that have to be mapped as device memory.
pub(crate) fn register_ranges(start: &'static Dom0Start) -> impl Iterator<Item = Range> {
    let in_memory = |device: &&Device| !device.kind.is_in_port_space();
    let controller = start.interrupt_controller.into_iter();
    controller.chain(
        devices(start)
            .iter()
            .filter(in_memory)
            .map(|device| device.registers),
    )
}

/// Seconds since 1970, as the real-time clock says.
pub(crate) fn wall_clock_s(start: &'static Dom0Start) -> Option<u64> {
    real_time_clock::wall_clock_s(devices(start))
}
