//! A kernel for an x86 domain: an ELF file with a Xen PVH note (Xen's public `elfnote.h` and `pvh.pandoc`).
//!
//! Only what says where its parts go is read here: header, program headers, notes. Each is looked for where the one before
//! says it is, and every length is checked.

use alloc::vec::Vec;
use core::fmt;

use elf::ElfBytes;
use elf::abi::{EM_386, EM_X86_64, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::file::FileHeader;
use elf::note::Note;
use elf::segment::ProgramHeader;

use crate::build::kernel::{self, KernelImage};

/// The note's type: the address to enter at, in 32-bit mode.
const PHYS32_ENTRY: u64 = 18;
/// Program headers of a kernel at most.
const SEGMENTS_MAX: u16 = 32;
/// Bytes of notes at most.
const NOTES_MAX: u64 = 64 * 1024;

/// A part of the file and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// Its first byte in the file.
    pub(crate) offset: u64,
    /// Bytes in the file.
    pub(crate) length: u64,
    /// Guest-physical address.
    pub(crate) address: u64,
    /// Bytes in memory.
    pub(crate) size: u64,
}

/// What the file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kernel {
    /// In the file's order.
    pub(crate) segments: Vec<Segment>,
    /// Where it is entered.
    pub(crate) entry: u64,
}

/// Why a file is not a kernel for an x86 domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotAKernel {
    /// It is something else; what.
    Other(&'static str),
    /// Neither ELF nor anything else known.
    Unknown,
    /// For another processor.
    Processor,
    /// Headers that no kernel has, or they lie outside the file.
    Header,
    /// It cannot be entered as a PVH guest.
    NoNote,
    /// A segment lies outside the file, or where no RAM is.
    Segment,
}

impl fmt::Display for NotAKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(what) => write!(
                f,
                "the kernel file is {what}, not an x86-64 ELF file (vmlinux)"
            ),
            Self::Unknown => {
                f.write_str("the kernel file is not an ELF file: it has no magic number")
            }
            Self::Processor => {
                f.write_str("the kernel is an ELF file for another processor than x86")
            }
            Self::Header => f.write_str("the kernel's ELF headers are damaged"),
            Self::NoNote => f.write_str(
                "the kernel has no Xen PVH note (PHYS32_ENTRY): it was built without CONFIG_PVH",
            ),
            Self::Segment => {
                f.write_str("the kernel file is truncated, or has a segment where no RAM is")
            }
        }
    }
}

