//! What must hold beyond a valid tree before the `fdt` crate may read it.

use super::{DEPTH_MAX, FdtError, SIZE_MAX, word};

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Bytes of the header.
const HEADER: usize = 40;

/// The size in the header, if it can be true.
pub(super) fn total_size(blob: &[u8]) -> Option<usize> {
    let size = field(blob, 4)?;
    (HEADER..=SIZE_MAX).contains(&size).then_some(size)
}

fn field(blob: &[u8], offset: usize) -> Option<usize> {
    let bytes = blob.get(offset..offset.checked_add(4)?)?;
    word(bytes).and_then(|value| usize::try_from(value).ok())
}

/// Walks the structure block within the bounds of its header, which the validator does not hold it to.
pub(super) fn structure(blob: &[u8]) -> Result<(), FdtError> {
    let block = |offset: usize, size: usize| {
        let start = field(blob, offset)?;
        blob.get(start..start.checked_add(field(blob, size)?)?)
    };
    let structure = block(8, 36).ok_or(FdtError::Bounds)?;
    let strings = block(12, 32).ok_or(FdtError::Bounds)?;
    let mut walk = Walk {
        rest: structure,
        strings,
    };
    walk.tokens()
}

struct Walk<'a> {
    rest: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Walk<'a> {
    fn tokens(&mut self) -> Result<(), FdtError> {
        let mut depth = 0_usize;
        loop {
            match self.word()? {
                BEGIN_NODE => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(FdtError::Depth);
                    }
                    self.name()?;
                }
                END_NODE => depth = depth.checked_sub(1).ok_or(FdtError::Malformed)?,
                PROPERTY => self.property()?,
                END if depth == 0 => return Ok(()),
                NOP => return Err(FdtError::Nop),
                _ => return Err(FdtError::Malformed),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], FdtError> {
        let padded = length.checked_next_multiple_of(4).ok_or(FdtError::Bounds)?;
        let (front, rest) = self.rest.split_at_checked(padded).ok_or(FdtError::Bounds)?;
        self.rest = rest;
        front.get(..length).ok_or(FdtError::Bounds)
    }

    fn word(&mut self) -> Result<u32, FdtError> {
        word(self.take(4)?).ok_or(FdtError::Bounds)
    }

    fn name(&mut self) -> Result<(), FdtError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let length = end.ok_or(FdtError::Bounds)?;
        self.take(length + 1).map(|_| ())
    }

    fn property(&mut self) -> Result<(), FdtError> {
        let length = self.word()? as usize;
        let name = self.word()? as usize;
        let value = self.take(length)?;
        let name = self.strings.get(name..).unwrap_or_default();
        let is_cells = name.starts_with(b"#address-cells\0") || name.starts_with(b"#size-cells\0");
        if is_cells && value.len() != 4 {
            return Err(FdtError::Cells);
        }
        Ok(())
    }
}
