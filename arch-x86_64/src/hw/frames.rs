//! Frames of RAM, by their machine address, and values that live in them.
//!
//! # Why this is sound
//! All RAM is mapped one to one (`super::mmu`). Which frames these functions are called for, `hv_common::arch` says:
//! RAM of domains, page tables and shared pages, never a frame that holds a Rust value. Guests may use such a frame at
//! the same time; words are therefore atomics, and copies move bytes whose values mean nothing to the compiler.

use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use hv_abi::{FRAME_SHIFT, FRAME_SIZE};
use hv_common::arch::{Mfn, Words};
use hv_common::memory::frames::FrameRun;

/// The machine address of a frame, as a pointer.
#[inline(always)]
fn pointer(frame: Mfn) -> *mut u8 {
    (frame.0 << FRAME_SHIFT) as *mut u8
}

/// A frame as words.
#[inline]
pub(crate) fn words(frame: Mfn) -> &'static Words {
    // SAFETY: RAM that is mapped for ever and holds no Rust value (module); any bits are atomics.
    unsafe { &*pointer(frame).cast::<Words>() }
}

/// The part of a frame that an access touches, if it is within it.
#[inline]
fn part(frame: Mfn, offset: usize, length: usize) -> Option<*mut u8> {
    let end = offset.checked_add(length)?;
    (end <= FRAME_SIZE).then(|| pointer(frame).wrapping_add(offset))
}

/// Copies out of a frame; nothing if the range is not within it.
#[inline]
pub(crate) fn read(frame: Mfn, offset: usize, out: &mut [u8]) {
    if let Some(from) = part(frame, offset, out.len()) {
        // SAFETY: `from` is within a mapped frame that holds no Rust value, so it does not overlap `out`.
        unsafe { copy_bytes(from, out.as_mut_ptr(), out.len()) };
    }
}

/// Copies into a frame; nothing if the range is not within it.
#[inline]
pub(crate) fn write(frame: Mfn, offset: usize, bytes: &[u8]) {
    if let Some(to) = part(frame, offset, bytes.len()) {
        // SAFETY: `to` is within a mapped frame that holds no Rust value, so it does not overlap `bytes`.
        unsafe { copy_bytes(bytes.as_ptr(), to, bytes.len()) };
    }
}

/// Copies between frames; nothing if a range is not within its frame.
pub(crate) fn copy(from: (Mfn, usize), to: (Mfn, usize), length: usize) {
    let source = part(from.0, from.1, length);
    let target = part(to.0, to.1, length);
    if let (Some(source), Some(target)) = (source, target) {
        if from.0 == to.0 {
            // SAFETY: both are within a mapped frame that holds no Rust value.
            unsafe { core::ptr::copy(source, target, length) };
        } else {
            // SAFETY: both are within mapped frames that hold no Rust value, and the frames differ.
            unsafe { copy_bytes(source, target, length) };
        }
    }
}

/// Copies bytes by the string instruction, which moves whole lines.
///
/// # Safety
/// As [`core::ptr::copy_nonoverlapping`].
#[inline]
unsafe fn copy_bytes(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: what the caller vouches for; the direction flag is clear in Rust code. By words, because emulators take each
    // step of a repetition for itself.
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

/// Fills a frame with zero.
pub(crate) fn clear(frame: Mfn) {
    // SAFETY: a mapped frame that holds no Rust value; the direction flag is clear in Rust code.
    unsafe {
        core::arch::asm!(
            "rep stosq",
            inout("rcx") FRAME_SIZE / 8 => _,
            inout("rdi") pointer(frame) => _,
            in("rax") 0_u64,
            options(nostack, preserves_flags),
        );
    }
}

/// A value in frames of its own.
pub struct Shared<T> {
    cell: NonNull<Cell<T>>,
}

#[repr(C)]
struct Cell<T> {
    holders: AtomicUsize,
    run: FrameRun,
    value: T,
}

impl<T> Shared<T> {
    /// Moves a value into a run.
    pub(crate) fn new(run: FrameRun, value: T) -> Self {
        let needed = size_of::<Cell<T>>();
        assert!(
            needed <= FRAME_SIZE << run.order() && align_of::<Cell<T>>() <= FRAME_SIZE,
            "a shared value does not fit its frames"
        );
        let Some(cell) = NonNull::new(pointer(run.first()).cast::<Cell<T>>()) else {
            panic!("frame 0 was given out");
        };
        let content = Cell {
            holders: AtomicUsize::new(1),
            run,
            value,
        };
        // SAFETY: the run is ours alone (a `FrameRun` is made by the pool only), large enough and aligned to a frame.
        unsafe { cell.write(content) };
        Self { cell }
    }

    /// Takes the value out, drops it and gives the frames back, if nobody else holds it.
    pub(crate) fn end(self) -> Result<FrameRun, Self> {
        // SAFETY: the cell lives as long as a holder, and `self` is one.
        let cell = unsafe { self.cell.as_ref() };
        let alone = cell
            .holders
            .compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed);
        if alone.is_err() {
            return Err(self);
        }
        let pointer = self.cell;
        core::mem::forget(self);
        // SAFETY: there are no other holders, and no new ones: cloning needs one.
        let content = unsafe { pointer.read() };
        let Cell { run, value, .. } = content;
        drop(value);
        Ok(run)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the cell lives as long as a holder, and `self` is one.
        unsafe { &self.cell.as_ref().value }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: the cell lives as long as a holder, and `self` is one.
        let cell = unsafe { self.cell.as_ref() };
        cell.holders.fetch_add(1, Ordering::Relaxed);
        Self { cell: self.cell }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the cell lives as long as a holder, and `self` is one. The last holder ends a value with `end`; a
        // value whose last holder is dropped instead stays where it is, for ever.
        let cell = unsafe { self.cell.as_ref() };
        cell.holders.fetch_sub(1, Ordering::Release);
    }
}

// SAFETY: a holder gives shared access only, from any CPU; the value itself may be shared and moved.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}
