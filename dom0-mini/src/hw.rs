//! What touches the machine. The only folder of this crate with unsafe code.
// UNSAFETY: entry code, hypercalls, page tables, device memory and DMA buffers cannot be expressed otherwise.
#![expect(
    unsafe_code,
    reason = "hardware access; each block names its invariant"
)]

pub(crate) mod counter;
mod entry;
pub(crate) mod executor;
pub(crate) mod heap;
pub(crate) mod hypercall;
pub(crate) mod interrupts;
pub(crate) mod memory;
pub(crate) mod page_tables;
pub(crate) mod shared_info;
mod vectors;
pub(crate) mod virtio;
