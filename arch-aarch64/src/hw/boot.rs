//! From the first instruction to `main`: the image's extent, its stack, the boot loader's device tree.

use core::sync::atomic::AtomicU64;

#[cfg(target_os = "none")]
use super::cpu;

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("entry.S"), rust_entry = sym rust_entry);

#[cfg(target_os = "none")]
unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __guard: u8;
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __image_end: u8;
}

/// Where the image's parts are: boundaries in ascending order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) start: u64,
    pub(crate) text_end: u64,
    pub(crate) rodata_end: u64,
    pub(crate) guard: u64,
    pub(crate) stack_bottom: u64,
    pub(crate) stack_top: u64,
    pub(crate) end: u64,
}

#[cfg(target_os = "none")]
pub(crate) fn parts() -> Parts {
    Parts {
        start: (&raw const __image_start).addr() as u64,
        text_end: (&raw const __text_end).addr() as u64,
        rodata_end: (&raw const __rodata_end).addr() as u64,
        guard: (&raw const __guard).addr() as u64,
        stack_bottom: (&raw const __stack_bottom).addr() as u64,
        stack_top: (&raw const __stack_top).addr() as u64,
        end: (&raw const __image_end).addr() as u64,
    }
}

#[cfg(not(target_os = "none"))]
pub(crate) fn parts() -> Parts {
    Parts::default()
}

/// First byte of the image in memory, and the one after its last (BSS and stack included).
#[must_use]
pub fn image_range() -> (u64, u64) {
    let parts = parts();
    (parts.start, parts.end)
}

/// Two words of the boot stack, if they are on it.
pub(crate) fn stack_words(address: u64) -> Option<[u64; 2]> {
    let parts = parts();
    let inside = address >= parts.stack_bottom && address.checked_add(16)? <= parts.stack_top;
    if !inside || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: aligned and within the stack, which is mapped; any bytes are words.
    Some(unsafe { (address as *const [u64; 2]).read_volatile() })
}

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

/// Clears memory and makes words of it: the frame metadata.
///
/// Called once, at boot, for a place in mapped RAM that nothing else uses and that is kept out of the frame pool.
pub(crate) fn zeroed_words(base: u64, count: u64) -> &'static [AtomicU64] {
    let words = base as *mut u64;
    // SAFETY: see above: exclusive, mapped, aligned to a frame.
    unsafe { core::ptr::write_bytes(words, 0, count as usize) };
    // SAFETY: as above; from here on the words are reached as atomics only.
    unsafe { core::slice::from_raw_parts(words.cast::<AtomicU64>(), count as usize) }
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

/// Makes a function what runs once the machine is able to run Rust; it gets the device tree's address.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[cfg(target_os = "none")]
        mod entry_point {
            #[unsafe(no_mangle)]
            extern "Rust" fn hypervisor_main(device_tree_address: u64) -> ! {
                $main(device_tree_address)
            }
        }
    };
}
