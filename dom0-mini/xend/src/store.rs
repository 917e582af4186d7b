//! The store in memory: blobs and snapshots, in frames claimed from the host's free memory.

pub(crate) mod blobs;
pub(crate) mod content;
pub mod disk;
pub(crate) mod snapshots;
