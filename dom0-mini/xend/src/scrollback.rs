//! The last bytes of a stream, under cursors that never move backwards.
//!
//! A cursor is the number of bytes written since the beginning. A reader keeps its cursor and asks again; when it was
//! too slow it is told how many bytes it lost. Nothing here knows what the bytes mean: consoles and the log share it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A bounded buffer that forgets its oldest bytes.
#[derive(Clone, Debug)]
pub struct Scrollback {
    bytes: VecDeque<u8>,
    limit: usize,
    end: u64,
}

/// What a reader got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The cursor to ask with next time.
    pub next: u64,
    /// Bytes between the asked cursor and the first one returned that are gone.
    pub lost: u64,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

impl Scrollback {
    /// A buffer that keeps the last `limit` bytes; memory is taken as it fills.
    pub const fn new(limit: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            limit,
            end: 0,
        }
    }

    /// The cursor just behind the newest byte.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The cursor of the oldest byte still here.
    pub fn start(&self) -> u64 {
        self.end.saturating_sub(self.bytes.len() as u64)
    }

    /// Appends bytes, forgetting the oldest beyond the limit.
    pub fn push(&mut self, new: &[u8]) {
        self.end = self.end.saturating_add(new.len() as u64);
        let kept = new.len().min(self.limit);
        let (_, new) = new.split_at(new.len().saturating_sub(kept));
        let overflow = self
            .bytes
            .len()
            .saturating_add(kept)
            .saturating_sub(self.limit);
        self.bytes.drain(..overflow.min(self.bytes.len()));
        self.grow_for(kept);
        self.bytes.extend(new);
    }

    /// Reads up to `max` bytes from `cursor` on. A cursor from the future (another buffer's) yields nothing.
    pub fn read(&self, cursor: u64, max: usize) -> Excerpt {
        let from = cursor.clamp(self.start(), self.end);
        let lost = from.saturating_sub(cursor);
        let skip = usize::try_from(from.saturating_sub(self.start())).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = self.bytes.iter().skip(skip).take(max).copied().collect();
        Excerpt {
            next: from.saturating_add(bytes.len() as u64),
            lost,
            bytes,
        }
    }

    /// Forgets everything and keeps counting, so that old cursors stay valid.
    pub fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }

    /// Doubles like a vector would, but never beyond the limit.
    fn grow_for(&mut self, more: usize) {
        let needed = self.bytes.len().saturating_add(more);
        if needed > self.bytes.capacity() {
            let target = self
                .bytes
                .capacity()
                .saturating_mul(2)
                .max(needed)
                .min(self.limit);
            self.bytes
                .reserve_exact(target.saturating_sub(self.bytes.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scrollback;
    use alloc::vec::Vec;

    #[test]
    fn a_reader_that_keeps_up_sees_every_byte_once() {
        let mut buffer = Scrollback::new(10);
        let mut cursor = 0;
        let mut seen = Vec::new();
        for byte in 0..100u8 {
            buffer.push(&[byte]);
            if byte % 3 == 0 {
                let part = buffer.read(cursor, 100);
                assert_eq!(part.lost, 0);
                cursor = part.next;
                seen.extend(part.bytes);
            }
        }
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let mut buffer = Scrollback::new(4);
        buffer.push(b"abcdefgh");
        let part = buffer.read(1, 3);
        assert_eq!(
            (part.next, part.lost, part.bytes.as_slice()),
            (7, 3, b"efg".as_slice())
        );
        buffer.push(b"i");
        let part = buffer.read(part.next, 100);
        assert_eq!(
            (part.next, part.lost, part.bytes.as_slice()),
            (9, 0, b"hi".as_slice())
        );
    }

    #[test]
    fn more_than_the_limit_at_once_keeps_the_newest() {
        let mut buffer = Scrollback::new(4);
        buffer.push(b"xy");
        buffer.push(b"0123456789");
        assert_eq!(buffer.read(0, 100).bytes, b"6789");
        assert_eq!((buffer.start(), buffer.end()), (8, 12));
    }

    #[test]
    fn a_cursor_from_the_future_gets_the_end_and_nothing_else() {
        let mut buffer = Scrollback::new(4);
        buffer.push(b"ab");
        let part = buffer.read(1000, 10);
        assert_eq!((part.next, part.lost, part.bytes.len()), (2, 0, 0));
    }

    #[test]
    fn memory_stays_within_the_limit() {
        let mut buffer = Scrollback::new(1000);
        (0..5000).for_each(|_| buffer.push(b"abcdefg"));
        assert!(
            buffer.bytes.capacity() <= 1000,
            "{}",
            buffer.bytes.capacity()
        );
    }

    #[test]
    fn clearing_keeps_the_cursors() {
        let mut buffer = Scrollback::new(8);
        buffer.push(b"before");
        buffer.clear();
        buffer.push(b"after");
        let part = buffer.read(6, 10);
        assert_eq!((part.lost, part.bytes.as_slice()), (0, b"after".as_slice()));
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing_and_counts() {
        let mut buffer = Scrollback::new(0);
        buffer.push(b"abc");
        assert_eq!(buffer.read(0, 10).lost, 3);
    }
}
