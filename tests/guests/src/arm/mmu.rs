//! Stage 1: everything identity-mapped by blocks, 39-bit addresses, 4 KiB granule (Arm ARM D8).
//!
//! The first GiB holds devices, but for the 32 MiB with grant frames and rings; what follows is RAM.
// UNSAFETY: system registers that decide how memory is seen.
#![expect(unsafe_code, reason = "system registers")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::layout::arm::{GRANT_BASE, MAGIC_BASE};

use crate::mmu::WINDOW;

const ENTRIES: usize = 512;
const BLOCK: u64 = 0b01;
const TABLE: u64 = 0b11;
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
const NORMAL: u64 = BLOCK | ACCESSED | INNER_SHAREABLE | 1 << 2;
const DEVICE: u64 = BLOCK | ACCESSED | 1 << 53 | 1 << 54;
const MIB_2: u64 = 2 << 20;

/// `MAIR_EL1`: attribute 0 Device-nGnRE, attribute 1 Normal write-back.
const MAIR: u64 = 0xFF04;
/// `TCR_EL1`: T0SZ 25, write-back walks, inner shareable, no TTBR1 walks, 40-bit physical addresses.
const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;
/// `SCTLR_EL1`: its RES1 bits, and M, C, I.
const SCTLR: u64 = 0x30D0_0800 | 1 | 1 << 2 | 1 << 12;

#[repr(C, align(4096))]
struct Table([AtomicU64; ENTRIES]);

impl Table {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ENTRIES])
    }

    fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    fn fill(&self, entry: impl Fn(u64) -> u64) {
        for (index, slot) in self.0.iter().enumerate() {
            slot.store(entry(index as u64), Ordering::Relaxed);
        }
    }
}

static GIBIBYTES: Table = Table::new();
static FIRST_GIBIBYTE: Table = Table::new();

/// Switches MMU and caches on.
pub(crate) fn enable() {
    FIRST_GIBIBYTE.fill(|index| {
        let address = index * MIB_2;
        let is_memory = (GRANT_BASE..MAGIC_BASE + MIB_2).contains(&address);
        address | if is_memory { NORMAL } else { DEVICE }
    });
    GIBIBYTES.fill(|index| match index {
        0 => FIRST_GIBIBYTE.address() | TABLE,
        _ => index << 30 | NORMAL,
    });
    switch_on();
}

/// Switches MMU and caches of this CPU on, with the tables that [`enable`] made.
pub(crate) fn switch_on() {
    // SAFETY: the tables map everything where it is and live for ever; nothing is cached or translated yet.
    unsafe {
        asm!(
            "msr mair_el1, {mair}",
            "msr tcr_el1, {tcr}",
            "msr ttbr0_el1, {table}",
            "dsb sy",
            "isb",
            "tlbi vmalle1",
            "dsb sy",
            "isb",
            "msr sctlr_el1, {sctlr}",
            "isb",
            mair = in(reg) MAIR,
            tcr = in(reg) TCR,
            table = in(reg) GIBIBYTES.address(),
            sctlr = in(reg) SCTLR,
            options(nostack),
        );
    }
}

/// Makes the window show 2 MiB of RAM, and every CPU forget what it showed before.
pub fn point_window_at(target: u64) {
    let slot = &FIRST_GIBIBYTE.0[(WINDOW / MIB_2) as usize];
    slot.store(0, Ordering::SeqCst);
    forget_window();
    slot.store(target | NORMAL, Ordering::SeqCst);
    forget_window();
}

fn forget_window() {
    // SAFETY: only drops translations; the window is in nobody's use meanwhile.
    unsafe {
        asm!(
            "dsb ishst",
            "tlbi vaae1is, {page}",
            "dsb ish",
            "isb",
            page = in(reg) WINDOW >> 12,
            options(nostack),
        );
    }
}
