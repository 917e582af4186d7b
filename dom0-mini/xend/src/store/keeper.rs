//! Who keeps the store: carries out what xend orders, on the disk if there is one.
//!
//! xend never touches a disk: it gives an [`Order`], and hears of its end in an event. The shell around it calls
//! [`Keeper::carry_out`] in between, which may take as long as the disk does.

use super::disk::{Disk, SECTOR, SharedDisk};
use super::partition::Names;
use super::volume::{Change, Mount, Volume, VolumeError};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

/// Files by their paths.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Where the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// In memory: there is no disk.
    #[default]
    Memory,
    /// On a disk.
    Disk {
        /// The disk's size in KiB.
        size_kib: u64,
    },
    /// There is a disk, but nothing is written to it.
    Rescue {
        /// The disk's size in KiB.
        size_kib: u64,
        /// Why.
        reason: String,
    },
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Mounted {
    /// Where the store is.
    pub standing: Standing,
    /// All files.
    pub files: Files,
    /// The log of earlier days.
    pub log: Vec<u8>,
    /// What the log should say about it.
    pub remark: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keep this, all of it or nothing.
    Keep {
        /// Changes of files.
        changes: Vec<Change>,
        /// Text to add to the log.
        log: Vec<u8>,
    },
    /// Make a new store on the disk, whatever is on it.
    Make(Names),
}

/// The disk and the store on it.
#[derive(Debug)]
pub struct Keeper {
    disk: Option<SharedDisk>,
    volume: Option<Volume>,
}

impl Keeper {
    /// Mounts the store of a disk; an empty disk gets one of these names.
    pub fn mount(disk: Option<Box<dyn Disk>>, names: &Names) -> (Self, Mounted) {
        let Some(disk) = disk else {
            let keeper = Self {
                disk: None,
                volume: None,
            };
            let remark = "the store is in memory, as there is no disk".into();
            return (
                keeper,
                Mounted {
                    remark,
                    ..Mounted::default()
                },
            );
        };
        let size_kib = disk.sectors().saturating_mul(SECTOR as u64) / 1024;
        let disk: SharedDisk = Arc::new(Mutex::new(disk));
        let (volume, mounted) = match open(&disk, names) {
            Ok((volume, mount, files, log)) => {
                let mounted = Mounted {
                    standing: Standing::Disk { size_kib },
                    files,
                    log,
                    remark: remark(mount, size_kib),
                };
                (Some(volume), mounted)
            }
            Err(error) => (None, rescue(&error, size_kib)),
        };
        let keeper = Self {
            disk: Some(disk),
            volume,
        };
        (keeper, mounted)
    }

    /// Does what was ordered, and returns when it outlives a power cut.
    ///
    /// # Errors
    /// [`VolumeError::Full`]: nothing is changed; go on. After any other the store is not written to any more.
    pub fn carry_out(&mut self, order: &Order) -> Result<(), VolumeError> {
        let result = match order {
            Order::Keep { changes, log } => match &mut self.volume {
                Some(volume) => volume.apply(changes, log),
                None => Err(VolumeError::Disk("there is no store on it".into())),
            },
            Order::Make(names) => self.make(names),
        };
        if matches!(&result, Err(error) if *error != VolumeError::Full) {
            self.volume = None;
        }
        result
    }

    fn make(&mut self, names: &Names) -> Result<(), VolumeError> {
        let Some(disk) = &self.disk else {
            return Err(VolumeError::Disk("there is none".into()));
        };
        // The old store lets go of the disk first.
        self.volume = None;
        self.volume = Some(Volume::make(disk, names)?);
        Ok(())
    }
}

fn open(disk: &SharedDisk, names: &Names) -> Result<(Volume, Mount, Files, Vec<u8>), VolumeError> {
    let (volume, mount) = Volume::mount(disk, names)?;
    let (files, log) = (volume.files()?, volume.log()?);
    Ok((volume, mount, files, log))
}

fn remark(mount: Mount, size_kib: u64) -> String {
    let mib = size_kib / 1024;
    match mount {
        Mount::Made => format!("the store was made on an empty disk of {mib} MiB"),
        Mount::Found => format!("the store is on a disk of {mib} MiB"),
        Mount::Mended(table) => {
            format!("the store is on a disk of {mib} MiB; {table} was damaged and is mended")
        }
    }
}

fn rescue(error: &VolumeError, size_kib: u64) -> Mounted {
    let reason = format!("{error}");
    Mounted {
        remark: format!("{reason}; nothing is written to it, and the store is in memory"),
        standing: Standing::Rescue { size_kib, reason },
        ..Mounted::default()
    }
}
