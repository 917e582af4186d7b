//! From the first instruction to `main`: the image's extent, stacks, further CPUs, what the boot loader left in memory.

use core::sync::atomic::AtomicU64;

use super::cpu;

#[cfg(target_os = "none")]
core::arch::global_asm!(
    include_str!("entry.S"),
    rust_entry = sym rust_entry,
    rust_further_entry = sym rust_further_entry,
);

#[cfg(target_os = "none")]
unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __guard: u8;
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __stacks: u8;
    static __image_end: u8;
    static further_start: u8;
    static further_jump: u8;
    static further_gdt: u8;
    static further_gdt_pointer: u8;
    static further_end: u8;
    static further_long: u8;
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
    pub(crate) stacks: u64,
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
        stacks: (&raw const __stacks).addr() as u64,
        end: (&raw const __image_end).addr() as u64,
    }
}

#[cfg(not(target_os = "none"))]
pub(crate) fn parts() -> Parts {
    Parts::default()
}

/// Bytes of a guard page.
const GUARD: u64 = 0x1000;
/// Distance of the stacks of further CPUs: a guard page and a stack.
const STACK_STRIDE: u64 = 0x1_1000;

/// The stack of a CPU: its guard page, its bottom, its top.
pub(crate) fn stack_of(number: usize) -> (u64, u64, u64) {
    let parts = parts();
    match number.checked_sub(1) {
        None => (parts.guard, parts.stack_bottom, parts.stack_top),
        Some(further) => {
            let guard = parts.stacks + STACK_STRIDE * further as u64;
            (guard, guard + GUARD, guard + STACK_STRIDE)
        }
    }
}

/// First byte of the image in memory, and the one after its last (BSS and the stacks of that many CPUs included).
#[must_use]
pub fn image_range(cpus: usize) -> (u64, u64) {
    let parts = parts();
    let further = cpus.saturating_sub(1) as u64;
    (parts.start, parts.stacks + STACK_STRIDE * further)
}

/// Two words of this CPU's stack, if they are on it.
pub(crate) fn stack_words(address: u64) -> Option<[u64; 2]> {
    let (_, bottom, top) = stack_of(cpu::this().number);
    let inside = address >= bottom && address.checked_add(16)? <= top;
    if !inside || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: aligned and within the stack, which is mapped; any bytes are words.
    Some(unsafe { (address as *const [u64; 2]).read_volatile() })
}

/// Bytes that are mapped from the start.
const BOOT_MAP: u64 = 1 << 32;

/// Memory that firmware or a boot loader filled and that stays as it is: its tables, modules, information. `None` where the
/// boot map ends.
///
/// Called at boot only. What is there is kept out of the frame pool if it is used later.
#[must_use]
pub(crate) fn loaded_bytes(base: u64, size: u64) -> Option<&'static [u8]> {
    if base == 0 || base.checked_add(size)? > BOOT_MAP {
        return None;
    }
    // SAFETY: mapped, and nobody writes there: the boot loader is done, and nothing has been given out yet.
    Some(unsafe { core::slice::from_raw_parts(base as *const u8, size as usize) })
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

/// Offsets from the page where a further CPU starts, in the page after it, as entry.S reads them.
#[cfg(target_os = "none")]
mod start_page {
    pub(super) const ROOT: u64 = 0x1FE0;
    pub(super) const ENTRY: u64 = 0x1FE8;
    pub(super) const STACK: u64 = 0x1FF0;
    pub(super) const NUMBER: u64 = 0x1FF8;
}

/// Prepares the page below 1 MiB in which further CPUs start; it and the next are RAM of ours alone from then on. Before the
/// address space is active: the page is code then.
pub(crate) fn place_start_page(page: u64) {
    #[cfg(target_os = "none")]
    {
        let start = &raw const further_start;
        let offset = |symbol: *const u8| (symbol.addr() - start.addr()) as u64;
        let size = offset(&raw const further_end);
        // SAFETY: the page is RAM that nobody else uses, mapped; the code is shorter than what follows it there.
        unsafe { core::ptr::copy_nonoverlapping(start, page as *mut u8, size as usize) };
        let jump = page + offset(&raw const further_jump);
        // SAFETY: within the page: the target of the jump, which was relative to its start.
        let target = unsafe { (jump as *const u32).read_unaligned() };
        // SAFETY: as above.
        unsafe { (jump as *mut u32).write_unaligned(target + page as u32) };
        let pointer = page + offset(&raw const further_gdt_pointer) + 2;
        let table = page + offset(&raw const further_gdt);
        // SAFETY: within the page: the address of its GDT.
        unsafe { (pointer as *mut u32).write_unaligned(table as u32) };
    }
    #[cfg(not(target_os = "none"))]
    let _ = page;
}

/// Starts CPU `number`, which has this APIC ID, in this CPU's address space, and waits until it runs Rust. Returns whether
/// it does; one that does not in time must not be asked for again, nor any other.
pub(crate) fn start_cpu(number: usize, apic_id: u32, page: u64) -> bool {
    #[cfg(target_os = "none")]
    {
        let (_, _, top) = stack_of(number);
        let values = [
            (start_page::ROOT, super::mmu::root()),
            (start_page::ENTRY, (&raw const further_long).addr() as u64),
            (start_page::STACK, top),
            (start_page::NUMBER, number as u64),
        ];
        for (offset, value) in values {
            // SAFETY: the page is ours (`place_start_page`).
            unsafe { ((page + offset) as *mut u64).write_volatile(value) };
        }
    }
    super::interrupts::start_cpu(apic_id, page);
    let end = super::timer::now_ticks().saturating_add(super::timer::frequency());
    while !cpu::is_online(number) {
        if super::timer::now_ticks() > end {
            return false;
        }
        cpu::give_way();
    }
    true
}

/// Entered by entry.S on a further CPU, in long mode, on its own stack.
#[cfg(target_os = "none")]
extern "C" fn rust_further_entry(number: usize) -> ! {
    unsafe extern "Rust" {
        safe fn hypervisor_further(number: usize) -> !;
    }
    cpu::adopt(number);
    hypervisor_further(number)
}

/// Entered by entry.S: long mode with the boot map, on the boot stack.
#[cfg(target_os = "none")]
extern "C" fn rust_entry(information: u64, protocol: u64) -> ! {
    unsafe extern "Rust" {
        safe fn hypervisor_main(protocol: u64, information: u64) -> !;
    }
    cpu::adopt(0);
    hypervisor_main(protocol, information)
}

/// Makes functions what runs once the machine is able to run Rust: on the first CPU, with the boot protocol's number and its
/// information's address, and on further CPUs, with their numbers.
#[macro_export]
macro_rules! entry {
    ($main:path, $further:path) => {
        #[cfg(target_os = "none")]
        mod entry_point {
            #[unsafe(no_mangle)]
            extern "Rust" fn hypervisor_main(protocol: u64, information: u64) -> ! {
                $main(protocol, information)
            }

            #[unsafe(no_mangle)]
            extern "Rust" fn hypervisor_further(number: usize) -> ! {
                $further(number)
            }
        }
    };
}
