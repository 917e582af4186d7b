//! What goes into xend and what comes out of it.

use crate::store::keeper::Carried;
use crate::store::volume::VolumeError;
use alloc::{string::String, vec::Vec};
use mgmt_proto::messages::BootPhase;

/// A session of the link.
pub type SessionId = u16;

/// A stream within a session.
pub type StreamId = u16;

/// The time of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// System time: nanoseconds since the hypervisor started.
    pub mono_ns: u64,
    /// Wall-clock time, nanoseconds since 1970, where there is a clock.
    pub wall_ns: Option<u64>,
}

/// Facts that do not change while xend runs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The board's name, such as `qemu-virt`.
    pub board: String,
    /// `aarch64` or `x86_64`.
    pub arch: String,
    /// The hypervisor's name and version.
    pub hypervisor: String,
    /// How long each phase from reset on took.
    pub boot_phases: Vec<BootPhase>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A client opened a session.
    SessionOpened(SessionId),
    /// A session ended, whichever way.
    SessionClosed(SessionId),
    /// A message of a client.
    Message {
        /// Its session.
        session: SessionId,
        /// The stream it came on; the answer goes there.
        stream: StreamId,
        /// The encoded message.
        bytes: &'a [u8],
    },
    /// A port of ours (bound by xend) is pending.
    Port(u32),
    /// `VIRQ_DOM_EXC`: a domain changed its state.
    DomainsChanged,
    /// There is new text in the hypervisor's log.
    LogGrew,
    /// The store's keeper is through with its order.
    Kept(Result<&'a Carried, &'a VolumeError>),
    /// The time of [`Xend::next_deadline`](crate::Xend::next_deadline) has come, or just some time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to a client.
    Send {
        /// Its session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
        /// The encoded message.
        bytes: Vec<u8>,
    },
    /// End this session once what was sent is out.
    Close(SessionId),
}
