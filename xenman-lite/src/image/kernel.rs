// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels: unpacked, recognised, and checked for what can be seen from outside.
//!
//! References: Documentation/arch/arm64/booting.rst (the Image header), the EFI zboot header of Linux
//! (`MZ`, `zimg`), the PE/COFF specification, Documentation/arch/x86/boot.rst.

use super::{
    Bytes,
    unpack::{Broken, Packing},
};
use crate::problem::Problem;

/// What kind of kernel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// An arm64 Image.
    Arm64Image,
    /// An ELF file for this machine number.
    Elf(u16),
    /// An x86 bzImage.
    BzImage,
}

/// ELF machine numbers.
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

impl Kernel {
    /// Refuses a kernel of another architecture than the host's.
    pub(crate) fn check_arch(self, path: &str, arch: &str) -> Result<(), Problem> {
        let fits = match (self, arch) {
            (Self::Arm64Image, "aarch64") | (Self::Elf(EM_X86_64) | Self::BzImage, "x86_64") => {
                true
            }
            (Self::Arm64Image | Self::Elf(_) | Self::BzImage, "aarch64" | "x86_64") => false,
            _ => true, // A host from the future may know more.
        };
        if fits {
            return Ok(());
        }
        let wanted = if arch == "aarch64" {
            "an arm64 Linux Image"
        } else {
            "an x86-64 kernel"
        };
        Err(Problem::new(format!(
            "the kernel {path} is {}, and the host needs {wanted}",
            self.name()
        ))
        .with_remedy(format!(
            "name a kernel for {arch} in the configuration's 'kernel'"
        )))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Arm64Image => "an arm64 Image",
            Self::Elf(EM_AARCH64) => "an arm64 ELF file (vmlinux, not Image)",
            Self::Elf(EM_X86_64) => "an x86-64 ELF file",
            Self::Elf(_) => "an ELF file for another processor",
            Self::BzImage => "an x86 bzImage",
        }
    }
}

/// A packing within a packing is unpacked, but not for ever.
const LAYERS: usize = 3;

/// Unpacks a kernel if need be, and says what it is; or what is wrong with it.
pub(crate) fn prepare(path: &str, mut bytes: Vec<u8>) -> Result<(Kernel, Vec<u8>), Problem> {
    let wrong = |what: String| {
        Problem::new(format!("the kernel {path} cannot be used: {what}")).with_remedy(
            "fetch or build it anew, or name another file in the configuration's 'kernel'",
        )
    };
    for _ in 0..LAYERS {
        match unpack(&bytes).map_err(|broken| wrong(broken.to_string()))? {
            Some(unpacked) => bytes = unpacked,
            None => break,
        }
    }
    match recognise(&bytes) {
        Ok(kernel) => Ok((kernel, bytes)),
        Err(what) => Err(wrong(what.to_owned())),
    }
}

/// Whether a kernel has to be unpacked.
pub(crate) fn is_packed(bytes: &[u8]) -> bool {
    let header = Bytes(bytes);
    is_zboot(header) || bzimage_payload(header).is_some() || Packing::of(bytes).is_some()
}

fn is_zboot(header: Bytes<'_>) -> bool {
    header.has(0, b"MZ") && header.has(4, b"zimg")
}

fn unpack(bytes: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
    let header = Bytes(bytes);
    if is_zboot(header) {
        let payload = header
            .u32(8)
            .zip(header.u32(12))
            .and_then(|(at, length)| header.slice(at, length));
        let payload = payload.ok_or(Broken::CutOff)?;
        return Packing::of(payload)
            .ok_or(Broken::Damaged)?
            .unpack(payload)
            .map(Some);
    }
    if let Some(payload) = bzimage_payload(header) {
        let payload = payload.ok_or(Broken::CutOff)?;
        return Packing::of(payload)
            .ok_or(Broken::Damaged)?
            .unpack(payload)
            .map(Some);
    }
    Packing::of(bytes)
        .map(|packing| packing.unpack(bytes))
        .transpose()
}

