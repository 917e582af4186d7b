//! The arm64 `Image` header (Linux, Documentation/arch/arm64/booting.rst), read from the first bytes of a kernel.
//!
//! Nothing but a plain Image is accepted; everything else that an operator may have at hand is named in the refusal.

use core::fmt;

/// Bytes that [`KernelImage::parse`] wants to see, if the file has as many.
pub(crate) const HEADER: usize = 4096;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelImage {
    /// Where the image goes, from a 2 MiB boundary on.
    pub(crate) text_offset: u64,
    /// Memory it needs from there on; at least the file's length.
    pub(crate) size: u64,
}

/// Why a file is not a kernel for an arm64 domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAKernel {
    /// There is nothing in it.
    Empty,
    /// It is packed; by what.
    Packed(&'static str),
    /// It is something else; what.
    Other(&'static str),
    /// Neither magic number nor anything else known.
    Unknown,
    /// For a big-endian CPU.
    BigEndian,
    /// From before Linux 3.17: it does not say how much memory it needs.
    NoSize,
    /// The header has values that no kernel has.
    Header,
    /// The file ends before the image does.
    Truncated {
        /// What is needed.
        expected: u64,
        /// What is there.
        length: u64,
    },
}

impl fmt::Display for NotAKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the kernel file is empty"),
            Self::Packed(how) => {
                write!(f, "the kernel is packed with {how}: xend takes it unpacked")
            }
            Self::Other(what) => write!(f, "the kernel file is {what}, not an arm64 Image"),
            Self::Unknown => {
                f.write_str("the kernel file is not an arm64 Image: it has no magic number")
            }
            Self::BigEndian => f.write_str("the kernel is for a big-endian CPU"),
            Self::NoSize => f.write_str(
                "the kernel is older than Linux 3.17 and does not say how much memory it needs",
            ),
            Self::Header => f.write_str("the kernel's header is damaged"),
            Self::Truncated { expected, length } => {
                write!(
                    f,
                    "the kernel file is truncated: it has {length} bytes of {expected}"
                )
            }
        }
    }
}

/// What files begin with that are not an Image.
const PACKED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"BZh", "bzip2"),
];

impl KernelImage {
    /// Reads the header from the first [`HEADER`] bytes of a file of `length` bytes.
    pub(crate) fn parse(start: &[u8], length: u64) -> Result<Self, NotAKernel> {
        refuse_what_is_known(start)?;
        if start.get(56..60) != Some(b"ARM\x64") {
            return Err(NotAKernel::Unknown);
        }
        let field = |at: usize| word(start, at).ok_or(NotAKernel::Header);
        let (text_offset, size, flags) = (field(8)?, field(16)?, field(24)?);
        if flags & 1 != 0 {
            return Err(NotAKernel::BigEndian);
        }
        if size == 0 {
            return Err(NotAKernel::NoSize);
        }
        if text_offset >= 0x20_0000 || text_offset % 4096 != 0 || size > 1 << 32 {
            return Err(NotAKernel::Header);
        }
        let expected = sections_end(start).unwrap_or(0);
        if length < expected || length <= 64 {
            return Err(NotAKernel::Truncated {
                expected: expected.max(65),
                length,
            });
        }
        Ok(Self {
            text_offset,
            size: size.max(length),
        })
    }
}

fn refuse_what_is_known(start: &[u8]) -> Result<(), NotAKernel> {
    if start.is_empty() {
        return Err(NotAKernel::Empty);
    }
    if let Some((_, how)) = PACKED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(NotAKernel::Packed(how));
    }
    if start.starts_with(b"MZ") && start.get(4..8) == Some(b"zimg") {
        return Err(NotAKernel::Packed("EFI zboot"));
    }
    if start.starts_with(b"\x7fELF") {
        return Err(NotAKernel::Other("an ELF file (vmlinux)"));
    }
    if start.get(0x202..0x206) == Some(b"HdrS") {
        return Err(NotAKernel::Other("a bzImage for x86"));
    }
    if start.starts_with(b"\xd0\x0d\xfe\xed") {
        return Err(NotAKernel::Other("a device tree"));
    }
    if start.starts_with(b"070701") {
        return Err(NotAKernel::Other("a cpio archive (an initrd)"));
    }
    Ok(())
}

