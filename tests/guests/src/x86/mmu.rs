//! Paging: the first 4 GiB mapped one to one by pages of 2 MiB, as the entry's code left it (Intel SDM volume 3, 5.5).
// UNSAFETY: what decides how memory is seen.
#![expect(unsafe_code, reason = "page tables")]

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::cpus;
use super::interrupts::{self, FORGET};
use crate::cpus::{MOST, answer};
use crate::mmu::WINDOW;

const ENTRIES: usize = 512;
/// Of the tables: the first page directory.
const FIRST_DIRECTORY: usize = 2;
const MIB_2: u64 = 2 << 20;
/// Present, writable, 2 MiB.
const PAGE: u64 = 0x83;

#[repr(C, align(4096))]
struct Tables([[AtomicU64; ENTRIES]; 6]);

/// PML4, page-directory-pointer table, four page directories. Filled by the entry's code.
#[unsafe(no_mangle)]
static guest_tables: Tables = Tables([const { [const { AtomicU64::new(0) }; ENTRIES] }; 6]);

/// Where they are.
pub(crate) fn tables() -> u64 {
    guest_tables.0.as_ptr() as u64
}

/// CPUs that have forgotten translations since they were told to.
static FORGOTTEN: AtomicU32 = AtomicU32::new(0);

/// Makes the window show 2 MiB of RAM, and every CPU forget what it showed before: those that are on take an interrupt
/// for it.
pub fn point_window_at(target: u64) {
    set_window_entry(target | PAGE);
    forget_window();
    let this = cpus::this();
    for cpu in (0..MOST as u32).filter(|cpu| *cpu != this) {
        if cpus::affinity_info(cpu) == answer::DONE {
            let before = FORGOTTEN.load(Ordering::SeqCst);
            interrupts::command(cpu, FORGET.into());
            while FORGOTTEN.load(Ordering::SeqCst) == before {
                core::hint::spin_loop();
            }
        }
    }
}

/// Sets the window's page-directory entry to anything. Who goes there afterwards is prepared for it.
pub fn set_window_entry(entry: u64) {
    let slot = &guest_tables.0[FIRST_DIRECTORY][(WINDOW / MIB_2) as usize];
    slot.store(entry, Ordering::SeqCst);
}

/// Forgets, as another CPU asked.
pub(crate) fn forget() {
    forget_window();
    FORGOTTEN.fetch_add(1, Ordering::SeqCst);
}

/// Makes this CPU forget what the window showed before.
pub fn forget_window() {
    // SAFETY: only drops a translation; the window is in nobody's use meanwhile.
    unsafe { asm!("invlpg [{}]", in(reg) WINDOW, options(nostack)) };
}
