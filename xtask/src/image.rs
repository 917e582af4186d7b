//! Flat images from ELF files: what boot loaders take.

use std::ops::Range;

use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;

/// Offset and value of the magic number in a Linux Image's header (Documentation/arch/arm64/booting.rst).
const ARM64_MAGIC: (usize, &[u8]) = (0x38, b"ARM\x64");
/// Where an ELF64 header says where the section headers are, how many, and which has their names.
const SECTION_FIELDS: [Range<usize>; 2] = [40..48, 60..64];
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

/// An ELF file without what no loader needs: it ends where its last loadable segment does, and has no sections.
pub(crate) fn strip(mut file: Vec<u8>) -> Result<Vec<u8>, String> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(&file).map_err(|error| error.to_string())?;
    let segments = elf
        .segments()
        .ok_or("the ELF file has no program headers")?;
    let headers = elf.ehdr.e_phoff + u64::from(elf.ehdr.e_phnum) * u64::from(elf.ehdr.e_phentsize);
    let ends = segments
        .iter()
        .filter(|segment| segment.p_type == PT_LOAD)
        .map(|segment| segment.p_offset.saturating_add(segment.p_filesz));
    let end = usize::try_from(ends.fold(headers, u64::max)).unwrap_or(usize::MAX);
    if end > file.len() {
        return Err("a segment lies outside the ELF file".to_owned());
    }
    file.truncate(end);
    for field in SECTION_FIELDS {
        file[field].fill(0);
    }
    Ok(file)
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
    fn a_stripped_file_loads_the_same_and_ends_with_its_segments() {
        let file = elf_file(&[(0x4000_0000, b"lower"), (0x4000_0010, b"higher")]);
        let mut whole = file.clone();
        whole[60] = 1; // a section
        whole[40..48].copy_from_slice(&(file.len() as u64).to_le_bytes());
        whole.resize(file.len() + 64, 0);
        let stripped = strip(whole).unwrap();
        assert_eq!(stripped, file);
        assert_eq!(flatten(&stripped), flatten(&file));
        assert!(strip(b"MZ".to_vec()).is_err());
        assert!(strip(file[..file.len() - 1].to_vec()).is_err());
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
