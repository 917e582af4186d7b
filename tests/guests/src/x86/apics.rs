//! The APIC IDs of the CPUs, as the MADT lists them (ACPI 6.5, chapter 5): n for CPU n here, 2n in Xen.
// UNSAFETY: tables below 4 GiB, which are mapped; nobody writes them.
#![expect(unsafe_code, reason = "tables that the boot protocol leads to")]

use core::sync::atomic::{AtomicU32, Ordering};

use super::boot;
use crate::cpus::MOST;

/// By the CPU's number; the entry's code looks for its own. Without a table each is its number.
#[unsafe(no_mangle)]
static apic_ids: [AtomicU32; MOST] = {
    let mut ids = [const { AtomicU32::new(0) }; MOST];
    let mut cpu = 0;
    while cpu < MOST {
        ids[cpu] = AtomicU32::new(cpu as u32);
        cpu += 1;
    }
    ids
};

/// Length of the header that each table has.
const HEADER: u64 = 36;
/// Of a MADT, its own fields as well.
const MADT_HEADER: u64 = 44;
const XSDT_ADDRESS: u64 = 24;
const LOCAL_APIC: u8 = 0;
const ENABLED: u32 = 1;

/// Reads the table.
pub(crate) fn init() {
    let Some(madt) = madt() else {
        return;
    };
    let end = madt + u64::from(read::<u32>(madt + 4));
    let mut ids = apic_ids.iter();
    let mut entry = madt + MADT_HEADER;
    while entry < end {
        let [kind, length, _, id] = read::<u32>(entry).to_le_bytes();
        if kind == LOCAL_APIC
            && read::<u32>(entry + 4) & ENABLED != 0
            && let Some(place) = ids.next()
        {
            place.store(id.into(), Ordering::Relaxed);
        }
        entry += u64::from(length.max(2));
    }
}

/// The APIC ID of a CPU.
#[inline]
pub(crate) fn id(cpu: u32) -> u32 {
    let known = apic_ids.get(cpu as usize);
    known.map_or(cpu, |id| id.load(Ordering::Relaxed))
}

fn madt() -> Option<u64> {
    let rsdp = boot::rsdp()?;
    let xsdt: u64 = read(rsdp + XSDT_ADDRESS);
    let end = xsdt + u64::from(read::<u32>(xsdt + 4));
    let mut tables = (xsdt + HEADER..end).step_by(8).map(read::<u64>);
    tables.find(|table| read::<[u8; 4]>(*table) == *b"APIC")
}

fn read<T: Copy>(address: u64) -> T {
    // SAFETY: part of a table, whose types take any bits.
    unsafe { (address as *const T).read_unaligned() }
}
