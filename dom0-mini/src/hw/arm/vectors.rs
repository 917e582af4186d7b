//! Exception vectors. Interrupts are never unmasked, so anything that arrives here is a bug: it is reported on the
//! hypervisor's console and Domain-0 ends as crashed.

use aarch64_cpu::registers::{ELR_EL1, ESR_EL1, FAR_EL1, Readable, VBAR_EL1, Writeable};
use core::arch::global_asm;

global_asm!(
    r#"
    .section .text
    .balign 2048
    .globl dom0_vectors
dom0_vectors:
    .rept 16
    .balign 128
    mov     x0, sp
    mov     x1, x29
    mov     x2, x30
    b       dom0_fault
    .endr
"#
);

unsafe extern "C" {
    static dom0_vectors: u8;
}

/// Points VBAR_EL1 at the vectors above.
pub(super) fn install() {
    // The address of a symbol, not its value: nothing is read.
    VBAR_EL1.set((&raw const dom0_vectors) as u64);
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}

#[unsafe(no_mangle)]
extern "C" fn dom0_fault(sp: u64, frame: u64, link: u64) -> ! {
    panic!(
        "unexpected exception: ESR_EL1 {:#x} ELR_EL1 {:#x} FAR_EL1 {:#x} SP {sp:#x} FP {frame:#x} LR {link:#x} image {:#x}",
        ESR_EL1.get(),
        ELR_EL1.get(),
        FAR_EL1.get(),
        crate::hw::memory::image_start(),
    );
}
