//! Values of the hypervisor in frames of their own.
//!
//! # Why this is sound
//! A [`FrameRun`] is made by the frame pool only and has one owner, so the frames of a value are its own from
//! [`Shared::new`] to [`Shared::end`]; and they are mapped one to one, as all RAM is.

use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use hv_abi::FRAME_SIZE;
use hv_common::memory::frames::FrameRun;

use super::frames::pointer;

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
    pub fn new(run: FrameRun, value: T) -> Self {
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
    pub fn end(self) -> Result<FrameRun, Self> {
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
