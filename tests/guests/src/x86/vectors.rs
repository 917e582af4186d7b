//! Exceptions and interrupts: interrupts are counted, an exception at an instruction that may fault goes on behind it, any
//! other fails the claim.
//!
//! An instruction that may fault says so in `.fixups`: its address, and where to go on. While hostile guests are tolerant,
//! interrupts that nobody asked for are counted as nothing. An exception at an address outside the image, where a hostile
//! guest went on purpose, leads back to where it came from.
// UNSAFETY: exception entry.
#![expect(unsafe_code, reason = "exception entry")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::interrupts::{self, EVENTS, FORGET, IPIS, OWN_EVENTS, TIMER};
use super::{hypercall, mmu, place, timer};
use crate::{cpus, event, hostile, taken};

const VECTORS: usize = 256;
/// Bytes between two entries of the code below.
const STRIDE: u64 = 16;
/// Exceptions are below.
const FIRST_INTERRUPT: u64 = 32;
const CODE_SELECTOR: u64 = 8;
const TASK_SELECTOR: u16 = 0x20;
const NMI: u64 = 2;
/// Timer interrupts that a hostile guest takes before it has had enough of a periodic one.
const PATIENCE: u32 = 64;
/// Present interrupt gate.
const GATE: u64 = 0x8E00;

// Vectors 8, 10 to 14, 17, 21, 29 and 30 come with an error code (AMD APM volume 2, 8.2).
global_asm!(
    r#"
    .section .text.guest_vectors, "ax"
    .balign 16
    .globl guest_vectors
guest_vectors:
    .set .Lvector, 0
    .rept 256
    .balign 16
    .if (.Lvector >= 32) || !((0x60227D00 >> .Lvector) & 1)
    pushq   $0
    .endif
    pushq   $.Lvector
    jmp     1f
    .set .Lvector, .Lvector + 1
    .endr
1:  pushq   %rax
    pushq   %rcx
    pushq   %rdx
    pushq   %rbx
    pushq   %rbp
    pushq   %rsi
    pushq   %rdi
    pushq   %r8
    pushq   %r9
    pushq   %r10
    pushq   %r11
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    movq    %rsp, %rdi
    cld
    movq    %rsp, %rbp
    andq    $-16, %rsp
    call    guest_trap
    movq    %rbp, %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %r11
    popq    %r10
    popq    %r9
    popq    %r8
    popq    %rdi
    popq    %rsi
    popq    %rbp
    popq    %rbx
    popq    %rdx
    popq    %rcx
    popq    %rax
    addq    $16, %rsp
    iretq
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static guest_vectors: u8;
    static __fixups_start: [u64; 2];
    static __fixups_end: [u64; 2];
}

/// What is on the stack when `guest_trap` is called.
#[repr(C)]
struct Frame {
    registers: [u64; 15],
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

#[repr(C, align(16))]
struct Gates([[AtomicU64; 2]; VECTORS]);

static GATES: Gates = Gates([const { [const { AtomicU64::new(0) }; 2] }; VECTORS]);
static TOLERANT: AtomicBool = AtomicBool::new(false);
/// Where a guest goes on that left the image; 0: none did.
static WAY_BACK: AtomicU64 = AtomicU64::new(0);

/// Where a guest that leaves the image says where it goes on.
pub(crate) fn way_back() -> &'static AtomicU64 {
    &WAY_BACK
}

/// Makes the gates and uses them.
pub(crate) fn install() {
    let first = (&raw const guest_vectors) as u64;
    for (vector, gate) in (0..).zip(&GATES.0) {
        let at = first + vector * STRIDE;
        let low = at & 0xFFFF | CODE_SELECTOR << 16 | GATE << 32 | (at >> 16 & 0xFFFF) << 48;
        gate[0].store(low, Ordering::Relaxed);
        gate[1].store(at >> 32, Ordering::Relaxed);
    }
    point_at(GATES.0.as_ptr() as u64, (size_of::<Gates>() - 1) as u16);
}

/// Makes exceptions lead nowhere: the first one ends the CPU's patience.
pub fn lead_nowhere() {
    point_at(0, 0);
}

fn point_at(base: u64, limit: u16) {
    let pointer = [u64::from(limit) | base << 16, base >> 48];
    // SAFETY: what an exception does from now on is what the caller wants.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack)) };
}

#[repr(C, align(16))]
struct Descriptors([AtomicU64; 6]);
#[repr(C, align(16))]
struct Task([AtomicU64; 13]);
#[repr(C, align(16))]
struct Stack([AtomicU64; 1024]);

