//! Accesses to memory by other instructions than MOV, fetches, and a stack that is somewhere else.
// UNSAFETY: addresses that callers choose, outside RAM; the stack pointer.
#![expect(unsafe_code, reason = "addresses outside RAM")]

use core::arch::asm;

use super::vectors;
use crate::hostile::words;

macro_rules! access_with {
    ($instruction:literal, $address:ident) => {{
        let worked: u64;
        // SAFETY: the address is no RAM (callers), or the buffer.
        unsafe {
            asm!(
                attempted!($instruction),
                worked = inout(reg) 0_u64 => worked,
                in("rdx") $address,
                inout("rax") 1_u64 => _,
                options(nostack),
            );
        }
        worked == 1
    }};
}

/// Adds to what is there. Returns whether it did not fault, as all of these do.
pub fn add_to(address: u64) -> bool {
    access_with!("lock add [rdx], rax", address)
}

/// Exchanges what is there.
pub fn exchange(address: u64) -> bool {
    access_with!("xchg [rdx], rax", address)
}

/// Moves a string from there to the buffer, or the other way around.
pub fn move_string(address: u64, is_from: bool) -> bool {
    let buffer = words().as_ptr() as u64;
    let (from, to) = if is_from {
        (address, buffer)
    } else {
        (buffer, address)
    };
    let worked: u64;
    // SAFETY: one of the two is the buffer, the other no RAM (callers).
    unsafe {
        asm!(
            attempted!("rep movsq"),
            worked = inout(reg) 0_u64 => worked,
            inout("rcx") 4_u64 => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack),
        );
    }
    worked == 1
}

macro_rules! on_stack {
    ($instruction:literal, $stack:ident) => {{
        let worked: u64;
        // SAFETY: the stack pointer comes back before anything uses it: interrupts are masked, and exceptions have a stack
        // of their own (`vectors::use_own_stack`, callers).
        unsafe {
            asm!(
                "mov {kept}, rsp",
                "mov rsp, {stack}",
                attempted!($instruction),
                "mov rsp, {kept}",
                worked = inout(reg) 0_u64 => worked,
                kept = out(reg) _,
                stack = in(reg) $stack,
                out("rax") _,
            );
        }
        worked == 1
    }};
}

/// Pushes onto a stack there.
pub fn push_at(stack: u64) -> bool {
    on_stack!("push rax", stack)
}

/// Pops from a stack there.
pub fn pop_from(stack: u64) -> bool {
    on_stack!("pop rax", stack)
}

/// Goes to an address and comes back by the exception that is there, or by `jmp r15`. Registers are what the code there may
/// want: RAX `value`, RCX `count`.
pub fn jump_to(address: u64, value: u64, count: u64) {
    // SAFETY: what is there is an exception, or code that callers put there: it changes these registers only.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "lea r15, [rip + 2f]",
            "mov [r12], r15",
            "jmp r14",
            "2:",
            "mov qword ptr [r12], 0",
            "pop rbp",
            "pop rbx",
            // A register that no such code touches: RBX is CPUID's.
            in("r12") vectors::way_back().as_ptr(),
            in("r14") address,
            out("r15") _,
            inout("rax") value => _,
            inout("rcx") count => _,
            inout("rdx") 0_u64 => _,
            inout("rsi") 0_u64 => _,
            inout("rdi") 0_u64 => _,
            out("r8") _,
            out("r10") _,
        );
    }
}

/// Puts the stack there and lets interrupts through. Whoever comes back from that has a fault to tell of.
pub fn stand_on(stack: u64) -> ! {
    // SAFETY: nothing of what was on the stack is needed again.
    unsafe {
        asm!("mov rsp, {}", "sti", "2: jmp 2b", in(reg) stack, options(noreturn));
    }
}
