// SPDX-License-Identifier: MIT OR Apache-2.0
//! The management protocol between xenman and xend, for both sides and any transport.
//!
//! - [`messages`]: what is said, in CBOR; `protocol.cddl` is the schema.
//! - [`blob`] and [`snapshot`]: how big things are cut into chunks, named by hash and kept in files.
//! - [`link`]: how messages of many clients share one byte pipe that may lose some.
//! - [`bound`]: the look at every message before it is decoded.
//! - [`config`]: domain configurations in the syntax of xl and xm.
//!
//! Nothing here does I/O, reads a clock or panics on what a peer sends.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod blob;
pub mod bound;
pub mod config;
pub mod link;
pub mod messages;
pub mod snapshot;

/// The most bytes of one encoded message.
pub const MAX_MESSAGE: usize = 96 * 1024;
