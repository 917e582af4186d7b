//! The machine's ACPI tables (ACPI 6.5, chapter 5), as far as we need them.
//!
//! The `acpi` crate wants a heap, or maps and keeps tables through a handler; here every table is a byte slice that is there
//! or not, and every length in it is checked. Damaged tables are as good as none.

use crate::bytes::{u16_at, u32_at, u64_at};

/// Where memory is read: that many bytes at a machine address, if they can be.
pub(crate) trait Memory {
    fn bytes(&self, address: u64, length: u64) -> Option<&'static [u8]>;
}

/// CPUs we look for at most.
const CPUS: usize = 64;
/// Bytes of a table at most.
const TABLE_MAX: u64 = 1 << 20;
const HEADER: usize = 36;

/// What the tables say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    /// APIC IDs of CPUs that can be started.
    pub(crate) cpus: heapless::Vec<u32, CPUS>,
    /// Address and first input of the first I/O APIC.
    pub(crate) io_apic: Option<(u64, u32)>,
    /// ISA lines that are wired otherwise: line, input, flags.
    pub(crate) overrides: heapless::Vec<(u8, u32, u16), 16>,
    /// Configuration space of PCI segment 0: address, first and last bus.
    pub(crate) pci: Option<(u64, u8, u8)>,
    /// The HPET.
    pub(crate) hpet: Option<u64>,
    /// Port of the power management timer.
    pub(crate) pm_timer: Option<u16>,
    /// Port of PM1a_CNT.
    pub(crate) pm_control: Option<u16>,
    /// SLP_TYP of S5.
    pub(crate) off: Option<u8>,
    /// Port and value of the reset register.
    pub(crate) reset: Option<(u16, u8)>,
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// Looks for the RSDP where a BIOS leaves it: at a multiple of 16 in the last 128 KiB below 1 MiB.
pub(crate) fn find_rsdp(memory: &impl Memory) -> Option<u64> {
    const AREA: u64 = 0xE_0000;
    let area = memory.bytes(AREA, 0x2_0000)?;
    let index = area
        .chunks_exact(16)
        .position(|chunk| chunk.starts_with(b"RSD PTR "))?;
    Some(AREA + index as u64 * 16)
}

/// Reads all tables that the RSDP leads to.
pub(crate) fn read(memory: &impl Memory, rsdp: u64) -> Option<Tables> {
    let pointer = memory.bytes(rsdp, 20)?;
    if !pointer.starts_with(b"RSD PTR ") || !sums_to_zero(pointer) {
        return None;
    }
    let revision = *pointer.get(15)?;
    let (root, width) = match memory.bytes(rsdp, 36) {
        Some(long) if revision >= 2 && u64_at(long, 24)? != 0 => (u64_at(long, 24)?, 8),
        _ => (u64::from(u32_at(pointer, 16)?), 4),
    };
    let root = table(memory, root)?;
    let mut tables = Tables::default();
    for entry in root.get(HEADER..)?.chunks_exact(width) {
        let address = if width == 8 {
            u64_at(entry, 0)
        } else {
            u32_at(entry, 0).map(u64::from)
        };
        if let Some(found) = address.and_then(|address| table(memory, address)) {
            tables.add(memory, found);
        }
    }
    Some(tables)
}

/// A table with its header, whole and sound.
fn table(memory: &impl Memory, address: u64) -> Option<&'static [u8]> {
    let header = memory.bytes(address, HEADER as u64)?;
    let length = u64::from(u32_at(header, 4)?);
    if !(HEADER as u64..=TABLE_MAX).contains(&length) {
        return None;
    }
    memory
        .bytes(address, length)
        .filter(|table| sums_to_zero(table))
}

impl Tables {
    fn add(&mut self, memory: &impl Memory, table: &'static [u8]) {
        // What cannot be read is not there.
        let _read = match table.get(..4) {
            Some(b"APIC") => self.add_apics(table),
            Some(b"MCFG") => self.add_pci(table),
            Some(b"HPET") => self.add_hpet(table),
            Some(b"FACP") => self.add_fixed(memory, table),
            _ => None,
        };
    }

    /// MADT: a list of typed entries.
    fn add_apics(&mut self, table: &[u8]) -> Option<()> {
        let mut rest = table.get(HEADER + 8..)?;
        while let [kind, length, ..] = *rest {
            let entry = rest.get(..usize::from(length))?;
            if entry.is_empty() {
                return None;
            }
            let _unknown = self.add_apic_entry(kind, entry);
            rest = rest.get(entry.len()..)?;
        }
        Some(())
    }

    fn add_apic_entry(&mut self, kind: u8, entry: &[u8]) -> Option<()> {
        const ENABLED: u32 = 1;
        match kind {
            // Local APIC.
            0 if u32_at(entry, 4)? & ENABLED != 0 => {
                let _full = self.cpus.push(u32::from(*entry.get(3)?));
            }
            // Local x2APIC.
            9 if u32_at(entry, 8)? & ENABLED != 0 => {
                let _full = self.cpus.push(u32_at(entry, 4)?);
            }
            // I/O APIC.
            1 if self.io_apic.is_none() => {
                self.io_apic = Some((u64::from(u32_at(entry, 4)?), u32_at(entry, 8)?));
            }
            // Interrupt source override.
            2 => {
                let line = (*entry.get(3)?, u32_at(entry, 4)?, u16_at(entry, 8)?);
                let _full = self.overrides.push(line);
            }
            _ => {}
        }
        Some(())
    }

    fn add_pci(&mut self, table: &[u8]) -> Option<()> {
        for entry in table.get(HEADER + 8..)?.chunks_exact(16) {
            if u16_at(entry, 8)? == 0 {
                self.pci = Some((u64_at(entry, 0)?, *entry.get(10)?, *entry.get(11)?));
            }
        }
        Some(())
    }

    fn add_hpet(&mut self, table: &[u8]) -> Option<()> {
        const MEMORY: u8 = 0;
        let is_memory = *table.get(40)? == MEMORY;
        self.hpet = u64_at(table, 44).filter(|base| is_memory && *base != 0);
        Some(())
    }

    fn add_fixed(&mut self, memory: &impl Memory, table: &[u8]) -> Option<()> {
        const RESET_REGISTER: u32 = 1 << 10;
        const PORTS: u8 = 1;
        let port = |at| {
            let port = u32_at(table, at).and_then(|port| u16::try_from(port).ok());
            port.filter(|port| *port != 0)
        };
        self.pm_control = port(64);
        self.pm_timer = port(76);
        let dsdt = u32_at(table, 40)?;
        self.off = self::table(memory, u64::from(dsdt)).and_then(sleep_type);
        if u32_at(table, 112)? & RESET_REGISTER != 0 && *table.get(116)? == PORTS {
            let port = u16::try_from(u64_at(table, 120)?).ok()?;
            self.reset = Some((port, *table.get(128)?));
        }
        Some(())
    }
}

/// SLP_TYPa of the object `_S5_`: a package whose first element is a constant (ACPI 6.5, 20.2).
fn sleep_type(dsdt: &[u8]) -> Option<u8> {
    const PACKAGE: u8 = 0x12;
    const BYTE: u8 = 0x0A;
    let at = dsdt
        .windows(5)
        .position(|window| matches!(window, [name @ .., PACKAGE] if name == b"_S5_"))?;
    let after = dsdt.get(at + 5..)?;
    // The package's length takes one to four bytes, as its first says; then comes the number of elements.
    let first = usize::from(*after.first()? >> 6) + 2;
    match after.get(first..)? {
        [BYTE, value, ..] => Some(*value),
        [value @ (0 | 1), ..] => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
