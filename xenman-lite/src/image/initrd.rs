// SPDX-License-Identifier: MIT OR Apache-2.0
//! Initrds: whether what Linux would unpack is whole.
//!
//! An initramfs is any number of newc archives and packed pieces one after the other, zeroes between
//! them (Documentation/driver-api/early-userspace/buffer-format.rst). What is neither is left to the
//! guest: it may know other things.

use super::{
    Bytes, gzip,
    unpack::{Broken, Packing},
};
use crate::problem::Problem;

/// Says what is wrong with an initrd, if that can be seen.
pub(crate) fn check(path: &str, bytes: &[u8]) -> Result<(), Problem> {
    let wrong = |what: String| {
        Err(
            Problem::new(format!("the ramdisk {path} cannot be used: {what}")).with_remedy(
                "build it anew, or name another file in the configuration's 'ramdisk'",
            ),
        )
    };
    if bytes.is_empty() {
        return wrong("it is empty".into());
    }
    match walk(bytes) {
        Ok(()) => Ok(()),
        Err(Broken::Unsupported(_)) => Ok(()), // Linux may know it.
        Err(broken) => wrong(broken.to_string()),
    }
}

fn walk(mut bytes: &[u8]) -> Result<(), Broken> {
    loop {
        let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes = bytes.get(zeroes..).unwrap_or_default();
        let length = if is_newc(bytes) {
            archive(Bytes(bytes)).ok_or(Broken::CutOff)?
        } else if gzip::is_gzip(bytes) {
            gzip::member(bytes, |_| Ok(()))?
        } else {
            // The other packings do not say where they end: the last piece.
            return Packing::of(bytes).map_or(Ok(()), |packing| packing.unpack(bytes).map(drop));
        };
        bytes = bytes.get(length..).unwrap_or_default();
    }
}

fn is_newc(bytes: &[u8]) -> bool {
    bytes.starts_with(b"070701") || bytes.starts_with(b"070702")
}

/// The length of a newc archive, its trailer included; none if it is cut off.
fn archive(bytes: Bytes<'_>) -> Option<usize> {
    let mut at = 0usize;
    loop {
        if !is_newc(bytes.0.get(at..)?) {
            return None;
        }
        let size = hex(bytes, at.checked_add(54)?)?;
        let name_size = hex(bytes, at.checked_add(94)?)?;
        let name_at = at.checked_add(110)?;
        let name = bytes.slice(name_at, name_size)?;
        let data_at = aligned(name_at.checked_add(name_size)?)?;
        let data_end = data_at.checked_add(size)?;
        if data_end > bytes.0.len() {
            return None;
        }
        at = aligned(data_end)?;
        if name.starts_with(b"TRAILER!!!\0") {
            return Some(data_end);
        }
    }
}

fn aligned(offset: usize) -> Option<usize> {
    offset.checked_next_multiple_of(4)
}

fn hex(bytes: Bytes<'_>, offset: usize) -> Option<usize> {
    let digits = bytes.slice(offset, 8)?;
    usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        for field in 0..13 {
            let value = match field {
                6 => data.len(),
                11 => name.len() + 1,
                _ => 0,
            };
            bytes.extend(format!("{value:08x}").bytes());
        }
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn cpio() -> Vec<u8> {
        [entry("init", b"#!/bin/sh\n"), entry("TRAILER!!!", b"")].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        packed.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
        packed.extend(
            crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC)
                .checksum(bytes)
                .to_le_bytes(),
        );
        packed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        packed
    }

    #[test]
    fn whole_ones_pass() {
        let padded = [cpio(), vec![0; 512], gzip(&cpio()), vec![0; 3]].concat();
        for initrd in [
            cpio(),
            gzip(&cpio()),
            padded,
            b"an RTOS' own thing".to_vec(),
            b"BZh9".to_vec(),
        ] {
            check("i", &initrd).unwrap();
        }
    }

    #[test]
    fn cut_off_ones_do_not() {
        let (plain, packed) = (cpio(), gzip(&cpio()));
        for cut in 6..plain.len() - 4 {
            assert!(check("i", &plain[..cut]).is_err(), "{cut}");
        }
        for cut in 3..packed.len() {
            assert!(check("i", &packed[..cut]).is_err(), "{cut}");
        }
        let problem = check("initrd.img", &[plain, packed[..40].to_vec()].concat()).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "xenman: the ramdisk initrd.img cannot be used: it is cut off\n  \
             help: build it anew, or name another file in the configuration's 'ramdisk'"
        );
        assert!(check("i", b"").is_err());
    }
}
