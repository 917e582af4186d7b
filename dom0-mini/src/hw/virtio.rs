//! virtio devices on the rings of virtio-drivers: what all of them share.
//!
//! virtio-drivers' own drivers spin until the device has answered; here buffers stay with the device until it gives
//! them back. Memory is identity-mapped, so a buffer's address is what the device uses.

pub(super) mod console;
pub(crate) mod disk;

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Memory and addresses for the device: the heap, identity-mapped.
pub(super) struct IdentityMapped;

fn pages_layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a few pages")
}

// SAFETY: memory comes zeroed and aligned from the heap and is not handed out twice; virtual, guest-physical and machine
// addresses of Domain-0's memory are equal (design: Domain-0 is identity-mapped).
unsafe impl Hal for IdentityMapped {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(pages_layout(pages)) };
        let memory = NonNull::new(memory).expect("heap exhausted");
        (memory.as_ptr() as PhysAddr, memory)
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller returns what `dma_alloc` gave it, with the same page count.
        unsafe { dealloc(memory.as_ptr(), pages_layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).expect("device registers are not at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

bitflags::bitflags! {
    /// The features we negotiate.
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        /// A block device that takes no writes (virtio 1.2, 5.2.3).
        const READ_ONLY = 1 << 5;
        /// A block device with a cache, and a command that empties it. Without, a write that is done lasts (5.2.6.2).
        const FLUSH = 1 << 9;
        /// The device follows the standard and not its draft; what is no legacy device insists on it.
        const VERSION_1 = 1 << 32;
    }
}
