// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way to xend: where it is, a client's session with it, and the broker that shares one pipe.
//!
//! - [`Host`] is a HOST argument, [`transport`] opens it.
//! - [`Client`] is one session: requests out, answers and progress back.
//! - [`serve`] is the broker: it owns the pipe to xend and serves any number of clients on a socket.
//!
//! All of it is threads and channels: each pipe has a reader and a writer thread ([`port`]), and one
//! loop owns the protocol state and never blocks on a pipe.

mod broker;
mod client;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod port;
#[cfg(test)]
mod tests;
mod transport;

pub(crate) use broker::serve;
pub(crate) use client::{Client, Pending};
pub(crate) use error::LinkError;
pub(crate) use transport::Host;

use std::{
    hash::{BuildHasher, Hasher},
    sync::LazyLock,
    time::{Duration, Instant},
};

/// How long a client waits for xend's welcome.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since this process first asked.
fn now_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How long until a link's deadline.
fn until(deadline: Option<u64>) -> Duration {
    let at = deadline.unwrap_or(u64::MAX);
    Duration::from_millis(at.saturating_sub(now_ms()).clamp(1, 60_000))
}

/// A number no earlier owner of the pipe has used, for Reset.
fn nonce() -> u64 {
    // The standard library's hash keys are random per process.
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}
