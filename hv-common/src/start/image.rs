//! Domain-0's image: a position-independent ELF64 that relocates itself (System V gABI, chapters 4 and 5).
//!
//! Read, not trusted: every offset is checked, and what would not fit is refused.

use zerocopy::{FromBytes, Immutable, KnownLayout};

#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable, Clone, Copy, Debug)]
struct Header {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    program_headers: u64,
    section_headers: u64,
    flags: u32,
    header_size: u16,
    program_header_size: u16,
    program_header_count: u16,
    section_fields: [u16; 3],
}

#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable, Clone, Copy)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    virtual_address: u64,
    physical_address: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7FELF\x02\x01\x01";
const TYPE_DYNAMIC: u16 = 3;
const LOAD: u32 = 1;
/// Segments an image may have.
const SEGMENTS_MAX: u16 = 16;
/// Bytes an image may take in memory.
const SIZE_MAX: u64 = 16 << 20;

/// Why an image is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadImage {
    /// No little-endian ELF64.
    NotElf,
    /// Not position-independent.
    NotRelocatable,
    /// Headers or segments lie outside the file, or too far from the start.
    OutOfBounds,
}

impl core::fmt::Display for BadImage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotElf => "its image is no 64-bit little-endian ELF file",
            Self::NotRelocatable => "its image is not position-independent (ELF type DYN)",
            Self::OutOfBounds => {
                "its image is damaged: a segment lies outside the file or beyond 16 MiB"
            }
        })
    }
}

/// An image that can be loaded anywhere at a page.
#[derive(Debug)]
pub struct Image<'a> {
    file: &'a [u8],
    header: Header,
}

/// A part of the image: where it goes relative to the image's base, its bytes; the rest up to `size` is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Offset from the base.
    pub offset: u64,
    /// Bytes from the file.
    pub bytes: &'a [u8],
    /// Bytes in memory.
    pub size: u64,
}

impl<'a> Image<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// See [`BadImage`].
    pub fn parse(file: &'a [u8]) -> Result<Self, BadImage> {
        let (header, _) = Header::read_from_prefix(file).map_err(|_| BadImage::NotElf)?;
        if !header.ident.starts_with(ELF64_LITTLE_ENDIAN) || header.program_header_size != 56 {
            return Err(BadImage::NotElf);
        }
        if header.kind != TYPE_DYNAMIC {
            return Err(BadImage::NotRelocatable);
        }
        let image = Self { file, header };
        let fits =
            header.program_header_count <= SEGMENTS_MAX && image.header.entry < image.size()?;
        fits.then_some(image).ok_or(BadImage::OutOfBounds)
    }

    /// Offset of the first instruction.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.header.entry
    }

    /// Bytes it takes in memory.
    ///
    /// # Errors
    /// `OutOfBounds`.
    pub fn size(&self) -> Result<u64, BadImage> {
        let mut size = 0;
        for segment in self.segments() {
            let segment = segment?;
            size = size.max(segment.offset + segment.size);
        }
        Ok(size.next_multiple_of(hv_abi::FRAME_SIZE as u64))
    }

    /// Its loadable segments.
    pub fn segments(&self) -> impl Iterator<Item = Result<Segment<'a>, BadImage>> + '_ {
        let count = self.header.program_header_count.min(SEGMENTS_MAX);
        (0..u64::from(count)).filter_map(|index| match self.program_header(index) {
            Some(header) if header.kind != LOAD => None,
            Some(header) => Some(self.segment(&header)),
            None => Some(Err(BadImage::OutOfBounds)),
        })
    }

    fn program_header(&self, index: u64) -> Option<ProgramHeader> {
        let at = self.header.program_headers.checked_add(index * 56)?;
        let bytes = self.file.get(usize::try_from(at).ok()?..)?;
        ProgramHeader::read_from_prefix(bytes)
            .ok()
            .map(|(header, _)| header)
    }

    fn segment(&self, header: &ProgramHeader) -> Result<Segment<'a>, BadImage> {
        let start = usize::try_from(header.offset).map_err(|_| BadImage::OutOfBounds)?;
        let length = usize::try_from(header.file_size).map_err(|_| BadImage::OutOfBounds)?;
        let bytes = start
            .checked_add(length)
            .and_then(|end| self.file.get(start..end));
        let end = header.virtual_address.checked_add(header.memory_size);
        match (bytes, end) {
            (Some(bytes), Some(end))
                if end <= SIZE_MAX && header.file_size <= header.memory_size =>
            {
                Ok(Segment {
                    offset: header.virtual_address,
                    bytes,
                    size: header.memory_size,
                })
            }
            _ => Err(BadImage::OutOfBounds),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::vec::Vec;

    pub(crate) fn elf() -> Vec<u8> {
        let mut file = ELF64_LITTLE_ENDIAN.to_vec();
        file.resize(16, 0);
        file.extend(3_u16.to_le_bytes());
        file.extend(183_u16.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        for value in [0x10_u64, 64, 0] {
            file.extend(value.to_le_bytes());
        }
        file.extend([0; 6]);
        for value in [56_u16, 1, 0, 0, 0] {
            file.extend(value.to_le_bytes());
        }
        file.extend(LOAD.to_le_bytes());
        file.extend(5_u32.to_le_bytes());
        for value in [120_u64, 0x1000, 0x1000, 4, 0x800, 0x1000] {
            file.extend(value.to_le_bytes());
        }
        file.extend(b"code");
        file
    }

    #[test]
    fn a_segment_is_found_with_its_zero_tail() {
        let file = elf();
        let image = Image::parse(&file).expect("a good image");
        assert_eq!((image.entry(), image.size()), (0x10, Ok(0x2000)));
        let segments: Vec<_> = image.segments().collect();
        assert_eq!(
            segments,
            [Ok(Segment {
                offset: 0x1000,
                bytes: b"code",
                size: 0x800
            })]
        );
    }

    #[test]
    fn a_fixed_executable_is_refused() {
        let mut file = elf();
        file[16] = 2;
        assert_eq!(Image::parse(&file).err(), Some(BadImage::NotRelocatable));
    }

    #[test]
    fn no_truncation_and_no_flipped_bit_panics() {
        let file = elf();
        for length in 0..file.len() {
            assert!(Image::parse(&file[..length]).is_err());
        }
        for position in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[position / 8] ^= 1 << (position % 8);
            if let Ok(image) = Image::parse(&damaged) {
                assert!(image.segments().all(|segment| segment.is_ok()));
            }
        }
    }
}
