//! The link's device: the first virtio console behind a virtio-mmio transport.

use super::interrupts::{Interrupts, Trigger};
use crate::devices::{LinkDevice, Pipe};
use crate::hw::virtio::Console;
use alloc::boxed::Box;
use core::ptr::NonNull;
use hv_abi::start::{Device, DeviceKind, Range};
use mgmt_proto::link::LinkParameters;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

/// Said when there is none.
pub(crate) const MISSING: &str = "no virtio console found";

/// The first virtio console, ready, with its interrupt enabled.
pub(crate) fn find(devices: &[Device], interrupts: &mut Interrupts) -> Option<LinkDevice> {
    devices
        .iter()
        .filter(|device| device.kind == DeviceKind::VIRTIO_MMIO)
        .find_map(|device| {
            let pipe = console(device.registers)?;
            Some(LinkDevice {
                pipe,
                line: interrupts.enable(device.interrupt, Trigger::Edge),
                parameters: LinkParameters::FAST,
                name: "a virtio console",
            })
        })
}

/// Looks at a virtio-mmio transport and takes it if it is a console.
fn console(registers: Range) -> Option<Box<dyn Pipe>> {
    let header = NonNull::new(registers.base as *mut VirtIOHeader)?;
    // SAFETY: the start page names these registers as a virtio-mmio transport of ours, mapped as device memory, and each
    // is probed once.
    let transport = unsafe { MmioTransport::new(header, registers.size as usize) }.ok()?;
    if transport.device_type() != DeviceType::Console {
        // Dropping a transport resets its device, which nobody has started yet.
        return None;
    }
    let console = Console::new(transport, |_, _| Ok(()))
        .map_err(|error| log::error!("virtio console: {error}"))
        .ok()?;
    Some(Box::new(console))
}
