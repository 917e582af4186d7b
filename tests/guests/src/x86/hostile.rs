//! Doing things that fault.
// UNSAFETY: instructions that the compiler does not know, with operands chosen by chance.
#![expect(unsafe_code, reason = "instructions with operands chosen by chance")]

use core::arch::asm;
use core::sync::atomic::Ordering;

use super::{hypercall, vectors};
use crate::hostile::hostile_faults;

/// From here on faults are counted and passed over, and interrupts that nobody asked for as well.
pub fn tolerate() {
    vectors::tolerate();
}

/// A fault was passed over.
pub(crate) fn note_fault() {
    hostile_faults.fetch_add(1, Ordering::SeqCst);
}

/// A hypercall with all of its arguments.
#[inline]
pub fn hypercall(number: u64, args: [u64; 5]) -> u64 {
    hypercall::any(number, args)
}

/// The text of an instruction that may fault, with its entry in `.fixups`.
macro_rules! fallible {
    ($instruction:literal) => {
        concat!(
            "9998: ",
            $instruction,
            "\n9999:\n.pushsection .fixups, \"a\"\n.quad 9998b, 9999b\n.popsection"
        )
    };
}

/// The same; an operand `worked` is 1 if it did not fault.
macro_rules! attempted {
    ($instruction:literal) => {
        concat!(
            "9998: ",
            $instruction,
            "\nmov {worked:e}, 1",
            "\n9999:\n.pushsection .fixups, \"a\"\n.quad 9998b, 9999b\n.popsection"
        )
    };
}

mod memory;
mod ports;
mod registers;

pub use memory::{add_to, exchange, jump_to, move_string, pop_from, push_at, stand_on};
pub use ports::{input, move_in, move_out, output};
pub use registers::{
    Cache, clear_task_switched, control, cpuid, end_with_marks, flush_caches, load_status_word,
    read_debug, read_msr, set_control, set_debug, set_extended, write_msr,
};

macro_rules! load_with {
    ($instruction:literal, $address:ident) => {{
        let value: u64;
        // SAFETY: a load changes no memory; what a device does about it is what this guest is to find out.
        unsafe {
            asm!(
                fallible!($instruction),
                inout("rax") 0_u64 => value,
                in("rdx") $address,
                options(nostack),
            );
        }
        value
    }};
}

/// A load of 1, 2, 4 or 8 bytes (`size` 0 to 3) from any address; may fault.
#[inline]
pub fn load(address: u64, size: u64) -> u64 {
    match size & 3 {
        0 => load_with!("mov al, [rdx]", address),
        1 => load_with!("mov ax, [rdx]", address),
        2 => load_with!("mov eax, [rdx]", address),
        _ => load_with!("mov rax, [rdx]", address),
    }
}

macro_rules! store_with {
    ($instruction:literal, $address:ident, $value:ident) => {
        // SAFETY: the address is no RAM (callers).
        unsafe {
            asm!(
                fallible!($instruction),
                in("rax") $value,
                in("rdx") $address,
                options(nostack),
            )
        }
    };
}

/// A store of 1, 2, 4 or 8 bytes; may fault. Callers name addresses outside RAM only.
#[inline]
pub fn store(address: u64, size: u64, value: u64) {
    match size & 3 {
        0 => store_with!("mov [rdx], al", address, value),
        1 => store_with!("mov [rdx], ax", address, value),
        2 => store_with!("mov [rdx], eax", address, value),
        _ => store_with!("mov [rdx], rax", address, value),
    }
}

/// Does something that is refused and counted as an instruction: reads a register that is not there.
pub fn refused_instruction() {
    /// Of a processor of 1993.
    const MACHINE_CHECK_TYPE: u32 = 1;
    core::hint::black_box(read_msr(MACHINE_CHECK_TYPE));
}

/// There is no firmware that could be called.
pub const fn refused_firmware_call() {}
