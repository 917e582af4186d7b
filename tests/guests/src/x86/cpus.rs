//! CPUs: switched on by INIT and start-up IPI, switched off by a halt that no interrupt ends (Intel SDM volume 3, 9.4).
// UNSAFETY: code that is copied to where a CPU starts, the base of GS.
#![expect(unsafe_code, reason = "entry of a CPU that was switched on")]

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use hv_abi::xen::vcpu::{self, HvmContext64, HvmContextHead};
use hv_abi::{CallNumber, Errno};

use super::{interrupts, mmu, msr, vectors};
use crate::cpus::{self, MOST, answer, cpu_stacks};
use crate::hypercall;

/// The page that CPUs start at.
const START: u64 = 0x8000;
/// ICR: INIT, and start-up at that page.
const INIT: u64 = 5 << 8 | 1 << 14;
const START_UP: u64 = 6 << 8 | 1 << 14 | START >> 12;

/// Where the stack pointer is among [`HvmContext64::gpr`].
const RSP: usize = 4;

unsafe extern "C" {
    static cpu_start: u8;
    static cpu_start_end: u8;
    static cpu_start_by_call: u8;
}

/// Numbers, for each CPU to find its own at the base of GS.
static NUMBERS: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];
/// Whether each is on.
static ON: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];

/// The first CPU is on.
pub(crate) fn init_first() {
    ON[0].store(true, Ordering::SeqCst);
    take_number(0);
}

/// Makes this CPU find its number.
pub(crate) fn take_number(cpu: u32) {
    let place = &NUMBERS[cpu as usize];
    place.store(cpu, Ordering::Relaxed);
    msr::write(msr::GS_BASE, place.as_ptr() as u64);
}

/// Called by the entry's code, on the CPU's own stack, in long mode.
#[unsafe(no_mangle)]
extern "C" fn cpu_entry(cpu: u32) -> ! {
    vectors::install();
    take_number(cpu);
    interrupts::init_cpu();
    cpus::run(cpu);
    switch_off()
}

/// The number of the CPU this runs on.
#[inline]
#[must_use]
pub fn this() -> u32 {
    let cpu: u32;
    // SAFETY: at the base of GS is this CPU's number.
    unsafe { asm!("mov {:e}, gs:[0]", out(reg) cpu, options(nostack, readonly)) };
    cpu
}

/// How many CPUs the domain has.
#[must_use]
pub fn count() -> u32 {
    core::arch::x86_64::__cpuid(1).ebx >> 16 & 0xFF
}

/// Whether the hypervisor says that a CPU is up.
#[must_use]
pub fn is_up(cpu: u32) -> bool {
    let (number, up) = (CallNumber::VCPU_OP, vcpu::IS_UP);
    hypercall::raw(number, up, cpu.into(), 0) == 1
}

/// The argument of VCPUOP_initialise (`vcpu_hvm_context`), for 64-bit mode.
#[repr(C)]
struct Context {
    head: HvmContextHead,
    registers: HvmContext64,
    rest: u64,
}

const _: () = assert!(size_of::<Context>() == vcpu::HVM_CONTEXT_SIZE);

/// Gives a CPU its first registers by Xen's call, in a mode of that name, to run a function once it is up.
///
/// # Errors
/// The hypervisor's.
pub fn initialise(cpu: u32, mode: u32, body: fn(u32)) -> Result<u64, Errno> {
    cpus::leave(cpu, body);
    let mut gpr = [0; 8];
    gpr[RSP] = cpu_stacks.0[cpu as usize].as_ptr_range().end as u64;
    let context = Context {
        head: HvmContextHead { mode, pad: 0 },
        registers: HvmContext64 {
            gpr,
            rip: (&raw const cpu_start_by_call) as u64,
            // Bit 1 is always set.
            rflags: 2,
            // PG, WP, NE, ET, MP, PE; PAE; NXE, LMA, LME.
            cr0: 0x8001_0033,
            cr3: mmu::tables(),
            cr4: 0x20,
            efer: 0xD00,
        },
        rest: 0,
    };
    let argument = (&raw const context) as u64;
    hypercall::call(CallNumber::VCPU_OP, vcpu::INITIALISE, cpu.into(), argument)
}

/// Switches a CPU on, to run a function and switch itself off then.
pub fn switch_on(cpu: u32, body: fn(u32)) -> i64 {
    if cpu >= count() {
        return answer::INVALID_PARAMETERS;
    }
    if ON[cpu as usize].swap(true, Ordering::SeqCst) {
        return answer::ALREADY_ON;
    }
    cpus::leave(cpu, body);
    copy_start();
    interrupts::command(cpu, INIT);
    while is_up(cpu) {
        core::hint::spin_loop();
    }
    interrupts::command(cpu, START_UP);
    answer::DONE
}

fn copy_start() {
    let from = (&raw const cpu_start) as u64;
    let length = (&raw const cpu_start_end) as u64 - from;
    for offset in 0..length {
        // SAFETY: the code between the two symbols.
        let byte = unsafe { ((from + offset) as *const u8).read() };
        // SAFETY: RAM below 1 MiB that nothing else uses; all reach it by atomics only.
        let to = unsafe { &*((START + offset) as *const AtomicU8) };
        to.store(byte, Ordering::Relaxed);
    }
}

/// Switches this CPU off.
pub fn switch_off() -> ! {
    super::interrupts::mask();
    ON[this() as usize].store(false, Ordering::SeqCst);
    loop {
        // SAFETY: waiting is always allowed.
        unsafe { asm!("cli", "hlt", options(nostack)) };
    }
}

/// Whether a CPU is on.
#[must_use]
pub fn affinity_info(cpu: u32) -> i64 {
    if cpu >= count() {
        return answer::INVALID_PARAMETERS;
    }
    match ON[cpu as usize].load(Ordering::SeqCst) {
        true => answer::DONE,
        false => answer::OFF,
    }
}
