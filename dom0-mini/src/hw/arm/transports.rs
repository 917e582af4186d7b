//! virtio-mmio transports (virtio 1.2, 4.2) with a device behind them.

use super::interrupts::{Interrupts, Trigger};
use crate::lines::Line;
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;
use hv_abi::start::{Device, DeviceKind, Range};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

/// All of the machine that nobody has taken, lowest address first. Dropping one resets its device, which nobody has
/// started.
pub(crate) struct Transports(Vec<Slot>);

/// A transport that may be started.
pub(in crate::hw) struct Slot {
    transport: MmioTransport<'static>,
    place: Device,
}

/// A transport in use.
pub(in crate::hw) struct Started {
    /// The device's registers.
    pub(in crate::hw) transport: MmioTransport<'static>,
    /// How its queues interrupt.
    pub(in crate::hw) vectors: Vectors,
    /// Its interrupt.
    pub(in crate::hw) line: Line,
}

/// There is one interrupt for all queues.
#[derive(Clone, Copy)]
pub(in crate::hw) struct Vectors;

impl Transports {
    /// Looks at each transport that the start page names. Call once.
    pub(crate) fn probe(devices: &[Device]) -> Self {
        let places = devices
            .iter()
            .filter(|device| device.kind == DeviceKind::VIRTIO_MMIO);
        let mut slots: Vec<_> = places.filter_map(Slot::probe).collect();
        slots.sort_by_key(|slot| slot.place.registers.base);
        Self(slots)
    }

    /// Takes those with this kind of device.
    pub(in crate::hw) fn take(&mut self, kind: DeviceType) -> impl Iterator<Item = Slot> {
        self.0
            .extract_if(.., move |slot| slot.transport.device_type() == kind)
    }
}

impl Slot {
    fn probe(place: &Device) -> Option<Self> {
        let Range { base, size } = place.registers;
        let header = NonNull::new(base as *mut VirtIOHeader)?;
        // SAFETY: the start page names these registers as a virtio-mmio transport of ours, mapped as device memory, and
        // each is probed once.
        let transport = unsafe { MmioTransport::new(header, size as usize) }.ok()?;
        Some(Self {
            transport,
            place: *place,
        })
    }

    /// Lets the device interrupt.
    ///
    /// # Errors
    /// None here; on PCI there are.
    pub(in crate::hw) fn start(self, interrupts: &mut Interrupts) -> Result<Started, &'static str> {
        Ok(Started {
            transport: self.transport,
            vectors: Vectors,
            line: interrupts.enable(self.place.interrupt, Trigger::Edge),
        })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.place.registers.base)
    }
}

impl Vectors {
    /// Gives a queue its interrupt.
    ///
    /// # Errors
    /// None here; on PCI there are.
    pub(in crate::hw) fn assign(self, _: u16) -> virtio_drivers::Result<()> {
        Ok(())
    }
}
