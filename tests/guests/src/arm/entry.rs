//! The Image header and the first instructions (Linux, Documentation/arch/arm64/booting.rst).
//!
//! Entered at EL1 with MMU and caches off. The image is linked at 0, so the run-time address of `__image_start` is the
//! displacement of every `R_AARCH64_RELATIVE` (1027) relocation (ELF for the Arm 64-bit Architecture, 5.7).
// UNSAFETY: the code before there is a stack.
#![expect(unsafe_code, reason = "entry from the boot protocol")]

use core::arch::global_asm;

use super::{boot, gic, mmu, vectors};
use crate::program;

global_asm!(
    r#"
    .section .head, "ax"
    .globl _start
_start:
    b       10f
    nop
    .quad   0               // text_offset
    .quad   __image_size
    .quad   0xa             // little-endian, 4 KiB pages, anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0
10: msr     daifset, #15
    mov     x21, x0
    adrp    x20, __image_start
    adrp    x0, __rela_start
    add     x0, x0, :lo12:__rela_start
    adrp    x1, __rela_end
    add     x1, x1, :lo12:__rela_end
1:  cmp     x0, x1
    b.hs    2f
    ldp     x2, x3, [x0], #16
    ldr     x4, [x0], #8
    cmp     w3, #1027
    b.ne    1b
    add     x4, x4, x20
    str     x4, [x2, x20]
    b       1b
2:  adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
3:  cmp     x0, x1
    b.hs    4f
    stp     xzr, xzr, [x0], #16
    b       3b
4:  adrp    x0, __stack_top
    add     x0, x0, :lo12:__stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x21
    bl      guest_entry
    b       .
"#
);

/// Called once by the code above, on its stack, with the address of the device tree.
#[unsafe(no_mangle)]
extern "C" fn guest_entry(tree: u64) -> ! {
    boot::found_at(tree);
    vectors::install();
    mmu::enable();
    gic::init();
    program::run()
}
