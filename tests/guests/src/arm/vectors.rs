//! Exception vectors: interrupts are counted, anything else fails the claim.
// UNSAFETY: exception entry.
#![expect(unsafe_code, reason = "exception entry")]

use core::arch::{asm, global_asm};

use hv_abi::layout::arm::{EVENT_INTID, VIRTUAL_TIMER_INTID};

use super::{cpus, gic, timer};
use crate::{event, taken};

global_asm!(
    r#"
    .section .text
    .balign 2048
    .globl guest_vectors
guest_vectors:
    .rept 5
    .balign 128
    bl      guest_fault
    .endr
    .balign 128             // IRQ, current EL with its own stack
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    stp     x29, xzr, [sp, #160]
    bl      guest_interrupt
    b       11f
    .rept 10
    .balign 128
    bl      guest_fault
    .endr
    .balign 128
11: ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    ldr     x29, [sp, #160]
    add     sp, sp, #192
    eret
"#
);

unsafe extern "C" {
    static guest_vectors: u8;
}

/// Points VBAR_EL1 at the vectors above.
pub(crate) fn install() {
    point_at((&raw const guest_vectors) as u64);
}

/// Makes exceptions lead nowhere: between the interrupt controller and the grant frames no domain has anything.
pub fn lead_nowhere() {
    point_at(0x1000_0000);
}

/// An instruction that does not exist.
pub fn undefined() {
    // SAFETY: takes an exception, and the vectors decide what becomes of it.
    unsafe { asm!("udf #0", options(nostack)) }
}

/// Points VBAR_EL1 at any address: from then on an exception goes there, whatever is there.
pub fn point_at(address: u64) {
    // SAFETY: what an exception does from now on is what the caller wants to find out.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) address, options(nostack)) };
}

#[unsafe(no_mangle)]
extern "C" fn guest_interrupt() {
    let now = timer::now();
    let intid = gic::acknowledge();
    // On a GICv2 an SGI comes with who sent it.
    match intid & 0x3FF {
        0..16 => taken::note_ipi(cpus::this()),
        VIRTUAL_TIMER_INTID => {
            timer::stop();
            taken::note_timer();
        }
        EVENT_INTID => taken::note_events(event::take()),
        // Nothing was pending any more.
        1020.. => return,
        other => panic!("interrupt {other} was never enabled"),
    }
    taken::note_arrival(now);
    gic::end(intid);
}

#[unsafe(no_mangle)]
extern "C" fn guest_fault() -> ! {
    let (syndrome, at, address): (u64, u64, u64);
    // SAFETY: reading the exception's registers has no effect.
    unsafe {
        asm!(
            "mrs {}, esr_el1",
            "mrs {}, elr_el1",
            "mrs {}, far_el1",
            out(reg) syndrome,
            out(reg) at,
            out(reg) address,
            options(nostack),
        );
    }
    panic!("unexpected exception: ESR_EL1 {syndrome:#x} ELR_EL1 {at:#x} FAR_EL1 {address:#x}")
}
