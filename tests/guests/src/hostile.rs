//! What hostile guests share: numbers, a way to do things that fault, and addresses that may hurt.
//!
//! A guest that does what it should not gets faults. While [`tolerate`] is in force, a fault is counted and the
//! instruction that caused it skipped, so that the next attempt can be made.
// UNSAFETY: instructions that the compiler does not know, chosen by chance.
#![expect(unsafe_code, reason = "instructions chosen by chance")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hv_abi::layout::arm::{EVENT_INTID, GICD_BASE, GICR_BASE, GRANT_BASE, MAGIC_BASE};

use crate::{gic, timer, vectors};

/// Attempts that each hostile guest makes.
pub const ATTEMPTS: u32 = 100_000;

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
    adrp    x0, hostile_faults
    add     x0, x0, :lo12:hostile_faults
    ldr     w1, [x0]
    add     w1, w1, #1
    str     w1, [x0]
    ldp     x0, x1, [sp], #16
    eret
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
    adrp    x0, hostile_faults
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

/// Counted by the vectors above.
#[unsafe(no_mangle)]
static hostile_faults: AtomicU32 = AtomicU32::new(0);

/// Faults so far.
#[must_use]
pub fn faults() -> u32 {
    hostile_faults.load(Ordering::SeqCst)
}

/// Calls that were given up so far.
#[must_use]
pub fn given_up() -> u32 {
    GIVEN_UP.load(Ordering::SeqCst)
}

static GIVEN_UP: AtomicU32 = AtomicU32::new(0);

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
    GIVEN_UP.fetch_add(1, Ordering::SeqCst);
    at + 4
}

/// Makes a hypercall that may take for ever, and gives it up after a moment if it does.
pub fn hypercall_for_a_moment(number: u64, args: [u64; 5]) -> u64 {
    timer::set(timer::now() + timer::frequency() / 2000);
    gic::unmask();
    let result = hypercall(number, args);
    gic::mask();
    timer::stop();
    result
}

/// From here on faults are counted and passed over. Of interrupts only the timer's are left: nobody takes events, so
/// that theirs would never end.
pub fn tolerate() {
    const ICENABLER: u64 = 0x180;
    gic::write(gic::private_frame() + ICENABLER, 1 << EVENT_INTID);
    vectors::point_at((&raw const tolerant_vectors) as u64);
}

/// A sequence of numbers: SplitMix64.
pub struct Random(u64);

impl Random {
    /// The sequence of this guest: of the seed on its command line, or of the moment.
    #[must_use]
    pub fn of_this_guest() -> Self {
        let seed = crate::tree::option("seed=").unwrap_or_else(timer::now);
        crate::log!("seed {seed:#x}");
        Self(seed)
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// One of several.
    #[inline]
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A value of any size, small ones as likely as large ones.
    #[inline]
    pub fn value(&mut self) -> u64 {
        let number = self.number();
        match number & 7 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (number >> 3 & 63),
            _ => number >> (number >> 3 & 63),
        }
    }

    /// An address that may be anything: a buffer of ours, its very end, a shared page, a device, nothing at all.
    #[inline]
    pub fn address(&mut self) -> u64 {
        let place = BUFFER.0.as_ptr() as u64;
        match self.below(8) {
            0..=2 => place + self.below(BUFFER_SIZE),
            3 => place + BUFFER_SIZE - 1 - self.below(16),
            4 => MAGIC_BASE + self.below(0x4000),
            5 => self.choose(&[GICD_BASE, GICR_BASE, GRANT_BASE]) + self.below(0x1_0000),
            6 => 0xFFFF_8000_0000_0000 | self.number(),
            _ => self.value(),
        }
    }
}

/// What arguments point at.
const BUFFER_SIZE: u64 = 8 * 1024;
/// What a call may write behind that: as many errors as a batch with a 16-bit length can have, or a structure that
/// begins at the very end.
const BEHIND: u64 = 512 << 10;
const WORDS: usize = ((BUFFER_SIZE + BEHIND) / 8) as usize;

#[repr(C, align(4096))]
struct Buffer([AtomicU64; WORDS]);

/// What arguments may point at; the hypervisor may write it at any time.
static BUFFER: Buffer = Buffer([const { AtomicU64::new(0) }; WORDS]);

/// The buffer's words.
#[must_use]
pub fn words() -> &'static [AtomicU64] {
    &BUFFER.0
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

/// Says at the end that we got there. The log takes a few lines at a time from a guest: who flooded it has to wait.
pub fn report(what: core::fmt::Arguments<'_>) {
    let until = timer::now() + timer::frequency() / 2;
    while timer::now() < until {}
    crate::console::log(format_args!("\n{what}"));
}

/// Executes one instruction with `value` in x0; may fault. Returns x0.
pub fn execute(instruction: u32, value: u64) -> u64 {
    const RET: u64 = 0xD65F_03C0;
    let code = &BUFFER.0[WORDS - 1];
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

/// A page that is shared with Domain-0, as words.
#[must_use]
pub fn shared_page(address: u64) -> &'static [AtomicU32] {
    // SAFETY: callers name a ring's page, which is mapped for ever; both sides reach it by atomics only.
    unsafe { core::slice::from_raw_parts(address as *const AtomicU32, 1024) }
}
