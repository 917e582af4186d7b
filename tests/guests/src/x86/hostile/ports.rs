//! Ports.
// UNSAFETY: IN, OUT, INS and OUTS.
#![expect(unsafe_code, reason = "IN, OUT, INS and OUTS")]

use core::arch::asm;

use crate::hostile::words;

macro_rules! input_with {
    ($instruction:literal, $port:ident, $before:ident) => {{
        let (after, worked): (u64, u64);
        // SAFETY: changes no memory; there is no device that could.
        unsafe {
            asm!(
                attempted!($instruction),
                worked = inout(reg) 0_u64 => worked,
                in("dx") $port,
                inout("rax") $before => after,
                options(nostack),
            );
        }
        (worked == 1).then_some(after)
    }};
}

/// Reads 1, 2 or 4 bytes; what RAX is then, if it was `before`. `None`: a fault.
#[inline]
pub fn input(port: u16, size: u64, before: u64) -> Option<u64> {
    match size {
        1 => input_with!("in al, dx", port, before),
        2 => input_with!("in ax, dx", port, before),
        _ => input_with!("in eax, dx", port, before),
    }
}

macro_rules! output_with {
    ($instruction:literal, $port:ident, $value:ident) => {{
        let worked: u64;
        // SAFETY: changes no memory; there is no device that could.
        unsafe {
            asm!(
                attempted!($instruction),
                worked = inout(reg) 0_u64 => worked,
                in("dx") $port,
                in("eax") $value,
                options(nostack),
            );
        }
        worked == 1
    }};
}

/// Writes 1, 2 or 4 bytes. Returns whether it did not fault.
#[inline]
pub fn output(port: u16, size: u64, value: u32) -> bool {
    match size {
        1 => output_with!("out dx, al", port, value),
        2 => output_with!("out dx, ax", port, value),
        _ => output_with!("out dx, eax", port, value),
    }
}

/// Elements of a string access.
const COUNT: u64 = 4;

macro_rules! string_with {
    ($instruction:literal, $port:ident) => {{
        let worked: u64;
        let place = words().as_ptr();
        // SAFETY: memory that is read or written is the buffer, which is atomics.
        unsafe {
            asm!(
                attempted!($instruction),
                worked = inout(reg) 0_u64 => worked,
                in("dx") $port,
                inout("rcx") COUNT => _,
                inout("rdi") place => _,
                inout("rsi") place => _,
                options(nostack),
            );
        }
        worked == 1
    }};
}

/// INS of 1, 2 or 4 bytes, once or four times, into the buffer.
#[inline]
pub fn move_in(port: u16, size: u64, is_repeated: bool) -> bool {
    match (size, is_repeated) {
        (1, false) => string_with!("insb", port),
        (2, false) => string_with!("insw", port),
        (_, false) => string_with!("insd", port),
        (1, true) => string_with!("rep insb", port),
        (2, true) => string_with!("rep insw", port),
        (_, true) => string_with!("rep insd", port),
    }
}

/// OUTS of 1, 2 or 4 bytes, once or four times, from the buffer.
#[inline]
pub fn move_out(port: u16, size: u64, is_repeated: bool) -> bool {
    match (size, is_repeated) {
        (1, false) => string_with!("outsb", port),
        (2, false) => string_with!("outsw", port),
        (_, false) => string_with!("outsd", port),
        (1, true) => string_with!("rep outsb", port),
        (2, true) => string_with!("rep outsw", port),
        (_, true) => string_with!("rep outsd", port),
    }
}
