//! The link's device: a virtio console on PCI, or else a 16550 UART.
//!
//! virtio-drivers leaves MSI-X alone, so the message is programmed here, and each queue is given its table entry before
//! the queue is enabled (virtio 1.2, 4.1.5.1.2 and 4.1.5.1.3). Both queues share one message: the link looks at both
//! anyway.

use super::interrupts::Interrupts;
use super::msix::Msix;
use super::pci::{Bars, Configuration};
use super::serial::SerialPort;
use crate::devices::LinkDevice;
use crate::hw::virtio::{Console, IdentityMapped};
use crate::lines::Line;
use alloc::boxed::Box;
use hv_abi::start::{Device, DeviceKind, Range};
use mgmt_proto::link::LinkParameters;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{
    Command, ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::pci::{PciTransport, VIRTIO_PCI_CAP_COMMON_CFG, virtio_device_type};

/// Said when there is none.
pub(crate) const MISSING: &str = "no virtio console on PCI and no 16550 UART found";

/// The entry of the MSI-X table for all queues.
const VECTOR: u16 = 0;
/// Of `virtio_pci_common_cfg` (virtio 1.2, 4.1.4.3): `queue_select`.
const QUEUE_SELECT: usize = 0x16;
/// Of `virtio_pci_common_cfg`: `queue_msix_vector`.
const QUEUE_MSIX_VECTOR: usize = 0x1A;
/// Of `virtio_pci_cap` (virtio 1.2, 4.1.4): `bar` and `offset`.
const CAPABILITY_BAR: u8 = 4;
const CAPABILITY_OFFSET: u8 = 8;
/// Bytes of `virtio_pci_common_cfg` as far as it is used.
const COMMON_CONFIGURATION: u64 = 0x38;

/// The best device, ready, with its interrupt bound.
pub(crate) fn find(devices: &[Device], interrupts: &mut Interrupts) -> Option<LinkDevice> {
    virtio_console(devices, interrupts).or_else(|| serial_port(devices, interrupts))
}

fn virtio_console(devices: &[Device], interrupts: &mut Interrupts) -> Option<LinkDevice> {
    let configuration = Configuration::of(devices)?;
    let functions = configuration.functions().into_iter();
    functions
        .filter(|(_, info)| virtio_device_type(info) == Some(DeviceType::Console))
        .find_map(|(function, _)| {
            start_console(configuration, function, devices, interrupts)
                .map_err(|why| {
                    log::warn!("the virtio console at PCI {function} is not used: {why}")
                })
                .ok()
        })
}

fn start_console(
    mut configuration: Configuration,
    function: DeviceFunction,
    devices: &[Device],
    interrupts: &mut Interrupts,
) -> Result<LinkDevice, &'static str> {
    let mut root = PciRoot::new(configuration);
    let bars = Bars::of(&mut root, function, devices)
        .ok_or("its registers are where Domain-0 has no access")?;
    let msix = Msix::find(&root, configuration, function, &bars)
        .ok_or("it has no MSI-X, and INTx interrupts are not supported")?;
    let common = common_configuration(&root, configuration, function, &bars)
        .ok_or("it has no virtio 1 interface")?;
    let message = interrupts
        .bind_message()
        .map_err(|_| "the hypervisor has no message interrupt for it")?;
    let access = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE;
    root.set_command(function, access);
    msix.enable(&mut configuration, message);
    let transport = PciTransport::new::<IdentityMapped, _>(&mut root, function)
        .map_err(|_| "its virtio interface is malformed")?;
    let console = Console::new(transport, |_, queue| set_vector(common, queue))
        .map_err(|_| "it does not start")?;
    Ok(LinkDevice {
        pipe: Box::new(console),
        line: Line::Event(message.port),
        parameters: LinkParameters::FAST,
        name: "a virtio console on PCI",
    })
}

/// Where the function's `virtio_pci_common_cfg` is (virtio 1.2, 4.1.4).
fn common_configuration(
    root: &PciRoot<Configuration>,
    configuration: Configuration,
    function: DeviceFunction,
    bars: &Bars,
) -> Option<Range> {
    let mut capabilities = root.capabilities(function);
    let capability = capabilities.find(|capability| {
        let kind = (capability.private_header >> 8) as u8;
        capability.id == PCI_CAP_ID_VNDR && kind == VIRTIO_PCI_CAP_COMMON_CFG
    })?;
    let word = |offset| configuration.read_word(function, capability.offset + offset);
    let bar = word(CAPABILITY_BAR) as u8;
    bars.part(bar, word(CAPABILITY_OFFSET), COMMON_CONFIGURATION)
}

/// Gives a queue its entry of the MSI-X table.
fn set_vector(common: Range, queue: u16) -> virtio_drivers::Result<()> {
    let register = |offset: usize| (common.base as usize + offset) as *mut u16;
    let (select, vector) = (register(QUEUE_SELECT), register(QUEUE_MSIX_VECTOR));
    // SAFETY: the register is that of a device of ours, mapped as device memory; the transport, which uses it too,
    // selects a queue anew for each access.
    unsafe { select.write_volatile(queue) };
    // SAFETY: as above; nobody else writes this register.
    unsafe { vector.write_volatile(VECTOR) };
    // SAFETY: as above.
    let taken = unsafe { vector.read_volatile() };
    (taken == VECTOR)
        .then_some(())
        .ok_or(virtio_drivers::Error::NotReady)
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
