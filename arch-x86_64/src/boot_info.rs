//! What the boot loader says: Xen's PVH start information (`hvm/start_info.h`, `pvh.pandoc`) or multiboot2's (Multiboot2
//! Specification 2.0, section 3.6), as a plain value.

use hv_abi::start::Range;
use hv_common::start::RANGES;

use crate::acpi::Memory;
use crate::bytes::{u32_at, u64_at};

/// The magic number of multiboot2 in EAX.
pub(crate) const MULTIBOOT2: u64 = 0x36D7_6289;
/// Modules at most.
pub(crate) const MODULES: usize = 8;
/// Bytes of a command line at most.
const COMMAND_LINE: u64 = 4096;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootInfo {
    pub(crate) command_line: &'static str,
    /// RAM, ascending.
    pub(crate) ram: heapless::Vec<Range, RANGES>,
    pub(crate) modules: heapless::Vec<Range, MODULES>,
    pub(crate) rsdp: Option<u64>,
    /// What of RAM the information itself takes.
    pub(crate) kept: heapless::Vec<Range, 8>,
}

/// Reads it; `protocol` is what was in EAX, 0 for PVH.
pub(crate) fn read(memory: &impl Memory, protocol: u64, address: u64) -> Option<BootInfo> {
    let mut info = if protocol == MULTIBOOT2 {
        read_multiboot2(memory, address)?
    } else {
        read_pvh(memory, address)?
    };
    info.ram.sort_unstable_by_key(|bank| bank.base);
    Some(info)
}

impl BootInfo {
    /// Whole pages of RAM above 1 MiB: what is below is left to firmware.
    fn add_ram(&mut self, base: u64, size: u64) {
        const PAGE: u64 = hv_abi::FRAME_SIZE as u64;
        const LOW: u64 = 1 << 20;
        let end = base.saturating_add(size) & !(PAGE - 1);
        let base = base.max(LOW).next_multiple_of(PAGE);
        if base < end {
            // More banks than fit are not used.
            let _full = self.ram.push(Range {
                base,
                size: end - base,
            });
        }
    }

    fn add_module(&mut self, base: u64, size: u64) {
        if size > 0 {
            let _full = self.modules.push(Range { base, size });
        }
    }

    fn keep(&mut self, base: u64, size: u64) {
        let _full = self.kept.push(Range { base, size });
    }

    fn set_command_line(&mut self, bytes: &'static [u8]) {
        let end = bytes.iter().position(|byte| *byte == 0);
        let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        // One that is no text is as good as none.
        self.command_line = core::str::from_utf8(text).unwrap_or_default();
    }
}

fn read_pvh(memory: &impl Memory, address: u64) -> Option<BootInfo> {
    const MAGIC: u32 = 0x336E_C578;
    const SIZE: u64 = 56;
    const MODULE: u64 = 32;
    const ENTRY: u64 = 24;
    let start = memory.bytes(address, SIZE)?;
    if u32_at(start, 0)? != MAGIC {
        return None;
    }
    let mut info = BootInfo::default();
    info.keep(address, SIZE);
    let (version, modules) = (u32_at(start, 4)?, u64::from(u32_at(start, 12)?));
    let (list, line) = (u64_at(start, 16)?, u64_at(start, 24)?);
    info.rsdp = u64_at(start, 32).filter(|rsdp| *rsdp != 0);
    if let Some(bytes) = memory.bytes(line, COMMAND_LINE) {
        info.set_command_line(bytes);
        info.keep(line, info.command_line.len() as u64 + 1);
    }
    for index in 0..modules.min(MODULES as u64) {
        let module = memory.bytes(list.checked_add(index * MODULE)?, MODULE)?;
        info.add_module(u64_at(module, 0)?, u64_at(module, 8)?);
    }
    if version == 0 {
        return None;
    }
    let (map, entries) = (u64_at(start, 40)?, u64::from(u32_at(start, 48)?));
    for index in 0..entries.min(4 * RANGES as u64) {
        let entry = memory.bytes(map.checked_add(index * ENTRY)?, ENTRY)?;
        if u32_at(entry, 16)? == RAM {
            info.add_ram(u64_at(entry, 0)?, u64_at(entry, 8)?);
        }
    }
    Some(info)
}

/// Type of RAM in memory maps.
const RAM: u32 = 1;

fn read_multiboot2(memory: &impl Memory, address: u64) -> Option<BootInfo> {
    const SIZE_MAX: u64 = 1 << 20;
    let size = u64::from(u32_at(memory.bytes(address, 8)?, 0)?);
    if !(8..=SIZE_MAX).contains(&size) {
        return None;
    }
    let all = memory.bytes(address, size)?;
    let mut info = BootInfo::default();
    info.keep(address, size);
    let mut at = 8;
    while let (Some(kind), Some(length)) = (u32_at(all, at), u32_at(all, at + 4)) {
        let length = length as usize;
        let tag = all.get(at..at.checked_add(length)?)?;
        if kind == 0 || length < 8 {
            break;
        }
        // A tag that cannot be read is not there.
        let _read = add_tag(&mut info, kind, tag, address + at as u64);
        at += length.next_multiple_of(8);
    }
    Some(info)
}

