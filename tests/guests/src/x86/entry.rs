//! The first instructions, of the first CPU and of all others.
//!
//! The first is entered as a PVH guest is (Xen's `pvh.pandoc`): 32-bit protected mode with flat segments, paging off,
//! `ebx` = address of `hvm_start_info`. The others come from a start-up IPI: in real mode, at a page below 1 MiB that
//! [`super::cpus`] copies their code to. All go on to long mode with the first 4 GiB mapped one to one (Intel SDM volume
//! 3, 10.8.5). One that is started by a call is there from its first instruction on.
// UNSAFETY: the code before there is a stack.
#![expect(unsafe_code, reason = "entry from the boot protocol")]

use core::arch::global_asm;

use super::{apics, boot, cpus, interrupts, vectors};
use crate::cpus::STACK_LOG2;
use crate::program;

global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long   4, 8, 18                    // PHYS32_ENTRY
    .asciz  "Xen"
    .quad   _start

    .section .rodata.guest_gdt, "a"
    .balign 8
    .globl guest_gdt
guest_gdt:                              // accessed bits set: the CPU has nothing to write here
    .quad   0
    .quad   0x00AF9B000000FFFF          // 0x08: 64-bit code
    .quad   0x00CF93000000FFFF          // 0x10: data
    .quad   0x00CF9B000000FFFF          // 0x18: 32-bit code
guest_gdt_end:
guest_gdt_pointer:                      // for 32-bit code too, which takes less of it
    .short  guest_gdt_end - guest_gdt - 1
    .quad   guest_gdt

    .section .head, "ax"
    .code32
    .globl _start
_start:
    cli
    cld
    movl    $__bss_start, %edi
    movl    $__bss_end, %ecx
    subl    %edi, %ecx
    shrl    $2, %ecx
    xorl    %eax, %eax
    rep stosl

    movl    $guest_tables, %edi         // PML4, page-directory-pointer table, four page directories
    leal    0x1003(%edi), %eax          // present, writable
    movl    %eax, (%edi)
    leal    0x2003(%edi), %eax
    leal    0x1000(%edi), %esi
    movl    $4, %ecx
1:  movl    %eax, (%esi)
    addl    $0x1000, %eax
    addl    $8, %esi
    decl    %ecx
    jnz     1b
    leal    0x2000(%edi), %esi
    movl    $0x83, %eax                 // present, writable, 2 MiB
    movl    $2048, %ecx
2:  movl    %eax, (%esi)
    addl    $0x200000, %eax
    addl    $8, %esi
    decl    %ecx
    jnz     2b
    xorl    %ebp, %ebp                  // the first CPU

long_mode:
    movl    $guest_tables, %eax
    movl    %eax, %cr3
    movl    %cr4, %eax
    orl     $0x20, %eax                 // PAE
    movl    %eax, %cr4
    movl    $0xC0000080, %ecx           // IA32_EFER
    rdmsr
    orl     $0x900, %eax                // LME, NXE
    wrmsr
    movl    $0x80010033, %eax           // PG, WP, NE, MP, PE; caches on
    movl    %eax, %cr0
    lgdtl   guest_gdt_pointer
    ljmpl   $0x08, $3f

    .code64
3:  movl    $0x10, %eax
    movl    %eax, %ss
    movl    %eax, %ds
    movl    %eax, %es
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    testl   %ebp, %ebp
    jnz     4f
    movl    $__stack_top, %esp
    movl    %ebx, %edi
    call    guest_entry
    ud2

4:  movl    $1, %eax                    // the APIC's number is in bits 24 to 31 of EBX
    cpuid
    shrl    $24, %ebx
    xorl    %edi, %edi
5:  cmpl    %ebx, apic_ids(,%rdi,4)
    je      6f
    incl    %edi
    jmp     5b
6:  leal    1(%edi), %esp
    shll    ${stack_log2}, %esp
    addq    $cpu_stacks, %rsp
    xorl    %ebp, %ebp
    call    cpu_entry
    ud2

    .globl cpu_start_by_call
cpu_start_by_call:                      // in long mode already, with a stack
    lgdtq   guest_gdt_pointer
    movl    $1, %ebp                    // another CPU
    pushq   $0x08
    pushq   $3b
    lretq

    .code32
protected_mode:
    movl    $0x10, %eax
    movl    %eax, %ss
    movl    %eax, %ds
    movl    %eax, %es
    movl    $1, %ebp                    // another CPU
    jmp     long_mode

    .code16
    .globl cpu_start
cpu_start:                              // copied: only its own labels, relative to CS
    cli
    movw    %cs, %ax
    movw    %ax, %ds
    lgdtl   (cpu_start_gdt - cpu_start)
    movl    $0x11, %eax                 // PE, ET
    movl    %eax, %cr0
    ljmpl   $0x18, $protected_mode
cpu_start_gdt:
    .short  guest_gdt_end - guest_gdt - 1
    .long   guest_gdt
    .globl cpu_start_end
cpu_start_end:
    .code64
"#,
    stack_log2 = const STACK_LOG2,
    options(att_syntax)
);

/// Called once by the code above, on its stack, with the address of `hvm_start_info`.
#[unsafe(no_mangle)]
extern "C" fn guest_entry(start_info: u64) -> ! {
    boot::started_with(start_info);
    vectors::install();
    apics::init();
    cpus::init_first();
    interrupts::init();
    program::run()
}
