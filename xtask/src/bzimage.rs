//! The kernel within a bzImage (Linux, Documentation/arch/x86/boot.rst), where it is packed as an LZ4 legacy frame: that is
//! how Debian packs its cloud kernel.

const MAGIC: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];
/// Bytes of an unpacked block at most.
const BLOCK: usize = 8 << 20;

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(field.try_into().ok()?)).ok()
}

/// Unpacks the kernel.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let payload = payload(bytes).ok_or("it is no bzImage, or cut off")?;
    if !payload.starts_with(&MAGIC) {
        return Err("its kernel is not packed with LZ4");
    }
    let mut unpacked = Vec::new();
    let mut at = MAGIC.len();
    // The unpacked length follows the last block.
    while let Some(length) = u32_at(payload, at).filter(|_| at + 4 < payload.len()) {
        let block = payload
            .get(at + 4..at + 4 + length)
            .ok_or("it is cut off")?;
        let content = lz4_flex::block::decompress(block, BLOCK);
        unpacked.extend(content.map_err(|_| "it is damaged")?);
        at += 4 + length;
    }
    Ok(unpacked)
}

/// The packed kernel.
pub(crate) fn payload(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = usize::from(*bytes.get(0x1F1)?);
    let setup = if sectors == 0 { 4 } else { sectors };
    let start = ((setup + 1) * 512).checked_add(u32_at(bytes, 0x248)?)?;
    bytes.get(start..start.checked_add(u32_at(bytes, 0x24C)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bzimage(content: &[u8]) -> Vec<u8> {
        let mut payload = MAGIC.to_vec();
        for block in content.chunks(1000) {
            let packed = lz4_flex::block::compress(block);
            payload.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
            payload.extend(packed);
        }
        payload.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        let mut image = vec![0; 1024];
        image[0x1F1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        let length = u32::try_from(payload.len()).unwrap();
        image[0x24C..0x250].copy_from_slice(&length.to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn the_kernel_is_what_was_packed() {
        let content: Vec<u8> = (0..2500_u32).map(|at| (at * at % 251) as u8).collect();
        let image = bzimage(&content);
        assert_eq!(unpack(&image), Ok(content));
        assert!(unpack(&image[..image.len() - 9]).is_err());
        assert!(unpack(b"MZ").is_err());
    }
}
