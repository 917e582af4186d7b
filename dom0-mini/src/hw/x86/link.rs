//! The link's device: a virtio console on PCI, or else a 16550 UART.

use super::interrupts::Interrupts;
use super::serial::SerialPort;
use super::transports::Transports;
use crate::devices::LinkDevice;
use crate::hw::virtio::console;
use alloc::boxed::Box;
use hv_abi::start::{Device, DeviceKind};
use mgmt_proto::link::LinkParameters;

/// Said when there is none.
pub(crate) const MISSING: &str = "no virtio console on PCI and no 16550 UART found";

/// The best device, ready, with its interrupt bound.
pub(crate) fn find(
    devices: &[Device],
    transports: &mut Transports,
    interrupts: &mut Interrupts,
) -> Option<LinkDevice> {
    console::find(transports, interrupts, "a virtio console on PCI")
        .or_else(|| serial_port(devices, interrupts))
}

fn serial_port(devices: &[Device], interrupts: &mut Interrupts) -> Option<LinkDevice> {
    devices
        .iter()
        .filter(|device| device.kind == DeviceKind::UART_16550)
        .find_map(|device| {
            start_serial_port(device, interrupts)
                .map_err(|why| {
                    let port = device.registers.base;
                    log::warn!("the 16550 UART at port {port:#x} is not used: {why}");
                })
                .ok()
        })
}

fn start_serial_port(
    device: &Device,
    interrupts: &mut Interrupts,
) -> Result<LinkDevice, &'static str> {
    let port = SerialPort::open(device.registers).ok_or("none answers there")?;
    // An edge that comes before this is not missed: the link looks at the UART once before it waits.
    let line = interrupts
        .bind(device.interrupt)
        .map_err(|_| "the hypervisor does not pass its interrupt on")?;
    Ok(LinkDevice {
        pipe: Box::new(port),
        line,
        parameters: LinkParameters::SERIAL,
        name: "a 16550 UART",
    })
}
