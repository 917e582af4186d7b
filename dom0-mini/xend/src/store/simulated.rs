//! A disk for tests that loses its power.
//!
//! What is written stays in a write cache until a flush. At a cut each sector in the cache is lost, kept, or torn, as a
//! seeded generator says; and each is one of the versions that were written since the last flush, so that writes take
//! effect in any order.

use super::disk::{Disk, DiskError, SECTOR};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::vec::Vec;
use std::{fmt, vec};

type Sector = [u8; SECTOR];

/// The medium and its cache.
struct Medium {
    sectors: u64,
    /// What outlives a cut. Sectors never written are zero.
    durable: BTreeMap<u64, Sector>,
    /// Versions written since the last flush, the newest last.
    cached: BTreeMap<u64, Vec<Sector>>,
    /// Writes and flushes so far.
    operations: u64,
    /// After so many operations nothing is done any more.
    cut_after: Option<u64>,
    honours_flush: bool,
}

/// A handle on the disk; all handles are on the same one.
#[derive(Clone)]
pub(crate) struct SimulatedDisk(Arc<Mutex<Medium>>);

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedDisk")
    }
}

impl SimulatedDisk {
    pub(crate) fn new(mib: u64) -> Self {
        Self(Arc::new(Mutex::new(Medium {
            sectors: mib * 1024 * 1024 / SECTOR as u64,
            durable: BTreeMap::new(),
            cached: BTreeMap::new(),
            operations: 0,
            cut_after: None,
            honours_flush: true,
        })))
    }

    /// From now on flushes are acknowledged and do nothing.
    pub(crate) fn ignore_flushes(&self) {
        self.0.lock().unwrap().honours_flush = false;
    }

    /// The power fails after so many more writes and flushes.
    pub(crate) fn cut_after(&self, operations: u64) {
        let mut medium = self.0.lock().unwrap();
        medium.cut_after = Some(medium.operations + operations);
    }

    /// Writes and flushes so far.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// The power comes back: what was in the cache has met its fate.
    pub(crate) fn power_up(&self, random: &mut Random) {
        let mut medium = self.0.lock().unwrap();
        medium.cut_after = None;
        for (sector, versions) in std::mem::take(&mut medium.cached) {
            let old = medium.durable.get(&sector).copied().unwrap_or([0; SECTOR]);
            let new = versions[random.below(versions.len() as u64) as usize];
            let content = match random.below(4) {
                0 => old,
                1 => torn(&old, &new, random),
                _ => new,
            };
            medium.durable.insert(sector, content);
        }
    }

    /// All that was written is on the medium.
    pub(crate) fn settle(&self) {
        self.0.lock().unwrap().write_back();
    }

    /// Sectors that were ever written.
    pub(crate) fn written(&self) -> Vec<u64> {
        self.0.lock().unwrap().durable.keys().copied().collect()
    }

    /// A disk with the same durable content.
    pub(crate) fn copy(&self) -> Self {
        let medium = self.0.lock().unwrap();
        Self(Arc::new(Mutex::new(Medium {
            durable: medium.durable.clone(),
            cached: BTreeMap::new(),
            cut_after: None,
            ..*medium
        })))
    }

    /// Overwrites a sector behind the store's back.
    pub(crate) fn overwrite(&self, sector: u64, content: Sector) {
        self.0.lock().unwrap().durable.insert(sector, content);
    }
}

/// The beginning of one and the end of the other.
fn torn(old: &Sector, new: &Sector, random: &mut Random) -> Sector {
    let place = random.below(SECTOR as u64) as usize;
    let (mut sector, other) = if random.below(2) == 0 {
        (*new, old)
    } else {
        (*old, new)
    };
    sector[place..].copy_from_slice(&other[place..]);
    sector
}

impl Medium {
    /// Counts an operation; an error once the power is gone.
    fn operate(&mut self) -> Result<(), DiskError> {
        if self.cut_after.is_some_and(|cut| self.operations >= cut) {
            return Err(DiskError::Device);
        }
        self.operations += 1;
        Ok(())
    }

    fn write_back(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.cached) {
            if let Some(newest) = versions.last() {
                self.durable.insert(sector, *newest);
            }
        }
    }

    fn check(&self, sector: u64, length: usize) -> Result<(), DiskError> {
        assert_eq!(length % SECTOR, 0, "an access of whole sectors");
        let end = sector + (length / SECTOR) as u64;
        (end <= self.sectors)
            .then_some(())
            .ok_or(DiskError::OutOfRange)
    }
}

impl Disk for SimulatedDisk {
    fn sectors(&self) -> u64 {
        self.0.lock().unwrap().sectors
    }

    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let medium = self.0.lock().unwrap();
        medium.check(sector, into.len())?;
        if medium.cut_after.is_some_and(|cut| medium.operations >= cut) {
            return Err(DiskError::Device);
        }
        for (sector, into) in (sector..).zip(into.chunks_exact_mut(SECTOR)) {
            let cached = medium
                .cached
                .get(&sector)
                .and_then(|versions| versions.last());
            let content = cached.or_else(|| medium.durable.get(&sector));
            into.copy_from_slice(content.unwrap_or(&[0; SECTOR]));
        }
        Ok(())
    }

    /// One sector is one operation: the power may fail between any two.
    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        let mut medium = self.0.lock().unwrap();
        medium.check(sector, from.len())?;
        for (sector, from) in (sector..).zip(from.as_chunks::<SECTOR>().0) {
            medium.operate()?;
            medium.cached.entry(sector).or_default().push(*from);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let mut medium = self.0.lock().unwrap();
        medium.operate()?;
        if medium.honours_flush {
            medium.write_back();
        }
        Ok(())
    }
}

/// A generator of numbers from a seed (SplitMix64): a failing run is repeated by its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }

    pub(crate) fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            *byte = self.next() as u8;
        }
    }
}
