//! The management server as a sans-IO library.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod console;
pub mod ring;
pub mod scrollback;
