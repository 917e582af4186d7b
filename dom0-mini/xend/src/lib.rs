//! The management server as a sans-IO library.
//!
//! The shell around it (dom0-mini) owns the link, the clock and the hypercalls. It makes a [`Xend`] with a
//! [`Hypervisor`], gives it every [`Event`], sends every [`Effect`], and lets it [`work`](Xend::work) one bounded step
//! at a time while there [is work](Xend::has_work); nothing here blocks, reads a clock or spawns anything.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod build;
pub mod console;
mod event;
pub mod hypervisor;
mod lifecycle;
mod policy;
mod record;
pub mod ring;
pub mod scrollback;
pub mod xenstore;
mod server;
mod session;

pub use event::{Effect, Event, Facts, Now, SessionId, StreamId};
pub use hypervisor::Hypervisor;
pub use server::Xend;
