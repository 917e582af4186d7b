//! PCI configuration space: memory (ECAM; PCI Express Base 7.2.2) or ports 0xCF8 and 0xCFC (PCI 3.0, 3.2.2.3.2).

use alloc::vec::Vec;
use hv_abi::start::{Device, DeviceKind, Range};
use virtio_drivers::transport::pci::bus::{
    BarInfo, Cam, ConfigurationAccess, DeviceFunction, DeviceFunctionInfo, HeaderType, PciRoot,
};
use x86_64::instructions::port::Port;

/// Bus numbers of a bridge; the second byte is that of the bus behind it (PCI-to-PCI Bridge Architecture, 3.2.5).
const BUS_NUMBERS: u8 = 0x18;

/// A way to configuration space.
#[derive(Clone, Copy, Debug)]
pub(super) enum Configuration {
    /// As memory, from bus 0 on.
    Memory(Range),
    /// Through two ports, the first of which is this.
    Ports(u16),
}

impl Configuration {
    /// The best way that the start page offers.
    pub(super) fn of(devices: &[Device]) -> Option<Self> {
        let find = |kind| devices.iter().find(|device| device.kind == kind);
        let memory = find(DeviceKind::PCI_ECAM).map(|device| Self::Memory(device.registers));
        memory.or_else(|| {
            let ports = find(DeviceKind::PCI_PORTS)?;
            Some(Self::Ports(u16::try_from(ports.registers.base).ok()?))
        })
    }

    /// All functions on all buses.
    pub(super) fn functions(self) -> Vec<(DeviceFunction, DeviceFunctionInfo)> {
        let root = PciRoot::new(self);
        let mut buses = Vec::from([0]);
        let mut found = Vec::new();
        let mut next = 0;
        while let Some(bus) = buses.get(next).copied() {
            for (function, info) in root.enumerate_bus(bus) {
                let behind = (self.read_word(function, BUS_NUMBERS) >> 8) as u8;
                if info.header_type == HeaderType::PciPciBridge && !buses.contains(&behind) {
                    buses.push(behind);
                }
                found.push((function, info));
            }
            next += 1;
        }
        found
    }

    /// The register in memory, if this is the way and it is there.
    fn register(range: Range, function: DeviceFunction, offset: u8) -> Option<*mut u32> {
        let offset = u64::from(Cam::Ecam.cam_offset(function, offset));
        (offset + 4 <= range.size).then_some((range.base + offset) as *mut u32)
    }
}

/// The address that port 0xCF8 takes.
fn port_address(function: DeviceFunction, offset: u8) -> u32 {
    let bus = u32::from(function.bus) << 16;
    let device = u32::from(function.device) << 11;
    let number = u32::from(function.function) << 8;
    1 << 31 | bus | device | number | u32::from(offset)
}

/// Selects a register and returns the port to it.
fn select(base: u16, function: DeviceFunction, offset: u8) -> Port<u32> {
    let mut address = Port::new(base);
    // SAFETY: the start page gives us these ports, and only we use them; selecting changes nothing else.
    unsafe { address.write(port_address(function, offset)) };
    Port::new(base + 4)
}

impl ConfigurationAccess for Configuration {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        match *self {
            Self::Memory(range) => {
                let Some(register) = Self::register(range, function, offset) else {
                    return u32::MAX;
                };
                // SAFETY: the register lies in the configuration space that the start page gives us, mapped as device
                // memory.
                unsafe { register.read_volatile() }
            }
            Self::Ports(base) => {
                let mut data = select(base, function, offset);
                // SAFETY: as for the selection.
                unsafe { data.read() }
            }
        }
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, word: u32) {
        match *self {
            Self::Memory(range) => {
                if let Some(register) = Self::register(range, function, offset) {
                    // SAFETY: as in `read_word`; the caller owns the function.
                    unsafe { register.write_volatile(word) };
                }
            }
            Self::Ports(base) => {
                let mut data = select(base, function, offset);
                // SAFETY: as for the selection; the caller owns the function.
                unsafe { data.write(word) };
            }
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// What the base address registers of a function place in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bars([Range; 6]);

impl Bars {
    /// Reads them. `None`: one places something where Domain-0 has no access, or is malformed.
    pub(super) fn of(
        root: &mut PciRoot<Configuration>,
        function: DeviceFunction,
        windows: &[Device],
    ) -> Option<Self> {
        let mut bars = Self([Range::default(); 6]);
        for (slot, bar) in bars.0.iter_mut().zip(root.bars(function).ok()?) {
            if let Some(BarInfo::Memory { address, size, .. }) = bar {
                *slot = Range {
                    base: address,
                    size,
                };
                windows.iter().find(|window| holds(window, *slot))?;
            }
        }
        Some(bars)
    }

    /// `size` bytes at an offset from where a register places its memory, if they are there.
    pub(super) fn part(&self, bar: u8, offset: u32, size: u64) -> Option<Range> {
        let whole = self.0.get(usize::from(bar))?;
        let offset = u64::from(offset);
        (offset + size <= whole.size).then_some(Range {
            base: whole.base + offset,
            size,
        })
    }
}

fn holds(window: &Device, range: Range) -> bool {
    let window_end = window.registers.base.saturating_add(window.registers.size);
    window.kind == DeviceKind::PCI_MEMORY
        && range.base >= window.registers.base
        && range.base.saturating_add(range.size) <= window_end
}