/// The packed kernel within a bzImage, of which the part that unpacks it is not needed. `None`: it is no bzImage, or one
/// from before 2008, which does not say where the kernel is.
fn bzimage_payload(header: Bytes<'_>) -> Option<Option<&[u8]>> {
    const SAYS_WHERE: usize = 0x208;
    if !header.has(0x202, b"HdrS") || header.u16(0x206)? < SAYS_WHERE {
        return None;
    }
    let [sectors] = header.at::<1>(0x1f1)?;
    let setup = match sectors {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup + 1) * 512;
    let at = start.checked_add(header.u32(0x248)?);
    let length = header.u32(0x24c)?;
    Some(at.and_then(|at| header.slice(at, length)))
}

fn recognise(bytes: &[u8]) -> Result<Kernel, &'static str> {
    let header = Bytes(bytes);
    if bytes.is_empty() {
        return Err("it is empty");
    }
    if header.has(56, b"ARM\x64") {
        return match arm64_image_end(header) {
            Some(end) if end <= bytes.len() => Ok(Kernel::Arm64Image),
            _ => Err("it is an arm64 Image that is cut off"),
        };
    }
    if header.has(0, b"\x7fELF") {
        let machine = header.at(18).map(u16::from_le_bytes);
        return machine
            .map(Kernel::Elf)
            .ok_or("it is an ELF file that is cut off");
    }
    if header.has(0x202, b"HdrS") {
        return Ok(Kernel::BzImage);
    }
    if bytes
        .iter()
        .take(512)
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    {
        return Err("it is a text, not a kernel");
    }
    Err("it is neither an arm64 Image nor any other kernel known here")
}

