//! MSRs, CPUID, control and debug registers, XCRs.
// UNSAFETY: registers that decide how this guest runs; callers put back what it needs.
#![expect(unsafe_code, reason = "registers that decide how this guest runs")]

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};

/// Reads an MSR; `None`: it faults.
#[inline]
pub fn read_msr(number: u32) -> Option<u64> {
    let (low, high, worked): (u32, u32, u64);
    // SAFETY: reads of registers have no effect on memory.
    unsafe {
        asm!(
            attempted!("rdmsr"),
            worked = inout(reg) 0_u64 => worked,
            in("ecx") number,
            inout("eax") 0 => low,
            inout("edx") 0 => high,
            options(nostack),
        );
    }
    (worked == 1).then_some(u64::from(high) << 32 | u64::from(low))
}

/// Writes an MSR. Returns whether it did not fault.
#[inline]
pub fn write_msr(number: u32, value: u64) -> bool {
    let worked: u64;
    // SAFETY: callers put back what this guest depends on.
    unsafe {
        asm!(
            attempted!("wrmsr"),
            worked = inout(reg) 0_u64 => worked,
            in("ecx") number,
            in("eax") value as u32,
            in("edx") (value >> 32) as u32,
            options(nostack),
        );
    }
    worked == 1
}

/// CPUID.
#[inline]
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let CpuidResult { eax, ebx, ecx, edx } = __cpuid_count(leaf, subleaf);
    [eax, ebx, ecx, edx]
}

macro_rules! read_with {
    ($instruction:literal) => {{
        let (value, worked): (u64, u64);
        // SAFETY: reading has no effect.
        unsafe {
            asm!(
                attempted!($instruction),
                worked = inout(reg) 0_u64 => worked,
                inout("rax") 0_u64 => value,
                options(nostack),
            );
        }
        (worked == 1).then_some(value)
    }};
}

macro_rules! write_with {
    ($instruction:literal, $value:ident) => {{
        let worked: u64;
        // SAFETY: callers put back what this guest depends on.
        unsafe {
            asm!(
                attempted!($instruction),
                worked = inout(reg) 0_u64 => worked,
                in("rax") $value,
                options(nostack),
            );
        }
        worked == 1
    }};
}

/// A control register: 0, 2, 3, 4 or 8. `None`: a fault.
pub fn control(number: u32) -> Option<u64> {
    match number {
        0 => read_with!("mov rax, cr0"),
        2 => read_with!("mov rax, cr2"),
        3 => read_with!("mov rax, cr3"),
        4 => read_with!("mov rax, cr4"),
        _ => read_with!("mov rax, cr8"),
    }
}

/// Writes one. Returns whether it did not fault.
pub fn set_control(number: u32, value: u64) -> bool {
    match number {
        0 => write_with!("mov cr0, rax", value),
        2 => write_with!("mov cr2, rax", value),
        3 => write_with!("mov cr3, rax", value),
        4 => write_with!("mov cr4, rax", value),
        _ => write_with!("mov cr8, rax", value),
    }
}

/// A debug register. `None`: a fault.
pub fn read_debug(number: u32) -> Option<u64> {
    match number {
        0 => read_with!("mov rax, dr0"),
        1 => read_with!("mov rax, dr1"),
        2 => read_with!("mov rax, dr2"),
        3 => read_with!("mov rax, dr3"),
        6 => read_with!("mov rax, dr6"),
        _ => read_with!("mov rax, dr7"),
    }
}

/// Writes one. Returns whether it did not fault.
pub fn set_debug(number: u32, value: u64) -> bool {
    match number {
        0 => write_with!("mov dr0, rax", value),
        1 => write_with!("mov dr1, rax", value),
        2 => write_with!("mov dr2, rax", value),
        3 => write_with!("mov dr3, rax", value),
        6 => write_with!("mov dr6, rax", value),
        _ => write_with!("mov dr7, rax", value),
    }
}

/// LMSW. Returns whether it did not fault.
pub fn load_status_word(value: u64) -> bool {
    write_with!("lmsw ax", value)
}

/// CLTS. Returns whether it did not fault.
pub fn clear_task_switched() -> bool {
    read_with!("clts").is_some()
}

/// What becomes of caches.
#[derive(Clone, Copy)]
pub enum Cache {
    /// INVD: their content is dropped.
    Drop,
    /// WBINVD: their content is written back.
    WriteBack,
}

/// INVD or WBINVD. Returns whether it did not fault.
pub fn flush_caches(what: Cache) -> bool {
    match what {
        Cache::Drop => read_with!("invd").is_some(),
        Cache::WriteBack => read_with!("wbinvd").is_some(),
    }
}

/// XSETBV. Returns whether it did not fault.
pub fn set_extended(index: u32, value: u64) -> bool {
    let worked: u64;
    // SAFETY: no code here uses extended state.
    unsafe {
        asm!(
            attempted!("xsetbv"),
            worked = inout(reg) 0_u64 => worked,
            in("ecx") index,
            in("eax") value as u32,
            in("edx") (value >> 32) as u32,
            options(nostack),
        );
    }
    worked == 1
}

/// A CPUID, an MSR, and an exception, with numbers in registers that are known again.
pub fn end_with_marks() -> ! {
    // SAFETY: never comes back.
    unsafe {
        asm!(
            "mov ecx, 0x1B",
            "rdmsr",
            "mov eax, 1",
            "cpuid",
            "mov rax, {mark}",
            "mov r15, rax",
            "not r15",
            "ud2",
            mark = const 0x1122_3344_5566_7788_u64,
            options(noreturn)
        );
    }
}
