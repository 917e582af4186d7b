//! A domain's memory as one row of bytes: its populated frames in rising order, as snapshots see it.

use crate::build::job::copy_all;
use crate::hypervisor::{Answer, Hypervisor};
use alloc::vec::Vec;
use hv_abi::{DomId, Errno, FRAME_SIZE};
use mgmt_proto::blob::{CHUNK, chunk_count, chunk_length};
use mgmt_proto::snapshot::MemoryRange;

const FRAME: u64 = FRAME_SIZE as u64;

/// The frames, and where each range begins in the row.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryImage {
    ranges: Vec<Placed>,
    length: u64,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    start: u64,
    gpa: u64,
    length: u64,
}

impl MemoryImage {
    /// The image of these ranges, which rise and do not overlap.
    pub(crate) fn new(ranges: &[MemoryRange]) -> Self {
        let mut image = Self::default();
        for range in ranges {
            let length = range.count.saturating_mul(FRAME);
            image.ranges.push(Placed {
                start: image.length,
                gpa: range.gfn.saturating_mul(FRAME),
                length,
            });
            image.length = image.length.saturating_add(length);
        }
        image
    }

    /// Bytes in all.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Chunks in all.
    pub(crate) fn chunks(&self) -> u32 {
        u32::try_from(chunk_count(self.length)).unwrap_or(u32::MAX)
    }

    /// Bytes of chunk `index`; none beyond the end.
    pub(crate) fn chunk_length(&self, index: u32) -> Option<usize> {
        chunk_length(self.length, u64::from(index))
    }

    /// Reads chunk `index`.
    pub(crate) fn read<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domid: DomId,
        index: u32,
        buffer: &mut Vec<u8>,
    ) -> Answer<()> {
        let length = self.chunk_length(index).ok_or(Errno::EINVAL)?;
        buffer.resize(length, 0);
        let mut rest = buffer.as_mut_slice();
        for (gpa, length) in self.pieces(index) {
            let (piece, after) = rest.split_at_mut_checked(length).ok_or(Errno::EINVAL)?;
            read_all(hypervisor, domid, gpa, piece)?;
            rest = after;
        }
        Ok(())
    }

    /// Writes chunk `index`, of exactly its length.
    pub(crate) fn write<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        domid: DomId,
        index: u32,
        bytes: &[u8],
    ) -> Answer<()> {
        let mut rest = bytes;
        for (gpa, length) in self.pieces(index) {
            let (piece, after) = rest.split_at_checked(length).ok_or(Errno::EINVAL)?;
            copy_all(hypervisor, domid, gpa, piece)?;
            rest = after;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// Where the parts of a chunk are: address and length.
    fn pieces(&self, index: u32) -> impl Iterator<Item = (u64, usize)> {
        let start = u64::from(index).saturating_mul(CHUNK as u64);
        let length = self.chunk_length(index).unwrap_or(0) as u64;
        let end = start.saturating_add(length);
        let first = self
            .ranges
            .partition_point(|range| range.start.saturating_add(range.length) <= start);
        let ranges = self.ranges.iter().skip(first);
        ranges
            .take_while(move |range| range.start < end)
            .map(move |range| {
                let from = start.max(range.start);
                let to = end.min(range.start.saturating_add(range.length));
                let gpa = range.gpa.saturating_add(from.saturating_sub(range.start));
                (gpa, usize::try_from(to.saturating_sub(from)).unwrap_or(0))
            })
    }
}

fn read_all<H: Hypervisor>(
    hypervisor: &mut H,
    domid: DomId,
    mut gpa: u64,
    mut into: &mut [u8],
) -> Answer<()> {
    while !into.is_empty() {
        let done = hypervisor.copy_from(domid, gpa, into)?;
        into = into
            .get_mut(done..)
            .filter(|_| done > 0)
            .ok_or(Errno::EIO)?;
        gpa = gpa.saturating_add(done as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::MemoryImage;
    use mgmt_proto::snapshot::MemoryRange;
    use std::vec::Vec;

    fn range(gfn: u64, count: u64) -> MemoryRange {
        MemoryRange { gfn, count }
    }

    #[test]
    fn chunks_cross_holes() {
        let image = MemoryImage::new(&[range(2, 10), range(100, 20), range(200, 5)]);
        assert_eq!((image.chunks(), image.length()), (3, 35 * 4096));
        let pieces = |index| -> Vec<(u64, usize)> {
            image
                .pieces(index)
                .map(|(gpa, length)| (gpa / 4096, length / 4096))
                .collect()
        };
        assert_eq!(pieces(0), [(2, 10), (100, 6)]);
        assert_eq!(pieces(1), [(106, 14), (200, 2)]);
        assert_eq!(pieces(2), [(202, 3)]);
        assert_eq!(
            (image.chunk_length(2), pieces(3).len()),
            (Some(3 * 4096), 0)
        );
    }

    #[test]
    fn no_memory_is_no_chunks() {
        let image = MemoryImage::new(&[]);
        assert_eq!((image.chunks(), image.chunk_length(0)), (0, None));
    }
}
