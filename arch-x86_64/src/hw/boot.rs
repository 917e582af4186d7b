//! From the first instruction to `main`: further CPUs, what the boot loader left in memory.

#[cfg(target_os = "none")]
use arch_common::hw::image;

use super::cpu;

#[cfg(target_os = "none")]
core::arch::global_asm!(
    include_str!("entry.S"),
    rust_entry = sym rust_entry,
    rust_further_entry = sym rust_further_entry,
);

#[cfg(target_os = "none")]
unsafe extern "C" {
    static further_start: u8;
    static further_jump: u8;
    static further_gdt: u8;
    static further_gdt_pointer: u8;
    static further_end: u8;
    static further_long: u8;
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
        let (_, _, top) = image::stack_of(number);
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
    while cpu::CPUS.online(number).is_none() {
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
