//! The domain's other CPUs: switched on and off by PSCI (DEN 0022), each on a stack of its own.
// UNSAFETY: code before there is a stack, and a function that another CPU left for us.
#![expect(unsafe_code, reason = "entry of a CPU that was switched on")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::{gic, hostile, mmu, vectors};

/// CPUs of a domain at most.
pub const MOST: usize = 16;
const STACK: usize = 1 << STACK_LOG2;
const STACK_LOG2: usize = 14;

const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xC400_0003;
const AFFINITY_INFO: u64 = 0xC400_0004;

/// What PSCI answers.
pub mod answer {
    /// Done; for [`super::affinity_info`], on.
    pub const DONE: i64 = 0;
    /// [`super::affinity_info`]: off.
    pub const OFF: i64 = 1;
    /// There is no such CPU.
    pub const INVALID_PARAMETERS: i64 = -2;
    /// It is on.
    pub const ALREADY_ON: i64 = -4;
}

#[repr(C, align(16))]
struct Stacks([[AtomicU64; STACK / 8]; MOST]);

/// Only the CPU of that number uses its stack, and only while it is on.
#[unsafe(no_mangle)]
static cpu_stacks: Stacks = Stacks([const { [const { AtomicU64::new(0) }; STACK / 8] }; MOST]);

/// What each CPU is to do: a `fn(u32)`.
static BODIES: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];

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
    let body = BODIES[cpu as usize].load(Ordering::Acquire);
    // SAFETY: `switch_on` stored a `fn(u32)` there before this CPU was started.
    let body: fn(u32) = unsafe { core::mem::transmute(body) };
    body(cpu as u32);
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
    if let Some(place) = BODIES.get(cpu as usize) {
        place.store(body as usize, Ordering::Release);
    }
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
