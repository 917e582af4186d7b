//! What only unsafe code can do: raw memory.
//!
//! Every block names the invariant that makes it sound. What the linker says of the image exists on bare metal only; on a
//! host the image is empty.
// UNSAFETY: this folder is the boundary to memory.
#![expect(unsafe_code, reason = "the boundary to memory")]

pub mod frames;
pub mod image;
pub mod shared;