/// Gives the first CPU's exceptions a stack of their own, so that they can come with any stack pointer.
pub fn use_own_stack() {
    /// Null, 64-bit code, data, 32-bit code: as the entry's. An available 64-bit TSS follows.
    static DESCRIPTORS: Descriptors = Descriptors([
        AtomicU64::new(0),
        AtomicU64::new(0x00AF_9B00_0000_FFFF),
        AtomicU64::new(0x00CF_9300_0000_FFFF),
        AtomicU64::new(0x00CF_9B00_0000_FFFF),
        AtomicU64::new(0),
        AtomicU64::new(0),
    ]);
    /// Its word 4 holds most of IST1, which is at offset 36.
    static TASK: Task = Task([const { AtomicU64::new(0) }; 13]);
    static STACK: Stack = Stack([const { AtomicU64::new(0) }; 1024]);
    const AVAILABLE_TASK: u64 = 0x89 << 40;
    const FIRST_STACK: u64 = 1 << 32;

    let top = STACK.0.as_ptr_range().end as u64;
    TASK.0[4].store(top << 32, Ordering::SeqCst);
    TASK.0[5].store(top >> 32, Ordering::SeqCst);
    let task = TASK.0.as_ptr() as u64;
    let low = (size_of::<Task>() as u64 - 1) | (task & 0xFF_FFFF) << 16 | AVAILABLE_TASK;
    DESCRIPTORS.0[4].store(low | (task >> 24 & 0xFF) << 56, Ordering::SeqCst);
    DESCRIPTORS.0[5].store(task >> 32, Ordering::SeqCst);
    let base = DESCRIPTORS.0.as_ptr() as u64;
    let limit = size_of::<Descriptors>() as u64 - 1;
    let pointer = [limit | base << 16, base >> 48];
    // SAFETY: the descriptors in use are the same as before; nobody else writes the others.
    unsafe {
        asm!("lgdt [{}]", "ltr {:x}", in(reg) &raw const pointer, in(reg) TASK_SELECTOR, options(nostack));
    }
    for gate in GATES.0.iter().take(FIRST_INTERRUPT as usize) {
        gate[0].fetch_or(FIRST_STACK, Ordering::SeqCst);
    }
}

/// An instruction that does not exist.
pub fn undefined() {
    // SAFETY: takes an exception, and the vectors decide what becomes of it.
    unsafe { asm!("ud2", options(nostack)) }
}

/// From here on interrupts that nobody asked for are passed over, and a call that one finds is given up.
pub(crate) fn tolerate() {
    TOLERANT.store(true, Ordering::SeqCst);
}

#[unsafe(no_mangle)]
extern "C" fn guest_trap(frame: &mut Frame) {
    if frame.vector < FIRST_INTERRUPT {
        return exception(frame);
    }
    let now = timer::now();
    let is_tolerant = TOLERANT.load(Ordering::SeqCst);
    if is_tolerant {
        give_up(frame);
    }
    let ipis = IPIS..IPIS + 16;
    match frame.vector as u8 {
        TIMER => {
            timer::stop();
            taken::note_timer();
            if is_tolerant && taken::timer().is_multiple_of(PATIENCE) {
                // It may come without end.
                interrupts::stop_counting();
            }
        }
        EVENTS => taken::note_events(event::take()),
        OWN_EVENTS => {
            let cpu = cpus::this();
            interrupts::note_own_events(cpu, event::take_of(cpu));
        }
        FORGET => mmu::forget(),
        vector if ipis.contains(&vector) => taken::note_ipi(cpus::this()),
        _ if is_tolerant => {}
        other => panic!("interrupt {other:#x} was never enabled"),
    }
    taken::note_arrival(now);
    if frame.vector != u64::from(EVENTS) {
        interrupts::end();
    }
}

/// A call that gives way is made again and again, with the instruction pointer on it, until it is done: to be rid of it, a
/// guest goes on behind it.
fn give_up(frame: &mut Frame) {
    // It may have been interrupted where nothing is any more.
    let [first, second, third, _] = (hostile::load(frame.rip, 2) as u32).to_le_bytes();
    if hypercall::is_call([first, second, third]) {
        hostile::note_given_up();
        frame.rip += 3;
    }
}

fn exception(frame: &mut Frame) {
    let fixup = fixups().iter().find(|fixup| fixup[0] == frame.rip);
    if let Some([_, behind]) = fixup {
        super::hostile::note_fault();
        frame.rip = *behind;
        return;
    }
    if frame.vector == NMI && TOLERANT.load(Ordering::SeqCst) {
        return;
    }
    let way_back = WAY_BACK.load(Ordering::SeqCst);
    if way_back != 0 && !place::own().contains(&frame.rip) {
        super::hostile::note_fault();
        frame.rip = way_back;
        return;
    }
    let address: u64;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nostack)) };
    panic!(
        "unexpected exception {}: error code {:#x} RIP {:#x} CR2 {address:#x} RSP {:#x}",
        frame.vector, frame.error_code, frame.rip, frame.rsp
    )
}

fn fixups() -> &'static [[u64; 2]] {
    let first = &raw const __fixups_start;
    let bytes = (&raw const __fixups_end) as usize - first as usize;
    // SAFETY: the linker script has nothing but pairs of addresses between the two symbols.
    unsafe { core::slice::from_raw_parts(first, bytes / size_of::<[u64; 2]>()) }
}
