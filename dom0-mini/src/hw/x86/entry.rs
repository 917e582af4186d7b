//! The first instructions: find out where we are, clear BSS, enter long mode, relocate, go to Rust.
//!
//! Entered as a PVH guest is: 32-bit protected mode with flat segments, paging off, interrupts off, `ebx` = machine
//! address of the start page ([`hv_abi::start::Dom0Start`]). There is no stack yet; where the image is, the start page
//! says. The image is linked at 0 and begins with this code, so its run-time address is the displacement of every
//! `R_X86_64_RELATIVE` (8) relocation (System V ABI, AMD64 supplement, 4.4).
//!
//! The page tables built here map the first 4 GiB one to one with 2 MiB pages, everything writable and executable, and
//! last until [`super::page_tables`] has better ones. Long mode: Intel SDM volume 3, 10.8.5 "Initializing IA-32e Mode".

use core::arch::global_asm;
use core::mem::offset_of;

use hv_abi::start::{Dom0Start, Range};

global_asm!(
    r#"
    .section .bss.boot_tables, "aw", @nobits
    .balign 4096
boot_tables:                            # PML4, page-directory-pointer table, four page directories
    .skip   6 * 4096

    .section .rodata.boot_gdt, "a"
    .balign 8
boot_gdt:                               # accessed bits set: the CPU has nothing to write here
    .quad   0
    .quad   0x00AF9B000000FFFF          # 0x08: 64-bit code
    .quad   0x00CF93000000FFFF          # 0x10: data
boot_gdt_end:

    .section .head, "ax"
    .code32
    .globl _start
_start:
.Lbase:
    cli
    cld
    movl    {image}(%ebx), %ebp

    leal    __bss_start - .Lbase(%ebp), %edi
    leal    __bss_end - .Lbase(%ebp), %ecx
    subl    %edi, %ecx
    shrl    $2, %ecx
    xorl    %eax, %eax
    rep stosl

    leal    boot_tables - .Lbase(%ebp), %edi
    leal    0x1003(%edi), %eax          # present, writable
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
    movl    $0x83, %eax                 # present, writable, 2 MiB
    movl    $2048, %ecx
2:  movl    %eax, (%esi)
    addl    $0x200000, %eax
    addl    $8, %esi
    decl    %ecx
    jnz     2b

    movl    %edi, %cr3
    movl    %cr4, %eax
    orl     $0x20, %eax                 # PAE
    movl    %eax, %cr4
    movl    $0xC0000080, %ecx           # IA32_EFER
    rdmsr
    orl     $0x900, %eax                # LME, NXE
    wrmsr
    movl    %cr0, %eax
    orl     $0x80010000, %eax           # PG, WP
    movl    %eax, %cr0

    leal    __stack_top - .Lbase(%ebp), %esp
    leal    boot_gdt - .Lbase(%ebp), %eax
    pushl   %eax
    pushw   $(boot_gdt_end - boot_gdt - 1)
    lgdtl   (%esp)
    pushl   $0x08
    leal    3f - .Lbase(%ebp), %eax
    pushl   %eax
    lretl

    .code64
3:  movl    $0x10, %eax
    movl    %eax, %ss
    movl    %eax, %ds
    movl    %eax, %es
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    movl    %ebp, %ebp                  # upper halves are undefined after the change of mode
    movl    %ebx, %ebx
    leaq    __stack_top(%rip), %rsp

    leaq    __rela_start(%rip), %rsi
    leaq    __rela_end(%rip), %rdi
4:  cmpq    %rdi, %rsi
    jae     6f
    cmpl    $8, 8(%rsi)
    jne     5f
    movq    (%rsi), %rax
    movq    16(%rsi), %rcx
    addq    %rbp, %rcx
    movq    %rcx, (%rax, %rbp)
5:  addq    $24, %rsi
    jmp     4b

6:  movq    %rbx, %rdi
    xorl    %ebp, %ebp
    callq   dom0_entry
    ud2
"#,
    image = const offset_of!(Dom0Start, image) + offset_of!(Range, base),
    options(att_syntax)
);