/// Where the Image's content ends: its PE sections say so if it has any, else its header ends it.
fn arm64_image_end(image: Bytes<'_>) -> Option<usize> {
    const HEADER: usize = 64;
    image.slice(0, HEADER)?;
    let pe = image.u32(60)?;
    if !image.has(0, b"MZ") || pe < HEADER {
        return Some(HEADER);
    }
    if image.slice(pe, 24)?.get(..4) != Some(b"PE\0\0") {
        return Some(HEADER); // Something else lives there: not for us to judge.
    }
    let first = pe
        .checked_add(24)?
        .checked_add(image.u16(pe.checked_add(20)?)?)?;
    let mut end = HEADER;
    for index in 0..image.u16(pe.checked_add(6)?)? {
        let section = first.checked_add(index.checked_mul(40)?)?;
        image.slice(section, 40)?;
        let (size, at) = (
            image.u32(section.checked_add(16)?)?,
            image.u32(section.checked_add(20)?)?,
        );
        end = end.max(at.checked_add(size)?);
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An arm64 Image with a PE header and one section, 4 KiB long.
    pub(crate) fn image() -> Vec<u8> {
        let mut image = vec![0u8; 4096];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(16, &8192u64.to_le_bytes());
        put(56, b"ARM\x64");
        put(60, &64u32.to_le_bytes());
        put(64, b"PE\0\0");
        put(64 + 6, &1u16.to_le_bytes());
        put(64 + 24 + 16, &3072u32.to_le_bytes());
        put(64 + 24 + 20, &1024u32.to_le_bytes());
        (1024..4096)
            .zip(0u32..)
            .for_each(|(at, i)| image[at] = (i * i % 251) as u8);
        image
    }

    fn complaint(bytes: Vec<u8>) -> String {
        let problem = prepare("k", bytes).unwrap_err();
        assert_eq!(problem.status, 1);
        problem.to_string()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
        packed.extend_from_slice(b"Image\0");
        packed.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
        packed.extend(
            crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC)
                .checksum(bytes)
                .to_le_bytes(),
        );
        packed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        packed
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let block = lz4_flex::block::compress(bytes);
        let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
        packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend(block);
        packed
    }

    /// An ELF file for x86-64, as far as it is looked at.
    fn vmlinux() -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(18, 0);
        elf.extend(EM_X86_64.to_le_bytes());
        elf.resize(4096, 7);
        elf
    }

    /// A bzImage with two setup sectors.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut packed = vec![0; 3 * 512];
        packed[0x1f1] = 2;
        packed[0x202..0x206].copy_from_slice(b"HdrS");
        packed[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        packed[0x248..0x24c].copy_from_slice(&100_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        packed[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        packed.resize(3 * 512 + 100, 0x90);
        packed.extend(payload);
        packed.extend([0; 100]);
        packed
    }

    fn zboot(payload: &[u8]) -> Vec<u8> {
        let mut packed = b"MZ\0\0zimg".to_vec();
        packed.extend(64u32.to_le_bytes());
        packed.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        packed.resize(64, 0);
        packed.extend(payload);
        packed.extend([0; 100]);
        packed
    }

    /// What `zstd` and `xz` make of it, where they are installed.
    fn packed_by(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        use std::{io::Write, process::*};
        let mut child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(bytes).ok()?;
        Some(child.wait_with_output().ok()?.stdout)
    }

    #[test]
    fn unpacks_what_kernels_come_in() {
        let image = image();
        let mut forms = vec![
            image.clone(),
            gzip(&image),
            lz4(&image),
            zboot(&gzip(&image)),
            gzip(&gzip(&image)),
        ];
        let with_length = [lz4(&image), 4096u32.to_le_bytes().to_vec()].concat();
        forms.push(with_length);
        forms.extend(
            ["zstd", "xz"]
                .iter()
                .filter_map(|program| packed_by(program, &image)),
        );
        for form in forms {
            let first = form[..4].to_vec();
            assert_eq!(
                prepare("k", form).unwrap(),
                (Kernel::Arm64Image, image.clone()),
                "{first:02x?}"
            );
        }
    }

    #[test]
    fn a_bzimage_holds_a_kernel() {
        let elf = vmlinux();
        let with_length = |mut packed: Vec<u8>| {
            packed.extend(4096_u32.to_le_bytes());
            packed
        };
        let mut payloads = vec![gzip(&elf), with_length(lz4(&elf))];
        let others = ["zstd", "xz"].map(|program| packed_by(program, &elf));
        payloads.extend(others.into_iter().flatten().map(with_length));
        for payload in payloads {
            let kernel = (Kernel::Elf(EM_X86_64), elf.clone());
            assert_eq!(prepare("k", bzimage(&payload)).unwrap(), kernel);
        }
        let whole = bzimage(&gzip(&elf));
        assert!(complaint(whole[..whole.len() - 200].to_vec()).contains("cut off"));
        assert!(complaint(bzimage(b"something else")).contains("damaged"));
    }

    #[test]
    fn says_what_is_wrong() {
        let image = image();
        let packed = gzip(&image);
        assert!(complaint(Vec::new()).contains("it is empty"));
        assert!(complaint(b"404 Not Found\n".to_vec()).contains("it is a text"));
        assert!(complaint(image[..4095].to_vec()).contains("arm64 Image that is cut off"));
        assert!(complaint(image[..70].to_vec()).contains("cut off"));
        assert!(complaint(packed[..packed.len() - 9].to_vec()).contains("it is cut off"));
        assert!(complaint(packed[..300].to_vec()).contains("it is cut off"));
        let mut damaged = packed;
        let crc = damaged.len() - 5;
        damaged[crc] ^= 1;
        assert!(complaint(damaged).contains("it is damaged"));
        assert!(complaint(b"BZh91AY".to_vec()).contains("bzip2"));
        assert!(complaint(vec![0xff; 4096]).contains("neither an arm64 Image"));
        assert!(complaint(vec![0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff]).contains("cannot be used"));
        assert!(complaint(Vec::new()).contains("help: fetch or build it anew"));
    }

    #[test]
    fn damage_never_panics() {
        let image = image();
        for form in [
            image.clone(),
            gzip(&image),
            lz4(&image),
            zboot(&lz4(&image)),
        ] {
            for cut in (0..form.len()).step_by(7) {
                drop(prepare("k", form[..cut].to_vec()));
                let mut damaged = form.clone();
                damaged[cut] ^= 0xff;
                drop(prepare("k", damaged));
            }
        }
    }

    #[test]
    fn a_kernel_fits_its_host() {
        for (kernel, arch, fits) in [
            (Kernel::Arm64Image, "aarch64", true),
            (Kernel::Arm64Image, "x86_64", false),
            (Kernel::BzImage, "aarch64", false),
            (Kernel::Elf(EM_AARCH64), "aarch64", false),
            (Kernel::Elf(EM_X86_64), "x86_64", true),
        ] {
            assert_eq!(
                kernel.check_arch("k", arch).is_ok(),
                fits,
                "{kernel:?} {arch}"
            );
        }
    }
}