/// The end of the last section in the file, if the Image has a PE header as well (EFI stub).
fn sections_end(start: &[u8]) -> Option<u64> {
    let pe = usize::try_from(half(start, 0x3c)?).ok()?;
    if start.get(pe..pe.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let count = half(start, pe.checked_add(4)?)? >> 16;
    let optional = usize::try_from(half(start, pe.checked_add(20)?)? & 0xffff).ok()?;
    let table = pe.checked_add(24)?.checked_add(optional)?;
    let mut end = 0;
    for index in 0..usize::try_from(count.min(16)).ok()? {
        let section = table.checked_add(index.checked_mul(40)?)?;
        let size = half(start, section.checked_add(16)?)?;
        let place = half(start, section.checked_add(20)?)?;
        end = u64::from(size).saturating_add(u64::from(place)).max(end);
    }
    Some(end)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{KernelImage, NotAKernel};
    use std::vec;
    use std::vec::Vec;

    /// An Image of `length` bytes that wants `size` bytes of memory.
    pub(crate) fn image(length: usize, size: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length).map(|i| (i / 7) as u8).collect();
        bytes[..64].fill(0);
        bytes[16..24].copy_from_slice(&size.to_le_bytes());
        bytes[24] = 10;
        bytes[56..60].copy_from_slice(b"ARM\x64");
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<KernelImage, NotAKernel> {
        KernelImage::parse(&bytes[..bytes.len().min(4096)], bytes.len() as u64)
    }

    #[test]
    fn an_image_says_how_much_memory_it_needs() {
        let parsed = parse(&image(9000, 20_000)).unwrap();
        assert_eq!((parsed.text_offset, parsed.size), (0, 20_000));
        assert_eq!(
            parse(&image(9000, 10)).unwrap().size,
            9000,
            "never less than the file"
        );
    }

    #[test]
    fn what_is_not_an_image_is_called_by_its_name() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "empty"),
            (b"\x1f\x8b\x08 rest", "gzip"),
            (b"\xfd7zXZ\0 rest", "xz"),
            (b"\x28\xb5\x2f\xfd rest", "zstd"),
            (b"MZ\0\0zimg rest", "EFI zboot"),
            (b"\x7fELF rest", "ELF"),
            (b"070701 rest", "cpio"),
            (b"\xd0\x0d\xfe\xed rest", "device tree"),
            (b"#!/bin/sh\necho hello", "no magic number"),
        ];
        for (bytes, word) in cases {
            let sentence = std::format!("{}", parse(bytes).unwrap_err());
            assert!(sentence.contains(word), "{sentence}");
        }
        let mut bz = vec![0; 4096];
        bz[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(parse(&bz), Err(NotAKernel::Other("a bzImage for x86")));
    }

    #[test]
    fn impossible_headers_are_refused() {
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = image(9000, 20_000);
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            parse(&bad).unwrap_err()
        };
        assert_eq!(with(24, &[11]), NotAKernel::BigEndian);
        assert_eq!(with(16, &[0; 8]), NotAKernel::NoSize);
        assert_eq!(with(16, &[0xff; 8]), NotAKernel::Header);
        assert_eq!(with(8, &[0xff; 8]), NotAKernel::Header);
        assert_eq!(with(8, &[1]), NotAKernel::Header);
        assert_eq!(
            parse(&image(64, 100)),
            Err(NotAKernel::Truncated {
                expected: 65,
                length: 64
            })
        );
    }

    #[test]
    fn a_truncated_file_is_noticed_by_its_sections() {
        let mut bytes = image(9000, 20_000);
        bytes[0x3c..0x40].copy_from_slice(&64_u32.to_le_bytes());
        bytes[64..68].copy_from_slice(b"PE\0\0");
        bytes[64 + 6..64 + 8].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64 + 20..64 + 22].copy_from_slice(&16_u16.to_le_bytes());
        let section = 64 + 24 + 16;
        bytes[section + 16..section + 20].copy_from_slice(&5000_u32.to_le_bytes());
        bytes[section + 20..section + 24].copy_from_slice(&4096_u32.to_le_bytes());
        let expected = NotAKernel::Truncated {
            expected: 9096,
            length: 9000,
        };
        assert_eq!(parse(&bytes), Err(expected));
        bytes[section + 16..section + 20].copy_from_slice(&4900_u32.to_le_bytes());
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let good = image(4096, 20_000);
        for length in 0..good.len() {
            let _ = parse(&good[..length]);
        }
        for bit in 0..256 * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let _ = parse(&bad);
        }
    }
}
