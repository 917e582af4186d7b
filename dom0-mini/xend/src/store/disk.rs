//! A disk, as the store sees it: sectors that are read, written, and made to last by a flush.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use spin::Mutex;

/// Bytes in a sector.
pub const SECTOR: usize = 512;

/// Why a disk did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// There is no such sector, or the length is not a whole number of sectors.
    OutOfRange,
    /// It is write-protected.
    ReadOnly,
    /// The device failed.
    Device,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "access beyond the end of the disk",
            Self::ReadOnly => "the disk is write-protected",
            Self::Device => "the disk reports a failure",
        })
    }
}

impl core::error::Error for DiskError {}

/// A disk. Its methods return when the work is done.
pub trait Disk: fmt::Debug + Send + 'static {
    /// How many sectors it has.
    fn sectors(&self) -> u64;

    /// Reads whole sectors from `sector` on.
    ///
    /// # Errors
    /// See [`DiskError`]; what `into` holds then is undefined.
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError>;

    /// Writes whole sectors from `sector` on. Until the next flush a power cut may undo any of them, in any order; one
    /// that is written just then may be torn.
    ///
    /// # Errors
    /// See [`DiskError`].
    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything written before is there after a power cut.
    ///
    /// # Errors
    /// See [`DiskError`].
    fn flush(&mut self) -> Result<(), DiskError>;
}

/// A disk, for all who use it.
pub type SharedDisk = Arc<Mutex<Box<dyn Disk>>>;
