//! The hypervisor's own page tables, as values: an identity map in the largest pages that fit.

/// Rights and memory type of a mapping, as bits of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Not mapped.
    Nothing,
    /// Code.
    Text,
    /// Read-only data.
    Constants,
    /// RAM.
    Data,
    /// Device registers: uncached.
    Device,
}

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const UNCACHED: u64 = 1 << 3 | 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x000F_FFFF_FFFF_F000;
const PAGE_SHIFT: u32 = 12;

impl Kind {
    fn bits(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Text => PRESENT | ACCESSED,
            Self::Constants => PRESENT | ACCESSED | NO_EXECUTE,
            Self::Data => PRESENT | ACCESSED | DIRTY | WRITABLE | NO_EXECUTE,
            Self::Device => PRESENT | ACCESSED | DIRTY | WRITABLE | UNCACHED | NO_EXECUTE,
        }
    }
}

/// One table.
#[repr(C, align(4096))]
pub(crate) struct Table(pub(crate) [u64; 512]);

/// Tables that are used up in turn; the first is the root. They lie at `base`, one after the other.
pub(crate) struct Tables<'a> {
    pool: &'a mut [Table],
    base: u64,
    used: usize,
    has_gigabyte_pages: bool,
}

/// There are not enough tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

const fn size(level: u32) -> u64 {
    1 << (PAGE_SHIFT + 9 * level)
}

const fn slot(address: u64, level: u32) -> usize {
    (address >> (PAGE_SHIFT + 9 * level) & 0x1FF) as usize
}

impl<'a> Tables<'a> {
    /// An address space that maps nothing.
    pub(crate) fn new(pool: &'a mut [Table], base: u64, has_gigabyte_pages: bool) -> Self {
        Self {
            pool,
            base,
            used: 1,
            has_gigabyte_pages,
        }
    }

    /// Maps whole pages one to one, over what was mapped before.
    pub(crate) fn map(&mut self, start: u64, end: u64, kind: Kind) -> Result<(), Full> {
        let mut at = start & !0xFFF;
        while at < end {
            let level = self.level_for(at, end - at);
            self.set(at, level, kind)?;
            at += size(level);
        }
        Ok(())
    }

    fn level_for(&self, at: u64, left: u64) -> u32 {
        let fits = |level: u32| at.is_multiple_of(size(level)) && left >= size(level);
        match () {
            () if self.has_gigabyte_pages && fits(2) => 2,
            () if fits(1) => 1,
            () => 0,
        }
    }

    fn set(&mut self, address: u64, level: u32, kind: Kind) -> Result<(), Full> {
        let mut table = 0;
        for above in (level + 1..4).rev() {
            table = self.below(table, address, above)?;
        }
        let large = if level > 0 && kind != Kind::Nothing {
            LARGE
        } else {
            0
        };
        let frame = if kind == Kind::Nothing { 0 } else { address };
        if let Some(entry) = self.entry(table, slot(address, level)) {
            *entry = frame | large | kind.bits();
        }
        Ok(())
    }

    fn entry(&mut self, table: usize, slot: usize) -> Option<&mut u64> {
        self.pool.get_mut(table)?.0.get_mut(slot)
    }

    /// The table that an entry points to; made if there is none, with what a large page mapped.
    fn below(&mut self, table: usize, address: u64, level: u32) -> Result<usize, Full> {
        let entry = *self.entry(table, slot(address, level)).ok_or(Full)?;
        if entry & PRESENT != 0 && entry & LARGE == 0 {
            return Ok((((entry & FRAME) - self.base) >> PAGE_SHIFT) as usize);
        }
        let new = self.used;
        let content = self.pool.get_mut(new).ok_or(Full)?;
        self.used += 1;
        if entry & PRESENT != 0 {
            let kept = if level == 1 { entry & !LARGE } else { entry };
            for (index, part) in content.0.iter_mut().enumerate() {
                *part = kept + index as u64 * size(level - 1);
            }
        }
        let pointer = self.base + ((new as u64) << PAGE_SHIFT);
        if let Some(entry) = self.entry(table, slot(address, level)) {
            *entry = pointer | PRESENT | WRITABLE | ACCESSED;
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x40_0000;

    fn pool(count: usize) -> Vec<Table> {
        (0..count).map(|_| Table([0; 512])).collect()
    }

    /// The entry that maps an address, and its level.
    fn walk(pool: &[Table], address: u64) -> Option<(u64, u32)> {
        let mut table = 0;
        for level in (0..4).rev() {
            let entry = pool[table].0[slot(address, level)];
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                return Some((entry, level));
            }
            table = (((entry & FRAME) - BASE) >> PAGE_SHIFT) as usize;
        }
        None
    }

    #[test]
    fn pages_are_as_large_as_can_be_and_split_where_they_must() {
        let mut pool = pool(8);
        let mut tables = Tables::new(&mut pool, BASE, true);
        tables
            .map(0x10_0000, 0x8000_0000, Kind::Data)
            .expect("room");
        tables.map(0x20_0000, 0x20_3000, Kind::Text).expect("room");
        tables
            .map(0x20_3000, 0x20_4000, Kind::Nothing)
            .expect("room");
        assert_eq!(walk(&pool, 0xF_F000), None);
        assert_eq!(
            walk(&pool, 0x10_1234),
            Some((0x10_1000 | Kind::Data.bits(), 0))
        );
        assert_eq!(
            walk(&pool, 0x20_2000),
            Some((0x20_2000 | Kind::Text.bits(), 0))
        );
        assert_eq!(walk(&pool, 0x20_3000), None);
        assert_eq!(
            walk(&pool, 0x20_4000),
            Some((0x20_4000 | Kind::Data.bits(), 0))
        );
        assert_eq!(
            walk(&pool, 0x60_0000),
            Some((0x60_0000 | LARGE | Kind::Data.bits(), 1))
        );
        assert_eq!(
            walk(&pool, 0x4123_4567),
            Some((0x4000_0000 | LARGE | Kind::Data.bits(), 2))
        );
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        for kind in [Kind::Text, Kind::Constants, Kind::Data, Kind::Device] {
            let bits = kind.bits();
            assert!(bits & WRITABLE == 0 || bits & NO_EXECUTE != 0, "{kind:?}");
        }
    }

    #[test]
    fn a_gigabyte_page_is_split_twice() {
        let mut pool = pool(4);
        let mut tables = Tables::new(&mut pool, BASE, true);
        tables.map(0, 0x4000_0000, Kind::Data).expect("room");
        tables.map(0x1000, 0x2000, Kind::Device).expect("room");
        assert_eq!(walk(&pool, 0x1000), Some((0x1000 | Kind::Device.bits(), 0)));
        assert_eq!(walk(&pool, 0x2000), Some((0x2000 | Kind::Data.bits(), 0)));
        assert_eq!(
            walk(&pool, 0x3FE0_0000),
            Some((0x3FE0_0000 | LARGE | Kind::Data.bits(), 1))
        );
        let mut tables = Tables::new(&mut pool, BASE, false);
        tables.used = 4;
        assert_eq!(tables.map(0x8000_0000, 0x8000_1000, Kind::Data), Err(Full));
    }
}
