//! A disk that loses its power: what an NBD server ([`crate::nbd`]) serves in the power-cut tests.
//!
//! What is written stays in a cache until a flush. When the power fails, each sector in the cache is lost, kept or torn, and
//! is any of the versions that were written since the last flush, as a seeded generator says.

use std::collections::BTreeMap;

use crate::random::Random;

/// Bytes of a sector: what a disk writes whole, or tears.
pub const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    sectors: u64,
    durable: BTreeMap<u64, Sector>,
    /// Versions written since the last flush, the newest last.
    cached: BTreeMap<u64, Vec<Sector>>,
    /// Sectors that are written before the power fails.
    left: Option<u64>,
    honours_flush: bool,
    traffic: Traffic,
}

/// What was asked of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that read.
    pub reads: u64,
    /// Requests that write.
    pub writes: u64,
    /// Sectors that they wrote.
    pub sectors: u64,
    /// Flushes.
    pub flushes: u64,
}

impl Traffic {
    /// What of it was not yet in `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            writes: self.writes - earlier.writes,
            sectors: self.sectors - earlier.sectors,
            flushes: self.flushes - earlier.flushes,
        }
    }
}

/// The power is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn new(mib: u64) -> Self {
        Self {
            sectors: mib * 1024 * 1024 / SECTOR as u64,
            durable: BTreeMap::new(),
            cached: BTreeMap::new(),
            left: None,
            honours_flush: true,
            traffic: Traffic::default(),
        }
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// From now on flushes are acknowledged and do nothing.
    pub fn ignore_flushes(&mut self) {
        self.honours_flush = false;
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.sectors * SECTOR as u64
    }

    /// The power fails after so many more sectors are written.
    pub fn cut_after(&mut self, sectors: u64) {
        self.left = Some(sectors);
    }

    /// Whether it has.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.left == Some(0)
    }

    /// The power comes back: what was in the cache has met its fate.
    pub fn power_up(&mut self, random: &mut Random) {
        self.left = None;
        for (sector, versions) in std::mem::take(&mut self.cached) {
            let old = self.content(sector);
            let new = versions[random.below(versions.len())];
            let content = match random.below(4) {
                0 => old,
                1 => torn(&old, &new, random),
                _ => new,
            };
            self.durable.insert(sector, content);
        }
    }

    /// Sectors with something in them that was flushed.
    #[must_use]
    pub fn in_use(&self) -> Vec<u64> {
        let used = self
            .durable
            .iter()
            .filter(|(_, content)| **content != [0; SECTOR]);
        used.map(|(sector, _)| *sector).collect()
    }

    /// Overwrites a sector while nobody looks.
    pub fn overwrite(&mut self, sector: u64, content: Sector) {
        self.durable.insert(sector, content);
    }

    fn content(&self, sector: u64) -> Sector {
        self.durable.get(&sector).copied().unwrap_or([0; SECTOR])
    }

    /// Reads whole sectors.
    ///
    /// # Errors
    /// [`Cut`].
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Cut> {
        if self.is_cut() {
            return Err(Cut);
        }
        self.traffic.reads += 1;
        for (sector, into) in (offset / SECTOR as u64..).zip(into.as_chunks_mut::<SECTOR>().0) {
            let cached = self
                .cached
                .get(&sector)
                .and_then(|versions| versions.last());
            *into = cached.copied().unwrap_or_else(|| self.content(sector));
        }
        Ok(())
    }

    /// Writes whole sectors; the power may fail between any two.
    ///
    /// # Errors
    /// [`Cut`].
    pub fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), Cut> {
        for (sector, from) in (offset / SECTOR as u64..).zip(from.as_chunks::<SECTOR>().0) {
            if self.is_cut() {
                return Err(Cut);
            }
            self.left = self.left.map(|left| left - 1);
            self.traffic.sectors += 1;
            self.cached.entry(sector).or_default().push(*from);
        }
        self.traffic.writes += 1;
        Ok(())
    }

    /// Makes what is written last.
    ///
    /// # Errors
    /// [`Cut`].
    pub fn flush(&mut self) -> Result<(), Cut> {
        if self.is_cut() {
            return Err(Cut);
        }
        self.traffic.flushes += 1;
        if self.honours_flush {
            for (sector, versions) in std::mem::take(&mut self.cached) {
                self.durable
                    .extend(versions.last().map(|newest| (sector, *newest)));
            }
        }
        Ok(())
    }
}

/// The beginning of one and the end of the other.
fn torn(old: &Sector, new: &Sector, random: &mut Random) -> Sector {
    let place = random.below(SECTOR);
    let (mut sector, end) = match random.below(2) {
        0 => (*new, old),
        _ => (*old, new),
    };
    sector[place..].copy_from_slice(&end[place..]);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: [u8; SECTOR] = [7; SECTOR];

    fn read(disk: &mut Disk, sector: u64) -> Result<Sector, Cut> {
        let mut content = [0; SECTOR];
        disk.read(sector * SECTOR as u64, &mut content)?;
        Ok(content)
    }

    #[test]
    fn what_is_flushed_outlives_a_cut() {
        for seed in 0..20 {
            let mut disk = Disk::new(1);
            disk.write(512, &NEW).unwrap();
            disk.flush().unwrap();
            disk.power_up(&mut Random::seeded(seed));
            assert_eq!(read(&mut disk, 1), Ok(NEW));
        }
    }

    #[test]
    fn what_is_not_flushed_may_be_lost_kept_or_torn() {
        let mut seen = [0; 3];
        for seed in 0..100 {
            let mut disk = Disk::new(1);
            disk.write(512, &NEW).unwrap();
            assert_eq!(read(&mut disk, 1), Ok(NEW));
            disk.power_up(&mut Random::seeded(seed));
            let content = read(&mut disk, 1).unwrap();
            let kind = match content.iter().filter(|byte| **byte == 7).count() {
                0 => 0,
                SECTOR => 1,
                _ => 2,
            };
            seen[kind] += 1;
        }
        assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
    }

    #[test]
    fn nothing_is_done_once_the_power_is_gone() {
        let mut disk = Disk::new(1);
        disk.cut_after(1);
        assert_eq!(disk.write(0, &[1; 2 * SECTOR]), Err(Cut));
        assert_eq!(disk.flush(), Err(Cut));
        assert_eq!(read(&mut disk, 0), Err(Cut));
        assert!(disk.is_cut());
    }

    #[test]
    fn what_is_asked_of_it_is_counted() {
        let mut disk = Disk::new(1);
        disk.write(512, &[1; 3 * SECTOR]).unwrap();
        let before = disk.traffic();
        disk.write(0, &NEW).unwrap();
        disk.flush().unwrap();
        read(&mut disk, 0).unwrap();
        disk.flush().unwrap();
        let since = Traffic {
            reads: 1,
            writes: 1,
            sectors: 1,
            flushes: 2,
        };
        assert_eq!(disk.traffic().since(before), since);
        assert_eq!((before.writes, before.sectors), (1, 3));
    }
}
