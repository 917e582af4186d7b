//! Frames of RAM, by their machine address.
//!
//! # Why this is sound
//! All RAM is mapped one to one (`hw/mmu.rs` of each architecture). Which frames these functions are called for,
//! `hv_common::arch` says: RAM of domains, page tables and shared pages, never a frame that holds a Rust value. Guests may
//! use such a frame at the same time; words are therefore atomics, and copies move bytes whose values mean nothing to the
//! compiler.

use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;

use hv_abi::{FRAME_SHIFT, FRAME_SIZE};
use hv_common::arch::{Mfn, Words};

/// How a CPU moves many bytes.
///
/// # Implementation safety
/// The functions write what they say they do, and nothing else.
pub unsafe trait Bytes {
    /// Copies `length` bytes.
    ///
    /// # Safety
    /// As [`core::ptr::copy_nonoverlapping`].
    unsafe fn copy(from: *const u8, to: *mut u8, length: usize);

    /// Fills a frame with zero.
    ///
    /// # Safety
    /// `frame` is the first byte of a frame that is mapped and holds no Rust value.
    unsafe fn clear(frame: *mut u8);
}

/// The frames, reached by the CPU's own way of moving bytes.
#[derive(Debug)]
pub struct Frames<B>(PhantomData<B>);

/// The machine address of a frame, as a pointer.
#[inline(always)]
#[must_use]
pub fn pointer(frame: Mfn) -> *mut u8 {
    (frame.0 << FRAME_SHIFT) as *mut u8
}

/// The part of a frame that an access touches, if it is within it.
#[inline]
fn part(frame: Mfn, offset: usize, length: usize) -> Option<*mut u8> {
    let end = offset.checked_add(length)?;
    (end <= FRAME_SIZE).then(|| pointer(frame).wrapping_add(offset))
}

impl<B: Bytes> Frames<B> {
    /// A frame as words.
    #[inline]
    #[must_use]
    pub fn words(frame: Mfn) -> &'static Words {
        // SAFETY: RAM that is mapped for ever and holds no Rust value (module); any bits are atomics.
        unsafe { &*pointer(frame).cast::<Words>() }
    }

    /// Copies out of a frame; nothing if the range is not within it.
    #[inline]
    pub fn read(frame: Mfn, offset: usize, out: &mut [u8]) {
        if let Some(from) = part(frame, offset, out.len()) {
            // SAFETY: `from` is within a mapped frame that holds no Rust value, so it does not overlap `out`.
            unsafe { B::copy(from, out.as_mut_ptr(), out.len()) };
        }
    }

    /// Copies into a frame; nothing if the range is not within it.
    #[inline]
    pub fn write(frame: Mfn, offset: usize, bytes: &[u8]) {
        if let Some(to) = part(frame, offset, bytes.len()) {
            // SAFETY: `to` is within a mapped frame that holds no Rust value, so it does not overlap `bytes`.
            unsafe { B::copy(bytes.as_ptr(), to, bytes.len()) };
        }
    }

    /// Copies between frames; nothing if a range is not within its frame.
    pub fn copy(from: (Mfn, usize), to: (Mfn, usize), length: usize) {
        let source = part(from.0, from.1, length);
        let target = part(to.0, to.1, length);
        if let (Some(source), Some(target)) = (source, target) {
            if from.0 == to.0 {
                // SAFETY: both are within a mapped frame that holds no Rust value.
                unsafe { core::ptr::copy(source, target, length) };
            } else {
                // SAFETY: both are within mapped frames that hold no Rust value, and the frames differ.
                unsafe { B::copy(source, target, length) };
            }
        }
    }

    /// Fills a frame with zero.
    pub fn clear(frame: Mfn) {
        // SAFETY: a mapped frame that holds no Rust value (module).
        unsafe { B::clear(pointer(frame)) };
    }
}

/// Clears memory and makes words of it: the frame metadata.
///
/// Called once, at boot, for a place in mapped RAM that nothing else uses and that is kept out of the frame pool.
#[must_use]
pub fn zeroed_words(base: u64, count: u64) -> &'static [AtomicU64] {
    let words = base as *mut u64;
    // SAFETY: see above: exclusive, mapped, aligned to a frame.
    unsafe { core::ptr::write_bytes(words, 0, count as usize) };
    // SAFETY: as above; from here on the words are reached as atomics only.
    unsafe { core::slice::from_raw_parts(words.cast::<AtomicU64>(), count as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;

    // SAFETY: the standard library's.
    unsafe impl Bytes for Plain {
        unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
            // SAFETY: what the caller vouches for.
            unsafe { core::ptr::copy_nonoverlapping(from, to, length) };
        }

        unsafe fn clear(frame: *mut u8) {
            // SAFETY: what the caller vouches for.
            unsafe { frame.write_bytes(0, FRAME_SIZE) };
        }
    }

    type Memory = Frames<Plain>;

    #[repr(C, align(4096))]
    struct Frame([u8; FRAME_SIZE]);

    /// Two frames of this process, which nothing refers to.
    fn two_frames() -> (Mfn, Mfn) {
        let frame = || {
            let bytes = Box::into_raw(Box::new(Frame([0xA5; FRAME_SIZE])));
            Mfn(bytes.expose_provenance() as u64 >> FRAME_SHIFT)
        };
        (frame(), frame())
    }

    #[test]
    fn what_is_written_is_read_and_copied() {
        let (one, two) = two_frames();
        Memory::clear(one);
        Memory::write(one, 8, &[1, 2, 3]);
        Memory::copy((one, 8), (two, FRAME_SIZE - 3), 3);
        Memory::copy((one, 8), (one, 9), 3);
        let mut out = [0; 5];
        Memory::read(one, 7, &mut out);
        assert_eq!(out, [0, 1, 1, 2, 3]);
        let mut end = [0; 4];
        Memory::read(two, FRAME_SIZE - 4, &mut end);
        assert_eq!(end, [0xA5, 1, 2, 3]);
    }

    #[test]
    fn nothing_beyond_a_frame_is_touched() {
        let (one, two) = two_frames();
        let mut out = [7; 2];
        Memory::read(one, FRAME_SIZE - 1, &mut out);
        Memory::read(one, usize::MAX, &mut out);
        assert_eq!(out, [7, 7]);
        Memory::write(one, FRAME_SIZE - 1, &[1, 1]);
        Memory::copy((two, 0), (one, FRAME_SIZE - 1), 2);
        let mut last = [0];
        Memory::read(one, FRAME_SIZE - 1, &mut last);
        assert_eq!(last, [0xA5]);
    }
}
