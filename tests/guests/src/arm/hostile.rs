//! Doing things that fault.
// UNSAFETY: instructions that the compiler does not know, chosen by chance.
#![expect(unsafe_code, reason = "instructions chosen by chance")]

use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

use hv_abi::layout::arm::EVENT_INTID;

use super::{gic, timer, vectors};
use crate::hostile::{note_given_up, words};

global_asm!(
    r#"
    .section .text
    .balign 2048
    .globl tolerant_vectors
tolerant_vectors:
    .rept 4
    .balign 128
    b       .
    .endr
    .balign 128             // synchronous, current EL with its own stack
    stp     x0, x1, [sp, #-16]!
    mrs     x0, elr_el1
    add     x0, x0, #4
    msr     elr_el1, x0
    b       13f
    .balign 128             // an interrupt: the call that it interrupts is given up
    stp     x0, x1, [sp, #-16]!
    stp     x2, x3, [sp, #-16]!
    stp     x4, x5, [sp, #-16]!
    stp     x6, x7, [sp, #-16]!
    stp     x8, x9, [sp, #-16]!
    stp     x10, x11, [sp, #-16]!
    stp     x12, x13, [sp, #-16]!
    stp     x14, x15, [sp, #-16]!
    stp     x16, x17, [sp, #-16]!
    stp     x18, x30, [sp, #-16]!
    mrs     x0, elr_el1
    bl      hostile_interrupt
    msr     elr_el1, x0
    ldp     x18, x30, [sp], #16
    ldp     x16, x17, [sp], #16
    ldp     x14, x15, [sp], #16
    ldp     x12, x13, [sp], #16
    b       12f
    .balign 128
    b       .
    .balign 128             // system errors are as good as faults
    stp     x0, x1, [sp, #-16]!
13: adrp    x0, hostile_faults
    add     x0, x0, :lo12:hostile_faults
    ldr     w1, [x0]
    add     w1, w1, #1
    str     w1, [x0]
    ldp     x0, x1, [sp], #16
    eret
    .balign 2048
12: ldp     x10, x11, [sp], #16
    ldp     x8, x9, [sp], #16
    ldp     x6, x7, [sp], #16
    ldp     x4, x5, [sp], #16
    ldp     x2, x3, [sp], #16
    ldp     x0, x1, [sp], #16
    eret
"#
);

unsafe extern "C" {
    static tolerant_vectors: u8;
}

/// Called by the vectors for an interrupt, with the address that it came at; where to go on. A call that gives way is
/// made again and again, with the program counter on it, until it is done: to be rid of it, a guest goes on behind it.
#[unsafe(no_mangle)]
extern "C" fn hostile_interrupt(at: u64) -> u64 {
    const HVC: u32 = 0xD400_0002;
    const HVC_MASK: u32 = 0xFFE0_001F;
    let intid = gic::acknowledge();
    timer::stop();
    if intid < 1020 {
        gic::end(intid);
    }
    // SAFETY: an instruction of ours was interrupted there.
    let instruction = unsafe { (at as *const u32).read() };
    if instruction & HVC_MASK != HVC {
        return at;
    }
    note_given_up();
    at + 4
}

/// From here on faults are counted and passed over. Of interrupts only the timer's are left: nobody takes events, so
/// that theirs would never end.
pub fn tolerate() {
    const ICENABLER: u64 = 0x180;
    gic::write(gic::private_frame() + ICENABLER, 1 << EVENT_INTID);
    vectors::point_at((&raw const tolerant_vectors) as u64);
}

/// A hypercall with all of its arguments; may fault.
#[inline]
pub fn hypercall(number: u64, args: [u64; 5]) -> u64 {
    let mut result = args[0];
    // SAFETY: the hypervisor writes where the arguments point to and it lets a guest write: the buffer, which is
    // atomics, and pages that nothing here uses; where it does more, that is what this guest is to find out.
    unsafe {
        asm!(
            "hvc {tag}",
            tag = const hv_abi::ARM_HYPERCALL_TAG,
            inout("x0") result,
            inout("x1") args[1] => _,
            inout("x2") args[2] => _,
            inout("x3") args[3] => _,
            inout("x4") args[4] => _,
            in("x16") number,
            options(nostack),
        );
    }
    result
}

macro_rules! firmware_call {
    ($instruction:literal, $function:ident, $args:ident) => {{
        let mut result = $function;
        // SAFETY: as `hypercall`; PSCI and SMCCC calls may change x0 to x17.
        unsafe {
            asm!(
                $instruction,
                inout("x0") result,
                inout("x1") $args[0] => _,
                inout("x2") $args[1] => _,
                inout("x3") $args[2] => _,
                clobber_abi("C"),
                options(nostack),
            );
        }
        result
    }};
}

/// A call of the firmware by `HVC #0` or `SMC #0`; may fault.
#[inline]
pub fn firmware(by_smc: bool, function: u64, args: [u64; 3]) -> u64 {
    if by_smc {
        firmware_call!("smc #0", function, args)
    } else {
        firmware_call!("hvc #0", function, args)
    }
}

macro_rules! load_with {
    ($instruction:literal, $address:ident) => {{
        let value: u64;
        // SAFETY: a load changes no memory; what a device does about it is what this guest is to find out.
        unsafe { asm!($instruction, out(reg) value, in(reg) $address, options(nostack)) };
        value
    }};
}

/// A load of 1, 2, 4 or 8 bytes (`size` 0 to 3) from any address; may fault.
#[inline]
pub fn load(address: u64, size: u64) -> u64 {
    match size & 3 {
        0 => load_with!("ldrb {0:w}, [{1}]", address),
        1 => load_with!("ldrh {0:w}, [{1}]", address),
        2 => load_with!("ldr {0:w}, [{1}]", address),
        _ => load_with!("ldr {0}, [{1}]", address),
    }
}

macro_rules! store_with {
    ($instruction:literal, $address:ident, $value:ident) => {
        // SAFETY: the address is no RAM (callers).
        unsafe { asm!($instruction, in(reg) $address, in(reg) $value, options(nostack)) }
    };
}

/// A store of 1, 2, 4 or 8 bytes; may fault. Callers name addresses outside RAM only.
#[inline]
pub fn store(address: u64, size: u64, value: u64) {
    match size & 3 {
        0 => store_with!("strb {1:w}, [{0}]", address, value),
        1 => store_with!("strh {1:w}, [{0}]", address, value),
        2 => store_with!("str {1:w}, [{0}]", address, value),
        _ => store_with!("str {1}, [{0}]", address, value),
    }
}

/// Executes one instruction with `value` in x0; may fault. Returns x0.
pub fn execute(instruction: u32, value: u64) -> u64 {
    const RET: u64 = 0xD65F_03C0;
    let code = words().last().expect("the buffer is not empty");
    code.store(u64::from(instruction) | RET << 32, Ordering::SeqCst);
    let mut result = value;
    // SAFETY: the two instructions lie in a word of the buffer, made visible to instruction fetch; callers choose
    // instructions that use no register but x0 and no memory.
    unsafe {
        asm!(
            "dc cvau, {code}",
            "dsb ish",
            "ic ivau, {code}",
            "dsb ish",
            "isb",
            "blr {code}",
            code = in(reg) code.as_ptr(),
            inout("x0") result,
            out("x30") _,
            options(nostack),
        );
    }
    result
}

/// Does something that is refused and counted as an instruction: an HVC of no known kind.
pub fn refused_instruction() {
    /// `HVC #7`.
    const OTHER_HVC: u32 = 0xD400_0002 | 7 << 5;
    core::hint::black_box(execute(OTHER_HVC, 0));
}

/// Does something that is refused and counted as a call of the firmware, where there is one: an SMC.
pub fn refused_firmware_call() {
    core::hint::black_box(firmware(true, 0x8400_0000, [0; 3]));
}
