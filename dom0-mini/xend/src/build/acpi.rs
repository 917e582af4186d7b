//! The ACPI tables of an x86 domain: RSDP, XSDT, FADT, DSDT, MADT (ACPI 6.5, chapter 5).
//!
//! The machine is hardware-reduced: no PIT, no clock chip, no VGA, no 8042. Its CPUs are those of the MADT, vCPU n with
//! UID n and APIC ID n; there is no I/O APIC. It is switched off and restarted through ports; the DSDT says no more than how
//! it is switched off.

use acpi_tables::aml::{Name, Package, ZERO};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use alloc::vec;
use alloc::vec::Vec;
use hv_abi::layout::x86::{
    ACPI_BASE, ACPI_SIZE, APIC_BASE, RESET_PORT, RESET_VALUE, SLEEP_CONTROL_PORT,
    SLEEP_STATUS_PORT, SLEEP_TYPE_OFF,
};

const OEM: [u8; 6] = *b"ALCOVE";
const TABLE: [u8; 8] = *b"ALCOVEVM";
const REVISION: u32 = 1;
/// Tables start at a multiple of this.
const ALIGN: usize = 16;
/// IAPC_BOOT_ARCH: no VGA, no PCIe active-state control, no CMOS clock.
const BOOT_ARCH: u16 = 1 << 2 | 1 << 4 | 1 << 5;

/// The tables, from [`ACPI_BASE`] on; none if they are more than there is room for, which 16 vCPUs do not reach.
#[must_use]
pub(crate) fn build(vcpus: u32) -> Option<Vec<u8>> {
    // The RSDP comes first; it is known last.
    let mut tables = Tables(Vec::new());
    tables.0.resize(Rsdp::len(), 0);
    let dsdt = tables.add(&Bytes(dsdt()));
    let fadt = tables.add(&fadt(dsdt));
    let madt = tables.add(&madt(vcpus));
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = tables.add(&xsdt);
    let mut pointer = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut pointer);
    for (to, from) in tables.0.iter_mut().zip(pointer) {
        *to = from;
    }
    (tables.0.len() as u64 <= ACPI_SIZE).then_some(tables.0)
}

/// Tables after each other, from [`ACPI_BASE`] on.
struct Tables(Vec<u8>);

impl Tables {
    /// Appends a table; returns where it is.
    fn add(&mut self, table: &dyn Aml) -> u64 {
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        let at = ACPI_BASE.saturating_add(self.0.len() as u64);
        table.to_aml_bytes(&mut self.0);
        at
    }
}

/// A table that is bytes already.
struct Bytes(Sdt);

impl Aml for Bytes {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.0.as_slice());
    }
}

fn dsdt() -> Sdt {
    const HEADER: u32 = 36;
    let mut table = Sdt::new(*b"DSDT", HEADER, 6, OEM, TABLE, REVISION);
    let mut code = Vec::new();
    let off = Package::new(vec![&SLEEP_TYPE_OFF, &ZERO]);
    Name::new("_S5_".into(), &off).to_aml_bytes(&mut code);
    table.append_slice(&code);
    table
}

/// A port of eight bits.
fn port(number: u16) -> GAS {
    const BITS: u8 = 8;
    GAS::new(
        AddressSpace::SystemIo,
        BITS,
        0,
        AccessSize::ByteAccess,
        u64::from(number),
    )
}

fn fadt(dsdt: u64) -> acpi_tables::fadt::FADT {
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    fadt.sleep_control_reg = port(SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = port(SLEEP_STATUS_PORT);
    fadt.reset_reg = port(RESET_PORT);
    fadt.reset_value = RESET_VALUE;
    fadt.iapc_boot_arch = BOOT_ARCH.into();
    fadt.finalize()
}

fn madt(vcpus: u32) -> MADT {
    let apic = LocalInterruptController::Address(u32::try_from(APIC_BASE).unwrap_or(0));
    let mut madt = MADT::new(OEM, TABLE, REVISION, apic);
    for vcpu in 0..u8::try_from(vcpus).unwrap_or(u8::MAX) {
        madt.add_structure(ProcessorLocalApic::new(vcpu, vcpu, EnabledStatus::Enabled));
    }
    madt
}

#[cfg(test)]
mod tests {
    use super::{ACPI_BASE, build};
    use std::format;
    use std::process::Command;
    use std::vec::Vec;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn word(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    /// The table at a guest-physical address.
    fn table(all: &[u8], at: usize) -> &[u8] {
        let start = at - ACPI_BASE as usize;
        &all[start..start + word(all, start + 4)]
    }

    fn tables(all: &[u8]) -> Vec<&[u8]> {
        let xsdt = table(all, word(all, 24));
        let mut found: Vec<&[u8]> = xsdt[36..]
            .chunks(8)
            .map(|entry| table(all, word(entry, 0)))
            .collect();
        let dsdt = table(all, word(found[0], 140));
        found.extend([xsdt, dsdt]);
        found
    }

    #[test]
    fn every_table_is_found_and_sound() {
        let all = build(3).unwrap();
        assert_eq!(&all[..8], b"RSD PTR ");
        assert_eq!((sum(&all[..20]), sum(&all[..36])), (0, 0));
        let found = tables(&all);
        let names: Vec<&[u8]> = found.iter().map(|table| &table[..4]).collect();
        assert_eq!(names, [&b"FACP"[..], b"APIC", b"XSDT", b"DSDT"]);
        assert!(found.iter().all(|table| sum(table) == 0));
        let madt = found[1];
        assert_eq!(word(madt, 36), 0xFEE0_0000);
        assert_eq!(madt.len(), 44 + 3 * 8);
        assert_eq!(&madt[44 + 16..], [0, 8, 2, 2, 1, 0, 0, 0]);
        assert_eq!(word(found[0], 112) & 1 << 20, 1 << 20, "hardware-reduced");
        assert!(build(16).is_some());
    }

    #[test]
    fn iasl_understands_them() {
        let folder = std::env::temp_dir().join(format!("alcove-acpi-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let all = build(2).unwrap();
        for table in tables(&all) {
            let name = std::str::from_utf8(&table[..4]).unwrap();
            let file = folder.join(name);
            std::fs::write(&file, table).unwrap();
            let Ok(run) = Command::new("iasl").arg("-d").arg(&file).output() else {
                std::eprintln!("iasl is not installed: the tables are not checked");
                break;
            };
            let said = std::string::String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(run.status.success(), "{name}: {said}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
