//! The console's page as the device at the guest's end uses it.
//!
//! The layout is that of Xen's public `io/console.h`: input at 0, output at 1024, then the indices. The other end is
//! Domain-0's; the page is the domain's RAM, so its content is as good as written by the guest: indices that claim more
//! than a ring holds make it a ring that neither gives nor takes.

use core::sync::atomic::Ordering;

use crate::arch::Words;

const IN_SIZE: u32 = 1024;
const OUT_SIZE: u32 = 2048;
const OUT_DATA: usize = 1024;
/// Word of `in_cons` (lower half) and `in_prod`.
const IN_INDICES: usize = 3072 / 8;
/// Word of `out_cons` (lower half) and `out_prod`.
const OUT_INDICES: usize = 3080 / 8;
/// A producer's index, plus one.
const PRODUCED: u64 = 1 << 32;
/// Attempts to take a byte while the other end, or the guest, changes the indices.
const ATTEMPTS: usize = 8;

/// What became of a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It is the first one in the ring.
    First,
    /// It is in the ring, which is half full now.
    HalfFull,
    /// It is in the ring.
    More,
    /// There was no room.
    Lost,
}

/// A console's page.
#[derive(Clone, Copy)]
pub(super) struct Ring<'h>(pub(super) &'h Words);

#[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
const fn indices(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Bytes between two indices, if a ring of that size can hold them.
fn used(word: u64, size: u32) -> Option<u32> {
    let (consumer, producer) = indices(word);
    let used = producer.wrapping_sub(consumer);
    (used <= size).then_some(used)
}

/// Where a byte is: its word and the bit it starts at.
fn place(data: usize, index: u32, size: u32) -> (usize, u32) {
    let offset = data + (index & (size - 1)) as usize;
    (offset / 8, 8 * (index % 8))
}

impl Ring<'_> {
    fn load(self, word: usize) -> u64 {
        self.0
            .get(word)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Bytes that can be received.
    #[inline]
    pub(super) fn received(self) -> u32 {
        used(self.load(IN_INDICES), IN_SIZE).unwrap_or(0)
    }

    /// Bytes that can be sent.
    #[inline]
    pub(super) fn room(self) -> u32 {
        used(self.load(OUT_INDICES), OUT_SIZE).map_or(0, |used| OUT_SIZE - used)
    }

    /// Takes a byte that was received. The flag: the ring is half empty now.
    pub(super) fn take(self) -> Option<(u8, bool)> {
        let word = self.0.get(IN_INDICES)?;
        for _ in 0..ATTEMPTS {
            let now = word.load(Ordering::Acquire);
            let left = used(now, IN_SIZE)?.checked_sub(1)?;
            let (consumer, producer) = indices(now);
            let (at, bit) = place(0, consumer, IN_SIZE);
            let byte = (self.load(at) >> bit & 0xFF) as u8;
            let after = u64::from(producer) << 32 | u64::from(consumer.wrapping_add(1));
            let taken = word.compare_exchange(now, after, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                return Some((byte, left == IN_SIZE / 2));
            }
        }
        None
    }

    /// Sends a byte.
    #[inline]
    pub(super) fn send(self, byte: u8) -> Sent {
        let Some(word) = self.0.get(OUT_INDICES) else {
            return Sent::Lost;
        };
        let now = word.load(Ordering::Acquire);
        if used(now, OUT_SIZE).is_none_or(|used| used == OUT_SIZE) {
            return Sent::Lost;
        }
        let (at, bit) = place(OUT_DATA, indices(now).1, OUT_SIZE);
        if let Some(data) = self.0.get(at) {
            // Only this end writes here; a guest that does so too spoils its own output.
            let others = data.load(Ordering::Relaxed) & !(0xFF << bit);
            data.store(others | u64::from(byte) << bit, Ordering::Relaxed);
        }
        // The other end may have taken what was there in between: what counts is how many there are with this one.
        let before = word.fetch_add(PRODUCED, Ordering::AcqRel);
        match used(before, OUT_SIZE) {
            Some(0) => Sent::First,
            Some(used) if used + 1 == OUT_SIZE / 2 => Sent::HalfFull,
            _ => Sent::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;

    fn page() -> Words {
        [const { AtomicU64::new(0) }; 512]
    }

    fn byte(page: &Words, offset: usize) -> u8 {
        (page[offset / 8].load(Ordering::Relaxed) >> (8 * (offset % 8)) & 0xFF) as u8
    }

    #[test]
    fn bytes_go_where_the_other_end_looks() {
        let page = page();
        let ring = Ring(&page);
        assert_eq!(ring.send(b'a'), Sent::First);
        assert_eq!(ring.send(b'b'), Sent::More);
        assert_eq!((byte(&page, 1024), byte(&page, 1025)), (b'a', b'b'));
        assert_eq!(page[OUT_INDICES].load(Ordering::Relaxed), 2 << 32);
        assert_eq!(ring.room(), 2046);
    }

    #[test]
    fn a_full_ring_takes_no_more_and_says_when_it_is_half_full() {
        let page = page();
        let ring = Ring(&page);
        let sent: std::vec::Vec<Sent> = (0..2049).map(|_| ring.send(b'x')).collect();
        assert_eq!(sent[1023], Sent::HalfFull);
        assert_eq!((sent[2047], sent[2048]), (Sent::More, Sent::Lost));
        assert_eq!(
            sent.iter().filter(|sent| **sent == Sent::HalfFull).count(),
            1
        );
        assert_eq!(byte(&page, 3071), b'x');
        assert_eq!(byte(&page, 3072), 0);
    }

    #[test]
    fn indices_wrap() {
        let page = page();
        page[OUT_INDICES].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(Ring(&page).send(b'z'), Sent::First);
        assert_eq!(
            page[OUT_INDICES].load(Ordering::Relaxed),
            u64::from(u32::MAX)
        );
        assert_eq!(byte(&page, 3071), b'z');
        page[IN_INDICES].store(u64::from(u32::MAX), Ordering::Relaxed);
        page[1023 / 8].store(u64::from(b'q') << 56, Ordering::Relaxed);
        assert_eq!(Ring(&page).take(), Some((b'q', false)));
        assert_eq!(page[IN_INDICES].load(Ordering::Relaxed), 0);
        assert_eq!(Ring(&page).take(), None);
    }

    #[test]
    fn impossible_indices_give_and_take_nothing() {
        let page = page();
        let ring = Ring(&page);
        page[IN_INDICES].store(1025 << 32, Ordering::Relaxed);
        page[OUT_INDICES].store(7, Ordering::Relaxed);
        assert_eq!((ring.received(), ring.room()), (0, 0));
        assert_eq!((ring.take(), ring.send(1)), (None, Sent::Lost));
        assert!(
            page[..IN_INDICES]
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == 0)
        );
    }

    #[test]
    fn half_empty_is_said_once() {
        let page = page();
        page[IN_INDICES].store(1024 << 32, Ordering::Relaxed);
        let flags = (0..1024).filter(|_| Ring(&page).take().unwrap().1).count();
        assert_eq!(flags, 1);
    }
}
