// Exception vectors of EL2, and the way into and out of a guest.
//
// While a guest runs, SP_EL2 points at its Context (hw/world.rs); the host's stack pointer is in it. An exception from
// the guest saves the general registers there and returns to the caller of `enter_guest`, as if that call ended.
// An exception from EL2 itself is a bug: registers go to this CPU's crash frame (TPIDR_EL2) and Rust reports them.

.macro from_guest cause
.balign 128
    stp     x0, x1, [sp, #0]
    mov     x0, #\cause
    b       leave_guest
.endm

.macro from_host kind
.balign 128
    msr     sp_el0, x0                  // the guest's registers are lost: so is everything
    mov     x0, #\kind
    b       host_fault
.endm

.text
.balign 2048
.global vectors
vectors:
    from_host 0                         // SP_EL0: never used
    from_host 1
    from_host 2
    from_host 3
    from_host 4                         // SP_EL2
    from_host 5
    from_host 6
    from_host 7
    from_guest 0                        // AArch64: synchronous, IRQ, FIQ, SError
    from_guest 1
    from_guest 1
    from_guest 2
    from_guest 0                        // AArch32
    from_guest 1
    from_guest 1
    from_guest 2

// x0: Context. Returns the cause in x0.
.global enter_guest
enter_guest:
    stp     x29, x30, [sp, #-96]!
    stp     x27, x28, [sp, #16]
    stp     x25, x26, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x21, x22, [sp, #64]
    stp     x19, x20, [sp, #80]
    mov     x1, sp
    str     x1, [x0, #{HOST_SP}]
    mov     sp, x0
    ldp     x1, x2, [x0, #{PC}]
    msr     elr_el2, x1
    msr     spsr_el2, x2
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp, #0]
    eret
    dsb     nsh                         // nothing is speculated past the return
    isb

leave_guest:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mrs     x1, elr_el2
    mrs     x2, spsr_el2
    stp     x1, x2, [sp, #{PC}]
    ldr     x1, [sp, #{HOST_SP}]
    mov     sp, x1
    ldp     x27, x28, [sp, #16]
    ldp     x25, x26, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x21, x22, [sp, #64]
    ldp     x19, x20, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

host_fault:
    msr     tpidr_el0, x1               // no memory is known to be sound yet
    mrs     x1, tpidr_el2
    cbz     x1, hang
    add     x1, x1, #{CRASH}
    stp     x2, x3, [x1, #16]
    stp     x4, x5, [x1, #32]
    stp     x6, x7, [x1, #48]
    stp     x8, x9, [x1, #64]
    stp     x10, x11, [x1, #80]
    stp     x12, x13, [x1, #96]
    stp     x14, x15, [x1, #112]
    stp     x16, x17, [x1, #128]
    stp     x18, x19, [x1, #144]
    stp     x20, x21, [x1, #160]
    stp     x22, x23, [x1, #176]
    stp     x24, x25, [x1, #192]
    stp     x26, x27, [x1, #208]
    stp     x28, x29, [x1, #224]
    mov     x2, sp
    stp     x30, x2, [x1, #240]
    mrs     x2, sp_el0
    mrs     x3, tpidr_el0
    stp     x2, x3, [x1, #0]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x1, #256]
    mrs     x2, esr_el2
    mrs     x3, far_el2
    stp     x2, x3, [x1, #272]
    mrs     x2, tpidr_el2
    mov     x3, #{EMERGENCY}
    add     x2, x2, x3
    mov     sp, x2
    mov     x2, x0
    mov     x0, x1
    mov     x1, x2
    bl      {rust_host_fault}
hang:
    wfi
    b       hang
