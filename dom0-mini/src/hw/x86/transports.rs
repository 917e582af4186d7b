//! virtio devices on PCI (virtio 1.2, 4.1), with MSI-X.
//!
//! virtio-drivers leaves MSI-X alone, so the message is programmed here, and each queue is given its table entry before
//! the queue is enabled (virtio 1.2, 4.1.5.1.2 and 4.1.5.1.3). All queues of a device share one message.

use super::interrupts::Interrupts;
use super::msix::Msix;
use super::pci::{Bars, Configuration};
use crate::hw::virtio::IdentityMapped;
use crate::lines::Line;
use alloc::vec::Vec;
use core::fmt;
use hv_abi::start::{Device, Range};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{
    Command, ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::pci::{PciTransport, VIRTIO_PCI_CAP_COMMON_CFG, virtio_device_type};

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

/// All of the machine that nobody has taken, lowest function first.
pub(crate) struct Transports(Vec<Slot>);

/// A virtio function that may be started.
pub(in crate::hw) struct Slot {
    kind: DeviceType,
    function: DeviceFunction,
    configuration: Configuration,
    /// Where PCI devices may have their registers.
    windows: &'static [Device],
}

/// A function in use.
pub(in crate::hw) struct Started {
    /// The device's registers.
    pub(in crate::hw) transport: PciTransport,
    /// How its queues interrupt.
    pub(in crate::hw) vectors: Vectors,
    /// Its interrupt.
    pub(in crate::hw) line: Line,
}

/// The `virtio_pci_common_cfg`, where a queue's table entry is set.
#[derive(Clone, Copy)]
pub(in crate::hw) struct Vectors(Range);

impl Transports {
    /// Looks at each PCI function. Call once.
    pub(crate) fn probe(devices: &'static [Device]) -> Self {
        let Some(configuration) = Configuration::of(devices) else {
            return Self(Vec::new());
        };
        let slot = |(function, info)| {
            Some(Slot {
                kind: virtio_device_type(&info)?,
                function,
                configuration,
                windows: devices,
            })
        };
        let functions = configuration.functions().into_iter();
        Self(functions.filter_map(slot).collect())
    }

    /// Takes those of this kind.
    pub(in crate::hw) fn take(&mut self, kind: DeviceType) -> impl Iterator<Item = Slot> {
        self.0.extract_if(.., move |slot| slot.kind == kind)
    }
}

impl Slot {
    /// Binds the function's message and lets it interrupt.
    ///
    /// # Errors
    /// A sentence on why it cannot be used.
    pub(in crate::hw) fn start(self, interrupts: &mut Interrupts) -> Result<Started, &'static str> {
        let (function, mut configuration) = (self.function, self.configuration);
        let mut root = PciRoot::new(configuration);
        let bars = Bars::of(&mut root, function, self.windows)
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
        Ok(Started {
            transport,
            vectors: Vectors(common),
            line: Line::Event(message.port),
        })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PCI {}", self.function)
    }
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

impl Vectors {
    /// Gives a queue its entry of the MSI-X table.
    ///
    /// # Errors
    /// `NotReady`: the device has no resources for it.
    pub(in crate::hw) fn assign(self, queue: u16) -> virtio_drivers::Result<()> {
        let register = |offset: usize| (self.0.base as usize + offset) as *mut u16;
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
}
