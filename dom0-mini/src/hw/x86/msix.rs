//! A function's MSI-X capability and table (PCI 3.0, 6.8.2): one message, through entry 0.

use super::pci::{Bars, Configuration};
use hv_abi::control::host::MessageInterrupt;
use hv_abi::start::Range;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PciRoot};

/// The capability's number.
const CAPABILITY: u8 = 0x11;
/// Message control, in the upper half of the capability's first word: MSI-X is in use.
const ENABLE: u32 = 1 << 31;
/// Message control: every entry counts as masked.
const FUNCTION_MASK: u32 = 1 << 30;
/// The word that says where the table is.
const TABLE: u8 = 4;
/// Of that word: which base address register.
const TABLE_BAR: u32 = 0b111;
/// Bytes of an entry.
const ENTRY: u64 = 16;

/// A function that can signal by message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Msix {
    function: DeviceFunction,
    capability: u8,
    entry: Range,
}

impl Msix {
    /// Finds the capability.
    pub(super) fn find(
        root: &PciRoot<Configuration>,
        configuration: Configuration,
        function: DeviceFunction,
        bars: &Bars,
    ) -> Option<Self> {
        let mut capabilities = root.capabilities(function);
        let capability = capabilities.find(|capability| capability.id == CAPABILITY)?;
        let table = configuration.read_word(function, capability.offset + TABLE);
        Some(Self {
            function,
            capability: capability.offset,
            entry: bars.part((table & TABLE_BAR) as u8, table & !TABLE_BAR, ENTRY)?,
        })
    }

    /// Makes entry 0 write `message`, and lets it.
    pub(super) fn enable(&self, configuration: &mut Configuration, message: MessageInterrupt) {
        let control = configuration.read_word(self.function, self.capability);
        let masked = control | ENABLE | FUNCTION_MASK;
        configuration.write_word(self.function, self.capability, masked);
        let address = message.address;
        // The last word masks this entry.
        let words = [address as u32, (address >> 32) as u32, message.data, 0];
        for (index, word) in words.into_iter().enumerate() {
            let register = self.entry.base as *mut u32;
            // SAFETY: the entry is four words long.
            let register = unsafe { register.add(index) };
            // SAFETY: the table lies in memory of the function (`Bars::part`), mapped as device memory; the function is
            // ours, and its messages are held back.
            unsafe { register.write_volatile(word) };
        }
        configuration.write_word(self.function, self.capability, masked & !FUNCTION_MASK);
    }
}
