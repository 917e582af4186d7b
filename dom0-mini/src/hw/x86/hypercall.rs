//! Hypercalls: through a page of ours that the hypervisor fills with the instruction of its kind, 32 bytes a number.
//! Arguments in `rdi rsi rdx r10 r8`, result in `rax` (Xen's `arch-x86/xen-x86_64.h`).

use core::arch::{asm, global_asm};
use hv_abi::CallNumber;
use hv_abi::layout::x86::HYPERCALL_PAGE_MSR;
use x86_64::registers::model_specific::Msr;

/// Bytes of the page for each number.
const SLOT: u64 = 32;
/// Numbers that the page has slots for.
const SLOTS: u64 = hv_abi::FRAME_SIZE as u64 / SLOT;

// Until the hypervisor has filled it, every call is answered with -ENOSYS.
global_asm!(
    r#"
    .section .text.hypercall_page, "ax"
    .balign 4096
    .globl dom0_hypercall_page
dom0_hypercall_page:
    .rept 128
    movq    $-38, %rax
    ret
    .balign 32, 0xCC
    .endr
    .previous
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static dom0_hypercall_page: u8;
}

fn page() -> u64 {
    // The address of a symbol, not its value: nothing is read.
    (&raw const dom0_hypercall_page) as u64
}

/// Has the hypervisor fill the page.
pub(super) fn install() {
    let mut register = Msr::new(HYPERCALL_PAGE_MSR);
    // SAFETY: the hypervisor fills the page at this address, which is ours, holds nothing but slots, and is not yet in
    // use; memory is mapped one to one.
    unsafe { register.write(page()) };
}

/// Makes a call. Pointers among the arguments must point to memory that may be read or written as the call says.
pub(in crate::hw) fn invoke(number: CallNumber, args: [u64; 5]) -> u64 {
    assert!(number.0 < SLOTS, "no such hypercall");
    let [a0, a1, a2, a3, a4] = args;
    let result;
    // SAFETY: the slot ends with `ret`; the hypervisor writes the registers named here and memory that the call's
    // arguments point to, nothing else; every caller passes addresses of live, exclusively borrowed or
    // shared-by-design memory.
    unsafe {
        asm!(
            "call {slot}",
            slot = in(reg) page() + number.0 * SLOT,
            inlateout("rax") number.0 => result,
            inlateout("rdi") a0 => _,
            inlateout("rsi") a1 => _,
            inlateout("rdx") a2 => _,
            inlateout("r10") a3 => _,
            inlateout("r8") a4 => _,
        );
    }
    result
}
