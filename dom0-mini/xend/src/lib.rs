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

mod backend;
mod build;
mod client;
pub mod console;
mod domain;
mod event;
mod events;
#[cfg(test)]
mod fake;
pub mod hypervisor;
mod image;
mod job;
mod lifecycle;
pub mod logbook;
mod managed;
mod nodes;
mod platform;
mod policy;
mod record;
mod refusal;
mod restore;
pub mod ring;
mod save;
mod scheduling;
pub mod scrollback;
mod server;
mod session;
pub mod settings;
pub mod store;
pub mod sxp;
#[cfg(test)]
mod tests;
mod versioned;
pub mod xenstore;

pub use build::elf::fuzz_kernel;
pub use event::{Effect, Event, Facts, Now, SessionId, StreamId};
pub use hypervisor::Hypervisor;
pub use server::Xend;
