//! Assembly that both ways into a guest have in common: general registers, in and out of [`crate::vendor::Registers`].
//!
//! RAX and RSP are not among them: each vendor has its own way with these.

/// Pushes what a function keeps for its caller.
macro_rules! push_kept {
    () => {
        "push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15"
    };
}

/// Takes it back.
macro_rules! pop_kept {
    () => {
        "pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx"
    };
}

/// Loads the guest's from where RDI points. Flags stay as they are.
macro_rules! load_guest {
    () => {
        "mov rcx, [rdi + 8]
        mov rdx, [rdi + 16]
        mov rbx, [rdi + 24]
        mov rbp, [rdi + 40]
        mov rsi, [rdi + 48]
        mov r8, [rdi + 64]
        mov r9, [rdi + 72]
        mov r10, [rdi + 80]
        mov r11, [rdi + 88]
        mov r12, [rdi + 96]
        mov r13, [rdi + 104]
        mov r14, [rdi + 112]
        mov r15, [rdi + 120]
        mov rdi, [rdi + 56]"
    };
}

/// Stores the guest's to where RAX points.
macro_rules! store_guest {
    () => {
        "mov [rax + 8], rcx
        mov [rax + 16], rdx
        mov [rax + 24], rbx
        mov [rax + 40], rbp
        mov [rax + 48], rsi
        mov [rax + 56], rdi
        mov [rax + 64], r8
        mov [rax + 72], r9
        mov [rax + 80], r10
        mov [rax + 88], r11
        mov [rax + 96], r12
        mov [rax + 104], r13
        mov [rax + 112], r14
        mov [rax + 120], r15"
    };
}

pub(super) use {load_guest, pop_kept, push_kept, store_guest};
