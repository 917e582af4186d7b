//! Flat images from ELF files: what boot loaders take.

use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;

/// Offset and value of the magic number in a Linux Image's header (Documentation/arch/arm64/booting.rst).
const ARM64_MAGIC: (usize, &[u8]) = (0x38, b"ARM\x64");
/// No image of ours comes near this; a wrong address in a linker script does.
const SIZE_LIMIT: u64 = 64 << 20;

/// The content of an ELF file's loadable segments, laid out by physical address from the lowest on; what is zero at
/// the end (`.bss`) is left to the header's image size.
pub(crate) fn flatten(file: &[u8]) -> Result<Vec<u8>, String> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|error| error.to_string())?;
    let segments = elf
        .segments()
        .ok_or("the ELF file has no program headers")?;
    let loadable: Vec<_> = segments
        .iter()
        .filter(|segment| segment.p_type == PT_LOAD && segment.p_filesz > 0)
        .collect();
    let base = loadable.iter().map(|segment| segment.p_paddr).min();
    let base = base.ok_or("the ELF file has nothing to load")?;
    let mut image = Vec::new();
    for segment in loadable {
        let offset = segment.p_paddr - base;
        let content = elf
            .segment_data(&segment)
            .map_err(|error| error.to_string())?;
        if offset.saturating_add(segment.p_filesz) > SIZE_LIMIT {
            return Err(format!(
                "a segment at {:#x} is far from {base:#x}",
                segment.p_paddr
            ));
        }
        place(&mut image, offset as usize, content);
    }
    Ok(image)
}

fn place(image: &mut Vec<u8>, offset: usize, content: &[u8]) {
    let end = offset + content.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(content);
}

/// Whether an image begins with a Linux Image header for arm64.
pub(crate) fn is_arm64_image(image: &[u8]) -> bool {
    let (at, magic) = ARM64_MAGIC;
    image.get(at..at + magic.len()) == Some(magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with one program header per (physical address, content), a multiple of 8 bytes each.
    fn elf_file(segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend_from_slice(&[2, 0, 183, 0, 1, 0, 0, 0]);
        for word in [0u64, 64, 0] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&[0; 4]);
        for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
            file.extend_from_slice(&half.to_le_bytes());
        }
        let mut at = 64 + 56 * segments.len() as u64;
        for (address, content) in segments {
            let size = content.len() as u64;
            file.extend_from_slice(&[1, 0, 0, 0, 4, 0, 0, 0]);
            for word in [at, *address, *address, size, size, 8] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            at += size;
        }
        for (_, content) in segments {
            file.extend_from_slice(content);
        }
        file
    }

    #[test]
    fn segments_are_laid_out_by_physical_address() {
        let file = elf_file(&[(0x4000_0010, b"higher"), (0x4000_0000, b"lower")]);
        assert_eq!(
            flatten(&file).unwrap(),
            b"lower\0\0\0\0\0\0\0\0\0\0\0higher"
        );
    }

    #[test]
    fn a_segment_far_away_is_an_error_and_not_a_huge_file() {
        let file = elf_file(&[(0x4000_0000, b"here"), (0xffff_0000_4000_0000, b"there")]);
        assert!(flatten(&file).unwrap_err().contains("far from"));
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(flatten(b"MZ").is_err());
        assert!(flatten(&elf_file(&[])).is_err());
    }

    #[test]
    fn the_image_header_is_recognised() {
        let mut image = vec![0; 64];
        assert!(!is_arm64_image(&image));
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert!(is_arm64_image(&image));
    }
}
