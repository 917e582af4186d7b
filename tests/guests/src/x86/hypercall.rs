//! Hypercalls: number in `rax`, arguments in `rdi rsi rdx r10 r8`, result in `rax` (Xen's `arch-x86/xen-x86_64.h`), by the
//! instruction that the vendor has for it.
// UNSAFETY: VMCALL and VMMCALL.
#![expect(unsafe_code, reason = "VMCALL and VMMCALL")]

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU8, Ordering};

use hv_abi::CallNumber;

/// "Auth" and "Hygo", as CPUID has them in EBX.
const OF_SVM: [u32; 2] = [0x6874_7541, 0x6F67_7948];

const UNKNOWN: u8 = 0;
const VMX: u8 = 1;
const SVM: u8 = 2;

static KIND: AtomicU8 = AtomicU8::new(UNKNOWN);

fn is_svm() -> bool {
    match KIND.load(Ordering::Relaxed) {
        UNKNOWN => {
            let is_svm = OF_SVM.contains(&__cpuid(0).ebx);
            KIND.store(if is_svm { SVM } else { VMX }, Ordering::Relaxed);
            is_svm
        }
        kind => kind == SVM,
    }
}

/// Whether these three bytes are a hypercall.
pub(crate) fn is_call(bytes: [u8; 3]) -> bool {
    matches!(bytes, [0x0F, 0x01, 0xC1 | 0xD9])
}

macro_rules! call {
    ($instruction:literal, $number:ident, $args:ident) => {{
        let result;
        // SAFETY: the hypervisor writes rax, the arguments' registers and what the arguments point to, which callers keep
        // exclusively borrowed or share on purpose.
        unsafe {
            asm!(
                $instruction,
                inlateout("rax") $number => result,
                inlateout("rdi") $args[0] => _,
                inlateout("rsi") $args[1] => _,
                inlateout("rdx") $args[2] => _,
                inlateout("r10") $args[3] => _,
                inlateout("r8") $args[4] => _,
                options(nostack),
            );
        }
        result
    }};
}

/// Makes a call with any number and arguments, and returns `rax` as it is.
#[inline]
#[must_use]
pub(crate) fn any(number: u64, args: [u64; 5]) -> u64 {
    if is_svm() {
        call!("vmmcall", number, args)
    } else {
        call!("vmcall", number, args)
    }
}

/// Makes a call and returns `rax` as it is.
#[inline]
#[must_use]
pub fn raw(number: CallNumber, operation: u64, a: u64, b: u64) -> u64 {
    any(number.0, [operation, a, b, 0, 0])
}
