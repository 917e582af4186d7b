// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels and initrds, looked at before anything is sent: what can be seen to be wrong here is said
//! here, and what is packed is unpacked here.

mod gzip;
mod initrd;
mod kernel;
mod unpack;

pub(crate) use initrd::check as check_initrd;
pub(crate) use kernel::{Kernel, is_packed, prepare as prepare_kernel};

/// Little-endian fields of an untrusted image.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn at<const N: usize>(self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn u16(self, offset: usize) -> Option<usize> {
        self.at(offset)
            .map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    fn u32(self, offset: usize) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.at(offset)?)).ok()
    }

    fn has(self, offset: usize, text: &[u8]) -> bool {
        self.0
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(text))
    }

    fn slice(self, offset: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(offset..offset.checked_add(length)?)
    }
}
