//! The store: blobs and snapshots in frames claimed from the host's free memory, and files and the log on a disk.

pub(crate) mod blobs;
pub(crate) mod content;
mod database_file;
pub mod disk;
pub(crate) mod files;
pub mod keeper;
pub mod partition;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod snapshots;
mod superblock;
#[cfg(test)]
mod tests;
pub mod volume;
