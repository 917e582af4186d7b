//! Byte rings in a page shared with a guest.
//!
//! The page is the guest's memory: it may change under us at any moment, and every index in it is hostile. So the page
//! is never borrowed, only copied from and to ([`SharedPage`]); an index is loaded once per operation, masked before it
//! is used, and a pair of indices that claims more bytes than the ring holds makes the operation fail with
//! [`RingBroken`] instead of looping. No state is kept on our side: both indices live in the page, which is what makes
//! save and restore of a ring nothing but save and restore of guest memory.
//!
//! The layout of both users (console, xenstore) is that of Xen's public headers `io/console.h` and `io/xs_wire.h`.

use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;

/// Bytes in a shared page.
pub const PAGE_SIZE: usize = 4096;

/// A 4 KiB page that a guest writes to while we look at it.
///
/// The implementation must tolerate that: volatile or atomic accesses, and never a reference into the page. Callers keep
/// `offset + length` within [`PAGE_SIZE`] and the offset of a `u32` aligned.
pub trait SharedPage {
    /// Loads an index or a flag; what the guest wrote before it is visible afterwards (acquire).
    fn load_u32(&self, offset: usize) -> u32;
    /// Stores an index or a flag; what was written before it is visible to who sees it (release).
    fn store_u32(&self, offset: usize, value: u32);
    /// Loads one byte (acquire).
    fn load_u8(&self, offset: usize) -> u8;
    /// Stores one byte (release).
    fn store_u8(&self, offset: usize, value: u8);
    /// Copies bytes out of the page.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Copies bytes into the page.
    fn write(&self, offset: usize, from: &[u8]);
}

/// A guest's indices contradict each other: more bytes in flight than the ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBroken {
    /// The producer index as it was read.
    pub producer: u32,
    /// The consumer index as it was read.
    pub consumer: u32,
    /// What the ring holds, in bytes.
    pub size: u32,
}

impl fmt::Display for RingBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            producer,
            consumer,
            size,
        } = self;
        write!(
            f,
            "ring indices are impossible: producer {producer}, consumer {consumer}, {size} bytes"
        )
    }
}

/// Where a byte ring lies in its page: data, its size (a power of two), and the offsets of its two free-running indices.
#[derive(Clone, Copy, Debug)]
pub struct ByteRing {
    data: usize,
    size: u32,
    consumer: usize,
    producer: usize,
}

impl ByteRing {
    /// Describes a ring; the numbers are constants of an ABI, so a wrong one fails to compile.
    pub const fn new(data: usize, size: u32, consumer: usize, producer: usize) -> Self {
        assert!(size.is_power_of_two() && data + size as usize <= PAGE_SIZE);
        assert!(consumer.is_multiple_of(4) && consumer + 4 <= PAGE_SIZE);
        assert!(producer.is_multiple_of(4) && producer + 4 <= PAGE_SIZE);
        Self {
            data,
            size,
            consumer,
            producer,
        }
    }

    /// What the ring holds when full, in bytes.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Bytes waiting to be consumed.
    pub fn used(&self, page: &dyn SharedPage) -> Result<u32, RingBroken> {
        self.indices(page).map(|indices| indices.used)
    }

    /// Consumes up to `into.len()` bytes; returns how many.
    pub fn take(&self, page: &dyn SharedPage, into: &mut [u8]) -> Result<usize, RingBroken> {
        let indices = self.indices(page)?;
        let count = into.len().min(indices.used as usize);
        let (into, _) = into.split_at_mut(count);
        let (first, second) = into.split_at_mut(self.before_wrap(indices.consumer, count));
        page.read(self.place(indices.consumer), first);
        page.read(self.data, second);
        page.store_u32(self.consumer, advance(indices.consumer, count));
        Ok(count)
    }

    /// Produces as much of `from` as there is room for; returns how many bytes.
    pub fn put(&self, page: &dyn SharedPage, from: &[u8]) -> Result<usize, RingBroken> {
        let indices = self.indices(page)?;
        let room = self.size.saturating_sub(indices.used) as usize;
        let count = from.len().min(room);
        let (from, _) = from.split_at(count);
        let (first, second) = from.split_at(self.before_wrap(indices.producer, count));
        page.write(self.place(indices.producer), first);
        page.write(self.data, second);
        page.store_u32(self.producer, advance(indices.producer, count));
        Ok(count)
    }

    /// Empties the ring and starts both indices at zero.
    pub fn reset(&self, page: &dyn SharedPage) {
        page.store_u32(self.consumer, 0);
        page.store_u32(self.producer, 0);
    }

