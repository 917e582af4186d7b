//! The store: files and the log, on a disk or in memory; blobs, in frames claimed from the host's free memory while they
//! are used, and in slots of the disk if a file refers to them.

mod blob_area;
pub(crate) mod blobs;
pub(crate) mod content;
mod database_file;
pub mod disk;
pub(crate) mod files;
pub(crate) mod images;
pub mod keeper;
pub(crate) mod loads;
pub mod partition;
pub mod place;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod snapshots;
mod superblock;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;
pub mod volume;
