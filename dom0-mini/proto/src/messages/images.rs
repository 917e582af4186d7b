// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images in the store: what domains are made from, under a name.

use crate::blob::BlobId;
use alloc::{string::String, vec::Vec};
use minicbor::{Decode, Encode};

/// The longest configuration of an image, in bytes: it shares a file of the store with what else is known of the image.
pub const MAX_TEMPLATE: usize = 24 * 1024;

/// The longest description of an image, in bytes.
pub const MAX_DESCRIPTION: usize = 256;

/// The longest name of an image, in bytes.
pub const MAX_IMAGE_NAME: usize = 64;

/// Whether an image may have this name; the sentence says why not. A name can stand within quotes, and be a folder's.
pub fn check_image_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_IMAGE_NAME {
        Err("an image's name has 1 to 64 bytes")
    } else if !name.starts_with(char::is_alphanumeric) {
        Err("an image's name begins with a letter or a digit")
    } else if name.contains(|c: char| !c.is_alphanumeric() && !"-_.+".contains(c)) {
        Err("an image's name is made of letters, digits and '-', '_', '.', '+'")
    } else {
        Ok(())
    }
}

/// What a part of an image is for; an open list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct ImageRole(#[n(0)] pub u8);

impl ImageRole {
    /// The kernel.
    pub const KERNEL: Self = Self(0);
    /// The initrd.
    pub const INITRD: Self = Self(1);
    /// A disk's content.
    pub const DISK: Self = Self(2);

    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KERNEL => "kernel",
            Self::INITRD => "initrd",
            Self::DISK => "disk",
            _ => "unknown",
        }
    }
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImagePart {
    /// What it is for.
    #[n(0)]
    pub role: ImageRole,
    /// The name of the file it came from, without its folder.
    #[n(1)]
    pub file: String,
    /// Its content.
    #[n(2)]
    pub blob: BlobId,
    /// Its length in bytes.
    #[n(3)]
    pub length: u64,
}

/// An image to keep: a kernel, and at most one of each other part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImageAdd {
    /// Its name ([`check_image_name`]); must be free.
    #[n(0)]
    pub name: String,
    /// What the operator says about it ([`MAX_DESCRIPTION`] bytes at most).
    #[n(1)]
    pub description: String,
    /// What it is for: `aarch64` or `x86_64`; the host's.
    #[n(2)]
    pub arch: String,
    /// The configuration of domains made from it ([`MAX_TEMPLATE`] bytes at most), with variables that the client fills in.
    #[n(3)]
    pub config: String,
    /// Its parts, their content held by this session.
    #[n(4)]
    pub parts: Vec<ImagePart>,
}

/// One image in full.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Image {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// What the operator said about it.
    #[n(1)]
    pub description: String,
    /// What it is for: `aarch64` or `x86_64`.
    #[n(2)]
    pub arch: String,
    /// The configuration of domains made from it, as it was given.
    #[n(3)]
    pub config: String,
    /// Its parts.
    #[n(4)]
    pub parts: Vec<ImagePart>,
    /// Who added it.
    #[n(5)]
    pub added_by: String,
    /// When, in nanoseconds since 1970; absent without a clock.
    #[n(6)]
    pub added_ns: Option<u64>,
}

/// One image in a list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImageSummary {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// What the operator said about it.
    #[n(1)]
    pub description: String,
    /// What it is for.
    #[n(2)]
    pub arch: String,
    /// What it has.
    #[n(3)]
    pub roles: Vec<ImageRole>,
    /// Its parts together, in bytes.
    #[n(4)]
    pub length: u64,
    /// When it was added, in nanoseconds since 1970; absent without a clock.
    #[n(5)]
    pub added_ns: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_in_configurations_and_be_folders() {
        for good in ["debian-12", "web_2.0+git", "büro", &"x".repeat(64)] {
            assert_eq!(check_image_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-x",
            ".x",
            "a/b",
            "a b",
            "a'b",
            "a\"b",
            "a\nb",
            "a$b",
            "a\\b",
            &"x".repeat(65),
        ] {
            assert!(check_image_name(bad).is_err(), "{bad}");
        }
    }
}