fn add_tag(info: &mut BootInfo, kind: u32, tag: &'static [u8], address: u64) -> Option<()> {
    const COMMAND_LINE: u32 = 1;
    const MODULE: u32 = 3;
    const MEMORY_MAP: u32 = 6;
    const OLD_RSDP: u32 = 14;
    const NEW_RSDP: u32 = 15;
    match kind {
        COMMAND_LINE => info.set_command_line(tag.get(8..)?),
        MODULE => {
            let (start, end) = (u32_at(tag, 8)?, u32_at(tag, 12)?);
            info.add_module(u64::from(start), u64::from(end.checked_sub(start)?));
        }
        MEMORY_MAP => {
            let size = usize::try_from(u32_at(tag, 8)?)
                .ok()
                .filter(|size| *size >= 24)?;
            for entry in tag.get(16..)?.chunks_exact(size) {
                if u32_at(entry, 16)? == RAM {
                    info.add_ram(u64_at(entry, 0)?, u64_at(entry, 8)?);
                }
            }
        }
        NEW_RSDP => info.rsdp = Some(address + 8),
        OLD_RSDP if info.rsdp.is_none() => info.rsdp = Some(address + 8),
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct At(u64, &'static [u8]);

    impl Memory for At {
        fn bytes(&self, address: u64, length: u64) -> Option<&'static [u8]> {
            let offset = usize::try_from(address.checked_sub(self.0)?).ok()?;
            let end = offset.checked_add(usize::try_from(length).ok()?)?;
            self.1.get(offset..end)
        }
    }

    fn pvh() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0x336E_C578_u32, 1, 0, 2] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [0x1040_u64, 0x10A0, 0xF_0000, 0x1080] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        bytes.resize(0x40, 0);
        for word in [0x20_0000_u64, 0x1000, 0, 0, 0x30_0000, 0x2345, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        let mut map = Vec::new();
        for (base, size, kind) in [(0_u64, 0x9_FC00_u64, 1_u64), (0x10_0000, 0x1FF0_0000, 1)] {
            for word in [base, size, kind] {
                map.extend(word.to_le_bytes());
            }
        }
        bytes.truncate(0x80);
        bytes.extend(&map[..]);
        bytes.resize(0xB0, 0);
        bytes[0xA0 + 0x10..].iter_mut().for_each(|byte| *byte = 0);
        bytes.extend(b"loglvl=debug dom0_mem=16M\0");
        // The command line follows the map.
        bytes[24..32].copy_from_slice(&0x10B0_u64.to_le_bytes());
        bytes.resize(0x3000, 0);
        bytes
    }

    #[test]
    fn pvh_start_information() {
        let info = read(&At(0x1000, pvh().leak()), 0, 0x1000).expect("sound");
        assert_eq!(info.command_line, "loglvl=debug dom0_mem=16M");
        assert_eq!(info.rsdp, Some(0xF_0000));
        let modules: Vec<_> = info
            .modules
            .iter()
            .map(|range| (range.base, range.size))
            .collect();
        assert_eq!(modules, [(0x20_0000, 0x1000), (0x30_0000, 0x2345)]);
        let ram: Vec<_> = info
            .ram
            .iter()
            .map(|range| (range.base, range.size))
            .collect();
        assert_eq!(ram, [(0x10_0000, 0x1FF0_0000)]);
    }

    fn multiboot2() -> Vec<u8> {
        let mut tags: Vec<u8> = Vec::new();
        let mut add = |kind: u32, body: &[u8]| {
            tags.extend(kind.to_le_bytes());
            tags.extend((8 + body.len() as u32).to_le_bytes());
            tags.extend(body);
            tags.resize(tags.len().next_multiple_of(8), 0);
        };
        add(1, b"panic=halt\0");
        add(3, b"\0\0\x40\0\0\x10\x40\0bundle\0");
        let mut map = [24, 0, 0, 0, 0, 0, 0, 0].to_vec();
        map.extend(0x10_0000_u64.to_le_bytes());
        map.extend(0x100_0000_u64.to_le_bytes());
        map.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        add(6, &map);
        add(14, b"RSD PTR ............");
        add(0, b"");
        let mut bytes = (8 + tags.len() as u32).to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(tags);
        bytes
    }

    #[test]
    fn multiboot2_information() {
        let memory = At(0x8000, multiboot2().leak());
        let info = read(&memory, MULTIBOOT2, 0x8000).expect("sound");
        assert_eq!(info.command_line, "panic=halt");
        assert_eq!(
            info.modules.as_slice(),
            [Range {
                base: 0x40_0000,
                size: 0x1000
            }]
        );
        assert_eq!(
            info.ram.as_slice(),
            [Range {
                base: 0x10_0000,
                size: 0x100_0000
            }]
        );
        assert!(
            info.rsdp
                .is_some_and(|rsdp| memory.bytes(rsdp, 8) == Some(b"RSD PTR "))
        );
    }

    #[test]
    fn no_truncation_and_no_flipped_bit_panics() {
        for (protocol, bytes) in [(0, pvh()), (MULTIBOOT2, multiboot2())] {
            for length in 0..bytes.len().min(0x200) {
                let _any = read(
                    &At(0x1000, bytes[..length].to_vec().leak()),
                    protocol,
                    0x1000,
                );
            }
            for bit in 0..bytes.len().min(0x200) * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let _any = read(&At(0x1000, damaged.leak()), protocol, 0x1000);
            }
        }
    }
}
