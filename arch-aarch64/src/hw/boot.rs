//! From the first instruction to `main`: further CPUs, the boot loader's device tree.

use core::sync::atomic::{AtomicU64, Ordering};

use arch_common::hw::image;

use super::cpu;

#[cfg(target_os = "none")]
core::arch::global_asm!(
    include_str!("entry.S"),
    rust_entry = sym rust_entry,
    rust_further_entry = sym rust_further_entry,
);

/// The first bytes of a device tree: magic and total size.
const FDT_HEADER: usize = 8;
const FDT_MAGIC: u32 = 0xD00D_FEED;

/// The device tree at `address`, if one is there.
///
/// Called once, at boot, with what the boot loader left in `x0`; the memory there stays as it is (it is kept out of
/// the frame pool), and the boot map covers it.
#[must_use]
pub fn device_tree(address: u64) -> Option<&'static [u8]> {
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    let pointer = address as *const u8;
    // SAFETY: the boot protocol says that x0 is the address of a device tree in RAM, which the boot map covers.
    let header = unsafe { core::slice::from_raw_parts(pointer, FDT_HEADER) };
    let word = |at| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    if word(0)? != FDT_MAGIC {
        return None;
    }
    let size = usize::try_from(word(4)?).ok()?;
    if size > hv_common::fdt::SIZE_MAX {
        return None;
    }
    // SAFETY: as above; the header says how long it is, and two megabytes are within a mapped block or the next one.
    Some(unsafe { core::slice::from_raw_parts(pointer, size) })
}

/// Memory that a boot loader filled and that stays as it is: the boot bundle.
///
/// The caller has found `[base, base + size)` in the device tree, it lies within RAM, is mapped, and is kept out of the
/// frame pool.
pub(crate) fn loaded_bytes(base: u64, size: u64) -> &'static [u8] {
    // SAFETY: see above: mapped RAM that nobody writes.
    unsafe { core::slice::from_raw_parts(base as *const u8, size as usize) }
}

/// What a further CPU is told when it starts.
#[repr(C, align(64))]
struct Start {
    stack: AtomicU64,
    number: AtomicU64,
    root: AtomicU64,
}

static START: Start = Start {
    stack: AtomicU64::new(0),
    number: AtomicU64::new(0),
    root: AtomicU64::new(0),
};

/// Starts CPU `number`, which has this affinity, in this CPU's address space, and waits until it runs Rust. Returns
/// whether it does; one that does not in time must not be asked for again, nor any other.
pub(crate) fn start_cpu(number: usize, mpidr: u64) -> bool {
    let (_, _, top) = image::stack_of(number);
    START.stack.store(top, Ordering::Relaxed);
    START.number.store(number as u64, Ordering::Relaxed);
    START.root.store(super::mmu::root(), Ordering::Relaxed);
    clean_start();
    if !super::power::start_cpu(mpidr, further_entry(), &raw const START as u64) {
        return false;
    }
    let end = super::timer::now_ticks().saturating_add(super::timer::frequency());
    while cpu::CPUS.online(number).is_none() {
        if super::timer::now_ticks() > end {
            return false;
        }
        cpu::wait_for_event();
    }
    true
}

/// Puts [`START`] where a CPU without caches sees it.
fn clean_start() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: cleaning the line of a static does not change what memory holds.
    unsafe {
        core::arch::asm!("dc cvac, {}", "dsb sy", in(reg) &raw const START, options(nostack));
    }
}

#[cfg(target_os = "none")]
fn further_entry() -> u64 {
    unsafe extern "C" {
        safe fn further_entry();
    }
    further_entry as *const () as u64
}

#[cfg(not(target_os = "none"))]
fn further_entry() -> u64 {
    0
}

/// Entered by entry.S on a further CPU: MMU on, on its own stack.
#[cfg(target_os = "none")]
extern "C" fn rust_further_entry(number: usize) -> ! {
    unsafe extern "Rust" {
        safe fn hypervisor_further(number: usize) -> !;
    }
    cpu::adopt(number);
    hypervisor_further(number)
}

/// Entered by entry.S: MMU on with the boot map, on the boot stack.
#[cfg(target_os = "none")]
extern "C" fn rust_entry(device_tree_address: u64) -> ! {
    unsafe extern "Rust" {
        safe fn hypervisor_main(device_tree_address: u64) -> !;
    }
    cpu::adopt(0);
    hypervisor_main(device_tree_address)
}

/// Makes functions what runs once the machine is able to run Rust: on the first CPU, with the device tree's address, and
/// on further CPUs, with their numbers.
#[macro_export]
macro_rules! entry {
    ($main:path, $further:path) => {
        #[cfg(target_os = "none")]
        mod entry_point {
            #[unsafe(no_mangle)]
            extern "Rust" fn hypervisor_main(device_tree_address: u64) -> ! {
                $main(device_tree_address)
            }

            #[unsafe(no_mangle)]
            extern "Rust" fn hypervisor_further(number: usize) -> ! {
                $further(number)
            }
        }
    };
}
