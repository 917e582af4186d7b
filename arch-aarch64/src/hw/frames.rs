//! How this CPU moves the bytes of frames, and publishes them to those who do not look into its caches.

use arch_common::hw::frames::Bytes;
use hv_abi::FRAME_SIZE;
use hv_common::arch::Mfn;

/// Does something to each 64 bytes from `start` on; `length` is a multiple of 1024.
#[cfg(target_arch = "aarch64")]
macro_rules! each_line {
    ($start:expr, $length:expr, $($instruction:literal),+) => {{
        let start: *mut u8 = $start;
        core::arch::asm!(
            "2:",
            ".rept 16",
            $($instruction,)+
            "add {at}, {at}, #64",
            ".endr",
            "cmp {at}, {end}",
            "b.lo 2b",
            at = inout(reg) start => _,
            end = in(reg) start.wrapping_add($length),
            options(nostack),
        )
    }};
}

/// Frames of RAM.
pub(crate) type Frames = arch_common::hw::frames::Frames<Blocks>;

/// Blocks of 64 bytes: without vector registers the compiler's own copy moves 8 at a time.
#[derive(Debug)]
pub(crate) struct Blocks;

// SAFETY: each writes what the trait says, from `to` or `frame` upwards, and nothing beyond it.
unsafe impl Bytes for Blocks {
    #[inline]
    unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        #[cfg(target_arch = "aarch64")]
        let done = {
            // SAFETY: what the caller vouches for.
            let large = unsafe { copy_blocks::<256>(from, to, length) };
            let (from, to) = (from.wrapping_add(large), to.wrapping_add(large));
            // SAFETY: the rest of it.
            large + unsafe { copy_blocks::<64>(from, to, length - large) }
        };
        #[cfg(not(target_arch = "aarch64"))]
        let done = 0;
        let (from, to) = (from.wrapping_add(done), to.wrapping_add(done));
        // SAFETY: the rest of what the caller vouches for.
        unsafe { core::ptr::copy_nonoverlapping(from, to, length - done) };
    }

    unsafe fn clear(frame: *mut u8) {
        #[cfg(target_arch = "aarch64")]
        if zero_block_is_64() {
            // SAFETY: DC ZVA zeroes 64 bytes at a time, from the start to the end of the frame that the caller vouches for.
            unsafe { each_line!(frame, FRAME_SIZE, "dc zva, {at}") };
            return;
        }
        // SAFETY: what the caller vouches for.
        unsafe { frame.write_bytes(0, FRAME_SIZE) };
    }
}

/// Moves whole blocks of 64 or 256 bytes; returns how much that was.
///
/// # Safety
/// As [`Bytes::copy`].
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn copy_blocks<const SIZE: usize>(from: *const u8, to: *mut u8, length: usize) -> usize {
    let blocks = length - length % SIZE;
    if blocks == 0 {
        return 0;
    }
    // SAFETY: moves `blocks` bytes, which are within what the caller vouches for.
    unsafe {
        core::arch::asm!(
            "2:",
            ".set at, 0",
            ".rept {size} / 32",
            "ldp {a}, {b}, [{from}, #at]",
            "ldp {c}, {d}, [{from}, #at + 16]",
            "stp {a}, {b}, [{to}, #at]",
            "stp {c}, {d}, [{to}, #at + 16]",
            ".set at, at + 32",
            ".endr",
            "add {from}, {from}, #{size}",
            "add {to}, {to}, #{size}",
            "cmp {from}, {end}",
            "b.lo 2b",
            size = const SIZE,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            end = in(reg) from.wrapping_add(blocks),
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(nostack),
        );
    }
    blocks
}

#[cfg(target_arch = "aarch64")]
fn zero_block_is_64() -> bool {
    use super::registers::DCZID_EL0;
    use tock_registers::interfaces::Readable;
    DCZID_EL0.get() & 0x1F == 4
}

/// Cleans frames out of the data caches, to the point where a guest without caches sees them, and drops what was
/// fetched from them as instructions.
pub(crate) fn publish(frame: Mfn, count: u64) {
    #[cfg(target_arch = "aarch64")]
    {
        let start = arch_common::hw::frames::pointer(frame);
        let length = (count as usize).saturating_mul(FRAME_SIZE);
        // SAFETY: cleaning lines of a mapped range does not change what memory holds. Lines are 64 bytes or more on
        // every CPU with EL2 that we know.
        unsafe { each_line!(start, length, "dc civac, {at}") };
        forget_instructions();
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = (frame, count);
}

/// Clears a frame and publishes it, a line at a time.
pub(crate) fn clear_and_publish(frame: Mfn) {
    #[cfg(target_arch = "aarch64")]
    if zero_block_is_64() {
        let start = arch_common::hw::frames::pointer(frame);
        // SAFETY: DC ZVA zeroes the frame, 64 bytes at a time, which is its owner's to clear; cleaning what it wrote does
        // not change memory. Lines are 64 bytes or more, as in `publish`.
        unsafe { each_line!(start, FRAME_SIZE, "dc zva, {at}", "dc civac, {at}") };
        return forget_instructions();
    }
    Frames::clear(frame);
    publish(frame, 1);
}

/// Waits until what was cleaned is in memory, and drops what was fetched as instructions.
#[cfg(target_arch = "aarch64")]
fn forget_instructions() {
    // SAFETY: barriers, and an instruction cache that is filled again from memory.
    unsafe { core::arch::asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack)) };
}
