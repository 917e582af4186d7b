//! Who keeps the store: carries out what xend orders, on the disk if there is one.
//!
//! xend never touches a disk: it gives an [`Order`], and hears of its end in an event. The shell around it calls
//! [`Keeper::carry_out`] in between, which may take as long as the disk does.

use super::disk::{Disk, SECTOR, SharedDisk};
use super::partition::Names;
use super::volume::{Batch, Inventory, Mount, Volume, VolumeError};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

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
    /// All files, and where the blobs are.
    pub inventory: Inventory,
    /// The log of earlier days.
    pub log: Vec<u8>,
    /// What the log should say about it.
    pub remark: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keep this, all of it or nothing.
    Keep(Batch),
    /// Write the beginning of a slot that no blob has yet.
    Write {
        /// The slot.
        slot: u32,
        /// Whole sectors.
        bytes: Vec<u8>,
    },
    /// Read the beginning of a slot.
    Read {
        /// The slot.
        slot: u32,
        /// How many bytes: whole sectors.
        length: usize,
    },
    /// Make a new store on the disk, whatever is on it.
    Make(Names),
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It is done.
    Out,
    /// A new store has so many slots for blobs.
    Made(u32),
    /// What was read.
    Read(Vec<u8>),
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
            Ok((volume, mount, inventory, log)) => {
                let mounted = Mounted {
                    standing: Standing::Disk { size_kib },
                    inventory,
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

    /// Does what was ordered, and returns when it is done: a [`Order::Keep`] when it outlives a power cut.
    ///
    /// # Errors
    /// [`VolumeError::Full`]: nothing is changed; go on. After any other but of a [`Order::Read`] the store is not written
    /// to any more.
    pub fn carry_out(&mut self, order: &Order) -> Result<Carried, VolumeError> {
        let result = match (order, &mut self.volume) {
            (Order::Make(names), _) => self.make(names).map(Carried::Made),
            (Order::Read { slot, length }, Some(volume)) => {
                return volume.read_slot(*slot, *length).map(Carried::Read);
            }
            (Order::Keep(batch), Some(volume)) => volume.apply(batch).map(|()| Carried::Out),
            (Order::Write { slot, bytes }, Some(volume)) => {
                volume.write_slot(*slot, bytes).map(|()| Carried::Out)
            }
            (_, None) => Err(VolumeError::Disk("there is no store on it".into())),
        };
        if matches!(&result, Err(error) if *error != VolumeError::Full) {
            self.volume = None;
        }
        result
    }

    /// How many slots the new store has.
    fn make(&mut self, names: &Names) -> Result<u32, VolumeError> {
        let Some(disk) = &self.disk else {
            return Err(VolumeError::Disk("there is none".into()));
        };
        // The old store lets go of the disk first.
        self.volume = None;
        let volume = Volume::make(disk, names)?;
        Ok(self.volume.insert(volume).slots())
    }
}

fn open(
    disk: &SharedDisk,
    names: &Names,
) -> Result<(Volume, Mount, Inventory, Vec<u8>), VolumeError> {
    let (volume, mount) = Volume::mount(disk, names)?;
    let (inventory, log) = (volume.inventory()?, volume.log()?);
    Ok((volume, mount, inventory, log))
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
