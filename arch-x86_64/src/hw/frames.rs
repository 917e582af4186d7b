//! How this CPU moves the bytes of frames: by string instructions.

use arch_common::hw::frames::Bytes;
use hv_abi::FRAME_SIZE;

/// Frames of RAM.
pub(crate) type Frames = arch_common::hw::frames::Frames<Strings>;

/// String instructions, which move whole lines.
#[derive(Debug)]
pub(crate) struct Strings;

// SAFETY: each writes what the trait says: RDI is where, RCX how much, and the direction flag is clear in Rust code.
unsafe impl Bytes for Strings {
    #[inline]
    unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: what the caller vouches for. By words, because emulators take each step of a repetition for itself.
        unsafe {
            core::arch::asm!(
                "rep movsq",
                "mov ecx, {rest:e}",
                "rep movsb",
                rest = in(reg) length % 8,
                inout("rcx") length / 8 => _,
                inout("rdi") to => _,
                inout("rsi") from => _,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    unsafe fn clear(frame: *mut u8) {
        // SAFETY: what the caller vouches for.
        unsafe {
            core::arch::asm!(
                "rep stosq",
                inout("rcx") FRAME_SIZE / 8 => _,
                inout("rdi") frame => _,
                in("rax") 0_u64,
                options(nostack, preserves_flags),
            );
        }
    }
}
