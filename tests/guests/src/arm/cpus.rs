//! CPUs, switched on and off by PSCI (DEN 0022).
// UNSAFETY: code before there is a stack.
#![expect(unsafe_code, reason = "entry of a CPU that was switched on")]

use core::arch::{asm, global_asm};

use super::{gic, hostile, mmu, vectors};
use crate::cpus::{self, MOST, STACK_LOG2, answer};

const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xC400_0003;
const AFFINITY_INFO: u64 = 0xC400_0004;

global_asm!(
    r#"
    .section .text.cpu_start, "ax"
    .globl cpu_start
cpu_start:
    adrp    x1, cpu_stacks
    add     x1, x1, :lo12:cpu_stacks
    add     x2, x0, #1
    lsl     x2, x2, #{stack_log2}
    add     sp, x1, x2
    mov     x29, xzr
    mov     x30, xzr
    bl      cpu_entry
    b       .
"#,
    stack_log2 = const STACK_LOG2,
);

unsafe extern "C" {
    static cpu_start: u8;
}

/// Called by the code above, on the CPU's own stack, with MMU and caches off.
#[unsafe(no_mangle)]
extern "C" fn cpu_entry(cpu: u64) -> ! {
    mmu::switch_on();
    vectors::install();
    gic::init_cpu();
    cpus::run(cpu as u32);
    gic::mask();
    switch_off()
}

/// The number of the CPU this runs on.
#[inline]
#[must_use]
pub fn this() -> u32 {
    let mpidr: u64;
    // SAFETY: reading MPIDR_EL1 has no effect.
    unsafe { asm!("mrs {}, mpidr_el1", out(reg) mpidr, options(nostack, nomem)) };
    mpidr as u32 & 0xFF
}

/// How many CPUs the domain has.
#[must_use]
pub fn count() -> u32 {
    let there = |cpu: &u32| affinity_info(*cpu) != answer::INVALID_PARAMETERS;
    (0..=MOST as u32).take_while(there).count() as u32
}

fn call(function: u64, args: [u64; 3]) -> i64 {
    let value = hostile::firmware(false, function, args);
    i64::from(value.cast_signed() as i32)
}

/// Switches a CPU on, to run a function and switch itself off then. Returns PSCI's answer.
pub fn switch_on(cpu: u32, body: fn(u32)) -> i64 {
    cpus::leave(cpu, body);
    let entry = (&raw const cpu_start) as u64;
    call(CPU_ON, [u64::from(cpu), entry, u64::from(cpu)])
}

/// Switches this CPU off.
pub fn switch_off() -> ! {
    let refused = call(CPU_OFF, [0; 3]);
    panic!("CPU_OFF came back with {refused}")
}

/// Whether a CPU is on, in PSCI's words.
#[must_use]
pub fn affinity_info(cpu: u32) -> i64 {
    call(AFFINITY_INFO, [u64::from(cpu), 0, 0])
}
