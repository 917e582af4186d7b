# From the boot loader to Rust: 32-bit protected mode without paging (PVH: EBX is the address of hvm_start_info;
# multiboot2: EAX is its magic number, EBX the address of its information), to long mode with the first 4 GiB mapped one to
# one. Cleared memory is the loader's doing.

.section .multiboot2, "a"
.balign 8
multiboot2_header:
    .long 0xE85250D6
    .long 0
    .long multiboot2_end - multiboot2_header
    .long -(0xE85250D6 + (multiboot2_end - multiboot2_header))
    # Information requests: command line (1), modules (3), memory map (6), ACPI (14, 15).
    .balign 8
    .short 1, 0
    .long 28
    .long 1, 3, 6, 14, 15
    # Entry address.
    .balign 8
    .short 3, 0
    .long 12
    .long multiboot2_entry
    # Modules at pages.
    .balign 8
    .short 6, 0
    .long 8
    .balign 8
    .short 0, 0
    .long 8
multiboot2_end:

.section .note.Xen, "a", @note
.balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_entry

.section .head, "ax"
.code32
.global pvh_entry
pvh_entry:
    xor esi, esi
    jmp boot_entry

.global multiboot2_entry
multiboot2_entry:
    mov esi, eax

boot_entry:
    cli
    cld
    mov edi, ebx
    mov esp, offset __stack_top
    # Long mode is what everything here needs. A CPU without it is told about by a letter: there is nothing else yet.
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    bt edx, 29
    jnc no_long_mode

    # The first 4 GiB in pages of 2 MiB.
    mov eax, 0x83
    xor ecx, ecx
2:  mov edx, eax
    mov [boot_directories + ecx * 8], eax
    mov dword ptr [boot_directories + ecx * 8 + 4], 0
    add eax, 0x200000
    inc ecx
    cmp ecx, 2048
    jne 2b
    mov eax, offset boot_directories + 3
    xor ecx, ecx
2:  mov [boot_pointers + ecx * 8], eax
    add eax, 0x1000
    inc ecx
    cmp ecx, 4
    jne 2b
    mov dword ptr [boot_root], offset boot_pointers + 3

    mov eax, offset boot_root
    mov cr3, eax
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    # LME and NXE.
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x900
    wrmsr
    # PG, WP, NE, MP, PE; caches on.
    mov eax, 0x80010033
    mov cr0, eax
    mov eax, offset boot_gdt_pointer
    lgdt [eax]
    # A far jump: the assembler has no direct one in this syntax.
    mov eax, offset long_entry
    push 8
    push eax
    retf

no_long_mode:
    mov edx, 0x3F8
    mov esi, offset no_long_mode_text
2:  lodsb
    test al, al
    jz 3f
    out dx, al
    jmp 2b
3:  hlt
    jmp 3b

no_long_mode_text:
    .asciz "Alcove needs a 64-bit CPU.\r\n"

.balign 8
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF
    .quad 0x00CF93000000FFFF
boot_gdt_pointer:
    .short 3 * 8 - 1
    .long boot_gdt

.code64
long_entry:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    lea rsp, [rip + __stack_top]
    xor ebp, ebp
    mov edi, edi
    mov esi, esi
    call {rust_entry}
    ud2

# Copied to a page below 1 MiB (hw/boot.rs), where further CPUs start in real mode: CS is the page. The last bytes of the
# page after it are written by who starts them.
.section .rodata
.balign 16
.global further_start
further_start:
.code16
    cli
    cld
    mov ax, cs
    mov ds, ax
    # EBX: the page.
    xor ebx, ebx
    mov bx, ax
    shl ebx, 4
    # LGDT of what is at that offset: two symbols in an operand are more than the assembler takes.
    .byte 0x0F, 0x01, 0x16
    .short further_gdt_pointer - further_start
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xEA
further_jump:
    .long further_protected - further_start
    .short 24
.code32
further_protected:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    lea esp, [ebx + 0x1FE0]
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, [ebx + 0x1FE0]
    mov cr3, eax
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033
    mov cr0, eax
    mov eax, [ebx + 0x1FE8]
    push 8
    push eax
    retf
# Selectors of long mode are those of the tables that follow (hw/cpu.rs).
further_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF
    .quad 0x00CF93000000FFFF
    .quad 0x00CF9B000000FFFF
.global further_gdt_pointer
further_gdt_pointer:
    .short 4 * 8 - 1
    .long 0
.global further_end
further_end:

.section .text
.code64
.global further_long
further_long:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    # EBX is the page: what to start with is in it.
    mov ebx, ebx
    mov rsp, [rbx + 0x1FF0]
    mov rdi, [rbx + 0x1FF8]
    xor ebp, ebp
    call {rust_further_entry}
    ud2

.section .bss
.balign 4096
boot_root:
    .skip 4096
boot_pointers:
    .skip 4096
boot_directories:
    .skip 4 * 4096
