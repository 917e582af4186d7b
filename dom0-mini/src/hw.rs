//! What touches the machine. The only folder of this crate with unsafe code.
//!
//! [`arm`] or [`x86`] holds what differs: how the image begins, page tables, what an exception is, how a hypercall is
//! made, how an interrupt comes, how a virtio device is reached, which devices can carry the link. Both offer the same
//! names.
// UNSAFETY: entry code, hypercalls, page tables, device memory and DMA buffers cannot be expressed otherwise.
#![expect(
    unsafe_code,
    reason = "hardware access; each block names its invariant"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
use arm as machine;
#[cfg(target_arch = "x86_64")]
use x86 as machine;

mod critical;
pub(crate) mod executor;
pub(crate) mod heap;
pub(crate) mod hypercall;
pub(crate) mod memory;
mod panic;
pub(crate) mod shared_info;
mod start_page;
mod virtio;

pub(crate) use machine::{
    ARCH, counter, interrupts, link, page_tables, real_time_clock, seed, transports,
};
pub(crate) use virtio::disk;