const KNOWN: [(usize, &[u8], &str); 8] = [
    (0x202, b"HdrS", "a bzImage, which xenman unpacks"),
    (56, b"ARM\x64", "an arm64 Image"),
    (0, b"\x1f\x8b", "packed with gzip"),
    (0, b"\xfd7zXZ\0", "packed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (0, b"\x02\x21\x4c\x18", "packed with lz4"),
    (0, b"070701", "a cpio archive (an initrd)"),
    (0, b"#!", "a script"),
];

impl Kernel {
    /// Reads the headers. `start` is the start of the file, `read` gives so many bytes from an offset on.
    pub(crate) fn parse(
        start: &[u8],
        length: u64,
        read: impl Fn(u64, usize) -> Option<Vec<u8>>,
    ) -> Result<Self, NotAKernel> {
        refuse_what_is_known(start)?;
        let (header, programs) = headers(start)?;
        if !matches!(header.e_machine, EM_X86_64 | EM_386) {
            return Err(NotAKernel::Processor);
        }
        let entry = programs
            .iter()
            .filter(|program| program.p_type == PT_NOTE)
            .find_map(|program| entry_in(&header, program, &read))
            .ok_or(NotAKernel::NoNote)?;
        let segments: Option<Vec<Segment>> = programs
            .iter()
            .filter(|program| program.p_type == PT_LOAD && program.p_memsz > 0)
            .map(|program| segment(program, length))
            .collect();
        let segments = segments.filter(|segments| !segments.is_empty());
        Ok(Self {
            segments: segments.ok_or(NotAKernel::Segment)?,
            entry,
        })
    }

    /// First address it takes, and the one after its last.
    pub(crate) fn extent(&self) -> (u64, u64) {
        let starts = self.segments.iter().map(|segment| segment.address);
        let ends = self
            .segments
            .iter()
            .map(|segment| segment.address.saturating_add(segment.size));
        (starts.min().unwrap_or(0), ends.max().unwrap_or(0))
    }
}

/// A fuzz body: whatever a file says, a kernel's parts lie within it and within the address space.
///
/// # Panics
///
/// If one does not.
pub fn fuzz_kernel(data: &[u8]) {
    const START: usize = 64 * 1024;
    let length = data.len() as u64;
    let read = |at: u64, length: usize| {
        let at = usize::try_from(at).ok()?;
        data.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
    };
    let start = data.get(..START).unwrap_or(data);
    if let Ok(kernel) = Kernel::parse(start, length, read) {
        let (first, end) = kernel.extent();
        for segment in &kernel.segments {
            let is_in_file = segment.offset.checked_add(segment.length);
            assert!(is_in_file.is_some_and(|end| end <= length));
            assert!(segment.length <= segment.size);
            let last = segment.address.checked_add(segment.size);
            assert!(segment.address >= first && last.is_some_and(|last| last <= end));
        }
        assert!(u32::try_from(kernel.entry).is_ok());
    }
    let start = data.get(..kernel::HEADER).unwrap_or(data);
    if let Ok(image) = KernelImage::parse(start, length) {
        assert!(image.size >= length && image.text_offset < 0x20_0000);
    }
}

fn refuse_what_is_known(start: &[u8]) -> Result<(), NotAKernel> {
    if start.starts_with(b"\x7fELF") {
        return Ok(());
    }
    let is = |(at, magic, _): &&(usize, &[u8], &str)| {
        start.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    match KNOWN.iter().find(is) {
        Some((_, _, what)) => Err(NotAKernel::Other(what)),
        None => Err(NotAKernel::Unknown),
    }
}

/// The file header, and the program headers, which follow it in every kernel.
fn headers(start: &[u8]) -> Result<(FileHeader<LittleEndian>, Vec<ProgramHeader>), NotAKernel> {
    // Only the start of the file is here: section headers that lie beyond it are out of sight, and of no interest.
    let without;
    let file = match ElfBytes::<LittleEndian>::minimal_parse(start) {
        Ok(file) => file,
        Err(_) => {
            without = without_sections(start).ok_or(NotAKernel::Header)?;
            ElfBytes::minimal_parse(&without).map_err(|_| NotAKernel::Header)?
        }
    };
    let count = file.ehdr.e_phnum;
    let programs = file.segments().filter(|_| count <= SEGMENTS_MAX);
    let programs = programs.ok_or(NotAKernel::Header)?;
    Ok((file.ehdr, programs.iter().collect()))
}

/// The start of a file whose header speaks of no section headers.
fn without_sections(start: &[u8]) -> Option<Vec<u8>> {
    const CLASS: usize = 4;
    let is_64 = start.get(CLASS) == Some(&2);
    let (offset, count) = if is_64 {
        (40..48, 60..62)
    } else {
        (32..36, 48..50)
    };
    let mut copy = start.to_vec();
    for range in [offset, count] {
        copy.get_mut(range)?.fill(0);
    }
    Some(copy)
}

/// The entry address, if it is among these notes.
fn entry_in(
    header: &FileHeader<LittleEndian>,
    program: &ProgramHeader,
    read: &impl Fn(u64, usize) -> Option<Vec<u8>>,
) -> Option<u64> {
    let length = program.p_filesz.min(NOTES_MAX);
    let bytes = read(program.p_offset, usize::try_from(length).ok()?)?;
    // Some linkers say 8 and mean 4.
    let align = match usize::try_from(program.p_align) {
        Ok(8) => 8,
        _ => 4,
    };
    [align, 4].into_iter().find_map(|align| {
        let notes = elf::note::NoteIterator::new(LittleEndian, header.class, align, &bytes);
        notes.into_iter().find_map(entry_of)
    })
}

fn entry_of(note: Note<'_>) -> Option<u64> {
    let Note::Unknown(note) = note else {
        return None;
    };
    let name = note.name.strip_suffix(b"\0").unwrap_or(note.name);
    if note.n_type != PHYS32_ENTRY || name != b"Xen" {
        return None;
    }
    match *note.desc {
        [a, b, c, d] => Some(u64::from(u32::from_le_bytes([a, b, c, d]))),
        [a, b, c, d, 0, 0, 0, 0] => Some(u64::from(u32::from_le_bytes([a, b, c, d]))),
        _ => None,
    }
}

fn segment(program: &ProgramHeader, length: u64) -> Option<Segment> {
    let end = program.p_offset.checked_add(program.p_filesz)?;
    program.p_paddr.checked_add(program.p_memsz)?;
    let fits = end <= length && program.p_filesz <= program.p_memsz;
    fits.then_some(Segment {
        offset: program.p_offset,
        length: program.p_filesz,
        address: program.p_paddr,
        size: program.p_memsz,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Kernel, NotAKernel, Segment, fuzz_kernel};
    use std::vec::Vec;

    /// A kernel of two segments, the second with a zero tail, and its note.
    pub(crate) fn kernel(content: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        for half in [2_u16, 62] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1_u32.to_le_bytes());
        for word in [0x10_0000_u64, 64, 0x7777_0000] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 3, 64, 30, 29] {
            file.extend(half.to_le_bytes());
        }
        let note = 64 + 3 * 56;
        let code = note + 24;
        let program = |kind: u32, offset: usize, address: u64, length: usize, size: u64| {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend(5_u32.to_le_bytes());
            for word in [
                offset as u64,
                address | 0xFFFF_FFFF_8000_0000,
                address,
                length as u64,
                size,
                4,
            ] {
                bytes.extend(word.to_le_bytes());
            }
            bytes
        };
        file.extend(program(4, note, 0, 24, 24));
        file.extend(program(
            1,
            code,
            0x10_0000,
            content.len(),
            content.len() as u64,
        ));
        file.extend(program(1, code, 0x20_0800, content.len(), 0x5000));
        for word in [4_u32, 8, 18] {
            file.extend(word.to_le_bytes());
        }
        file.extend(b"Xen\0");
        file.extend(0x10_0040_u64.to_le_bytes());
        file.extend(content);
        file
    }

    fn parse(file: &[u8]) -> Result<Kernel, NotAKernel> {
        let read = |at: u64, length: usize| {
            let at = usize::try_from(at).ok()?;
            file.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
        };
        let start = &file[..file.len().min(65536)];
        Kernel::parse(start, file.len() as u64, read)
    }

    #[test]
    fn segments_and_entry_are_found() {
        let file = kernel(b"some code");
        let parsed = parse(&file).unwrap();
        assert_eq!(parsed.entry, 0x10_0040);
        let offset = 64 + 3 * 56 + 24;
        let first = Segment {
            offset,
            length: 9,
            address: 0x10_0000,
            size: 9,
        };
        assert_eq!(parsed.segments[0], first);
        assert_eq!(parsed.extent(), (0x10_0000, 0x20_5800));
    }

    #[test]
    fn what_is_not_a_kernel_is_called_by_its_name() {
        let mut image = std::vec![0; 4096];
        image[56..60].copy_from_slice(b"ARM\x64");
        assert_eq!(parse(&image), Err(NotAKernel::Other("an arm64 Image")));
        assert_eq!(parse(b"hello"), Err(NotAKernel::Unknown));
        let mut arm = kernel(b"");
        arm[18] = 183;
        assert_eq!(parse(&arm), Err(NotAKernel::Processor));
        let mut without = kernel(b"");
        let note = 64 + 3 * 56;
        without[note + 8] = 17;
        assert_eq!(parse(&without), Err(NotAKernel::NoNote));
        let file = kernel(b"some code");
        assert_eq!(parse(&file[..file.len() - 1]), Err(NotAKernel::Segment));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let good = kernel(b"some code");
        for length in 0..good.len() {
            fuzz_kernel(&good[..length]);
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fuzz_kernel(&bad);
        }
    }
}
