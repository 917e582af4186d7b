// The image's first instructions. Boot protocol: Linux Documentation/arch/arm64/booting.rst. MMU and data caches are
// off, x0 is the device tree, the image is anywhere on a 2 MiB boundary.
//
// What happens here: EL2 is checked; stale cache lines over everything written with caches off are dropped, before and
// after; relocation; BSS; a coarse identity map (1 GiB blocks: the image's and the device tree's are RAM, the rest are
// device registers nobody executes); caches on; a stack; Rust.

.section .head, "ax"
.global _start
_start:
    b       entry                       // code0
    .long   0                           // code1
    .quad   0                           // text_offset
    .quad   __image_size
    .quad   0xa                         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

.macro drop_lines from, to              // clobbers x1-x3
    mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4
    mov     x2, #4
    lsl     x3, x2, x3                  // bytes in a line
    adrp    x1, \from
    add     x1, x1, :lo12:\from
    adrp    x2, \to
    add     x2, x2, :lo12:\to
1:  dc      ivac, x1
    add     x1, x1, x3
    cmp     x1, x2
    b.lo    1b
    dsb     sy
.endm

.text
entry:
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    park
    msr     daifset, #0xf
    mov     x19, x0
    mov     x1, #(1 << 31)              // HCR_EL2.RW; E2H off
    msr     hcr_el2, x1
    isb
    mov     x1, #0x0830                 // SCTLR_EL2.RES1, all else off
    movk    x1, #0x30c5, lsl #16
    msr     sctlr_el2, x1
    isb

    drop_lines __bss_start, __bss_end

    // Relocate: every entry of .rela.dyn is R_AARCH64_RELATIVE.
    adrp    x0, __image_start
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
2:  cmp     x1, x2
    b.hs    3f
    ldp     x3, x4, [x1], #16
    ldr     x5, [x1], #8
    cmp     w4, #1027
    b.ne    2b
    add     x5, x5, x0
    str     x5, [x0, x3]
    b       2b
3:
    adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
4:  stp     xzr, xzr, [x1], #16
    cmp     x1, x2
    b.lo    4b

    // Boot tables: one root entry, 512 GiB around the image.
    adrp    x1, boot_root
    adrp    x2, boot_giant
    orr     x3, x2, #3
    lsr     x4, x0, #39
    str     x3, [x1, x4, lsl #3]
    lsl     x5, x4, #39
    mov     x6, #0x401                  // block, device (index 0), accessed
    movk    x6, #0x0040, lsl #48        // XN
    orr     x5, x5, x6
    mov     x6, #(1 << 30)
    mov     x7, #0
5:  str     x5, [x2, x7, lsl #3]
    add     x5, x5, x6
    add     x7, x7, #1
    cmp     x7, #512
    b.lo    5b
    mov     x6, #0x705                  // block, normal (index 1), inner shareable, accessed
    mov     x7, x0
    bl      boot_ram
    mov     x7, x19
    lsr     x8, x7, #39
    cmp     x8, x4
    b.ne    6f
    movk    x6, #0x0040, lsl #48
    lsr     x8, x7, #30
    lsr     x9, x0, #30
    cmp     x8, x9
    b.eq    6f
    bl      boot_ram
6:
    drop_lines __relocated_start, __bss_end
    adrp    x0, boot_root
    bl      enable_mmu

    adrp    x1, __stack_top
    mov     sp, x1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el2, x1
    mov     x29, #0
    mov     x30, #0
    adrp    x1, __image_start
    mov     x0, x19
    bl      {rust_entry}
park:
    wfi
    b       park

// A further CPU's first instructions, by PSCI CPU_ON: MMU off, x0 is its `Start` (hw/boot.rs), which is in memory and
// not in caches only.
.global further_entry
further_entry:
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    park
    msr     daifset, #0xf
    mov     x1, #(1 << 31)              // as above
    msr     hcr_el2, x1
    mov     x1, #0x0830
    movk    x1, #0x30c5, lsl #16
    msr     sctlr_el2, x1
    isb
    ldp     x19, x20, [x0]              // stack, number
    ldr     x0, [x0, #16]               // root table
    bl      enable_mmu
    mov     sp, x19
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el2, x1
    mov     x29, #0
    mov     x30, #0
    mov     x0, x20
    bl      {rust_further_entry}
    b       park

// x7: an address whose GiB is RAM; x6: attributes; x2: table. Clobbers x8, x9.
boot_ram:
    lsr     x8, x7, #30
    and     x9, x8, #511
    lsl     x8, x8, #30
    orr     x8, x8, x6
    str     x8, [x2, x9, lsl #3]
    ret

// x0: root table. Identity maps on both sides, so the switch may happen with the MMU off in between; no memory access
// is made then. Clobbers x1-x4.
.global enable_mmu
enable_mmu:
    mrs     x1, sctlr_el2
    bic     x2, x1, #1
    msr     sctlr_el2, x2
    isb
    mov     x3, #0xff04                 // MAIR: 0 device nGnRE, 1 normal write-back
    msr     mair_el2, x3
    mov     x3, #0x3510                 // T0SZ 16, walks write-back inner shareable, 4 KiB
    movk    x3, #0x8080, lsl #16        // RES1
    mrs     x4, id_aa64mmfr0_el1
    and     x4, x4, #0xf
    cmp     x4, #5
    mov     x2, #5
    csel    x4, x4, x2, lo              // 48 bits at most
    bfi     x3, x4, #16, #3
    msr     tcr_el2, x3
    msr     ttbr0_el2, x0
    dsb     ishst
    tlbi    alle2
    ic      iallu
    dsb     ish
    isb
    mov     x2, #0x1005                 // I, C, M
    orr     x1, x1, x2
    orr     x1, x1, #8                  // SA
    msr     sctlr_el2, x1
    isb
    ret

.section .bss.boot_tables, "aw", @nobits
.balign 4096
boot_root: .skip 4096
boot_giant: .skip 4096