    fn indices(&self, page: &dyn SharedPage) -> Result<Indices, RingBroken> {
        let producer = page.load_u32(self.producer);
        let consumer = page.load_u32(self.consumer);
        let used = producer.wrapping_sub(consumer);
        if used > self.size {
            return Err(RingBroken {
                producer,
                consumer,
                size: self.size,
            });
        }
        Ok(Indices {
            producer,
            consumer,
            used,
        })
    }

    fn place(&self, index: u32) -> usize {
        self.data
            .saturating_add((index & self.size.wrapping_sub(1)) as usize)
    }

    /// How many of `count` bytes at `index` lie before the end of the data area.
    fn before_wrap(&self, index: u32, count: usize) -> usize {
        let to_end = self.size.wrapping_sub(index & self.size.wrapping_sub(1));
        count.min(to_end as usize)
    }
}

struct Indices {
    producer: u32,
    consumer: u32,
    used: u32,
}

/// Indices run freely and wrap at 2^32; `count` never exceeds a page.
fn advance(index: u32, count: usize) -> u32 {
    index.wrapping_add(u32::try_from(count).unwrap_or(0))
}

/// A page of ordinary memory that two parties hold: what tests and fuzzers use in place of a guest's page.
///
/// It is strict: an access outside the page or a misaligned index is our bug and panics.
#[derive(Clone)]
pub struct FakePage {
    bytes: Rc<[Cell<u8>]>,
}

impl FakePage {
    /// A page full of zeros.
    pub fn new() -> Self {
        Self {
            bytes: (0..PAGE_SIZE).map(|_| Cell::new(0)).collect(),
        }
    }
}

impl Default for FakePage {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedPage for FakePage {
    fn load_u32(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4), "misaligned index");
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4), "misaligned index");
        self.write(offset, &value.to_le_bytes());
    }

    fn load_u8(&self, offset: usize) -> u8 {
        self.bytes[offset].get()
    }

    fn store_u8(&self, offset: usize, value: u8) {
        self.bytes[offset].set(value);
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        let cells = &self.bytes[offset..offset + into.len()];
        into.iter_mut()
            .zip(cells)
            .for_each(|(byte, cell)| *byte = cell.get());
    }

    fn write(&self, offset: usize, from: &[u8]) {
        let cells = &self.bytes[offset..offset + from.len()];
        from.iter()
            .zip(cells)
            .for_each(|(byte, cell)| cell.set(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteRing, FakePage, RingBroken, SharedPage};
    use alloc::vec::Vec;

    const RING: ByteRing = ByteRing::new(1024, 64, 4000, 4004);

    fn page_at(consumer: u32, producer: u32) -> FakePage {
        let page = FakePage::new();
        page.store_u32(4000, consumer);
        page.store_u32(4004, producer);
        page
    }

    #[test]
    fn bytes_come_out_as_they_went_in_at_every_starting_index() {
        for start in (0..130).chain([u32::MAX - 70, u32::MAX - 3, u32::MAX]) {
            let page = page_at(start, start);
            let sent: Vec<u8> = (0..64).collect();
            assert_eq!(RING.put(&page, &sent), Ok(64));
            assert_eq!(RING.put(&page, b"x"), Ok(0), "a full ring takes nothing");
            let mut got = [0; 64];
            assert_eq!(RING.take(&page, &mut got[..10]), Ok(10));
            assert_eq!(RING.used(&page), Ok(54));
            assert_eq!(RING.take(&page, &mut got[10..]), Ok(54));
            assert_eq!(got.as_slice(), sent);
            assert_eq!(RING.take(&page, &mut got), Ok(0));
        }
    }

    #[test]
    fn the_ring_touches_nothing_outside_its_data_and_indices() {
        let page = page_at(60, 60);
        RING.put(&page, &[0xff; 64]).unwrap();
        for offset in (0..1024).chain(1024 + 64..4000).chain(4008..4096) {
            assert_eq!(page.load_u8(offset), 0, "offset {offset}");
        }
    }

    #[test]
    fn impossible_indices_are_an_error_for_both_directions() {
        for (consumer, producer) in [(0, 65), (1, 0), (u32::MAX, 64), (5, 4), (0, u32::MAX)] {
            let page = page_at(consumer, producer);
            let broken = RingBroken {
                producer,
                consumer,
                size: 64,
            };
            assert_eq!(RING.used(&page), Err(broken));
            assert_eq!(RING.take(&page, &mut [0; 8]), Err(broken));
            assert_eq!(RING.put(&page, b"x"), Err(broken));
        }
    }

    #[test]
    fn reset_makes_a_broken_ring_an_empty_one() {
        let page = page_at(9, 4);
        RING.reset(&page);
        assert_eq!(RING.used(&page), Ok(0));
    }
}
