// SPDX-License-Identifier: MIT OR Apache-2.0
//! gzip members (RFC 1952), their checksum and length verified.

use super::{Bytes, unpack::Broken};
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use miniz_oxide::{
    DataFormat, MZFlush, MZStatus,
    inflate::stream::{InflateState, inflate},
};

const CRC32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// Bytes unpacked at once.
const STEP: usize = 64 * 1024;

/// Whether a gzip member begins here.
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

/// Unpacks one member, handing its content to `sink`, and returns how long it is packed.
pub(super) fn member(
    bytes: &[u8],
    mut sink: impl FnMut(&[u8]) -> Result<(), Broken>,
) -> Result<usize, Broken> {
    let mut at = header_length(Bytes(bytes)).ok_or(Broken::CutOff)?;
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let mut output = vec![0; STEP];
    let (mut sum, mut length) = (CRC32.digest(), 0u64);
    loop {
        let input = bytes.get(at..).unwrap_or_default();
        let step = inflate(&mut state, input, &mut output, MZFlush::None);
        let written = output.get(..step.bytes_written).unwrap_or_default();
        at = at.saturating_add(step.bytes_consumed);
        length = length.saturating_add(written.len() as u64);
        sum.update(written);
        sink(written)?;
        match step.status {
            Ok(MZStatus::StreamEnd) => break,
            Ok(_) if step.bytes_consumed > 0 || step.bytes_written > 0 => {}
            Ok(_) => return Err(Broken::CutOff),
            Err(_) if at >= bytes.len() => return Err(Broken::CutOff),
            Err(_) => return Err(Broken::Damaged),
        }
    }
    let trailer: [u8; 8] = Bytes(bytes).at(at).ok_or(Broken::CutOff)?;
    let wanted = u64::from_le_bytes(trailer);
    let found = u64::from(sum.finalize()) | (length & 0xffff_ffff) << 32;
    if wanted == found {
        Ok(at.saturating_add(8))
    } else {
        Err(Broken::Damaged)
    }
}

fn header_length(bytes: Bytes<'_>) -> Option<usize> {
    let flags = bytes.at::<1>(3)?[0];
    let mut at = 10usize;
    if flags & 4 != 0 {
        at = at.checked_add(2)?.checked_add(bytes.u16(at)?)?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = bytes.0.get(at..)?.iter().position(|byte| *byte == 0)?;
            at = at.checked_add(end)?.checked_add(1)?;
        }
    }
    if flags & 2 != 0 {
        at = at.checked_add(2)?;
    }
    (at <= bytes.0.len()).then_some(at)
}
