// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a kernel or initrd comes from, and UUIDs as text.

use alloc::string::{String, ToString};
use core::fmt;

/// Where a kernel or initrd comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A file on the operator's side, uploaded as a blob.
    File(String),
    /// `boot:NAME`: a member of the boot bundle.
    Boot(String),
    /// `store:NAME`: an image in the host's store.
    Store(String),
}

impl ImageSource {
    /// As a configuration writes it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Some(name) = text.strip_prefix("boot:") {
            Self::Boot(name.to_string())
        } else if let Some(name) = text.strip_prefix("store:") {
            Self::Store(name.to_string())
        } else {
            Self::File(text.to_string())
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Boot(name) => write!(f, "boot:{name}"),
            Self::Store(name) => write!(f, "store:{name}"),
        }
    }
}

/// A UUID as it is written: 32 hexadecimal digits, with or without the dashes of 8-4-4-4-12.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let dashes = text.match_indices('-').map(|(at, _)| at);
    if text.contains('-') && !dashes.eq([8, 13, 18, 23]) {
        return None;
    }
    let mut digits = text.chars().filter(|c| *c != '-');
    let mut uuid = [0u8; 16];
    for byte in &mut uuid {
        let mut digit = || digits.next().and_then(|c| c.to_digit(16));
        *byte = u8::try_from((digit()? << 4) | digit()?).ok()?;
    }
    digits.next().is_none().then_some(uuid)
}

/// A UUID as 8-4-4-4-12.
#[must_use]
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_come_back_as_they_went() {
        let text = "06a1ee30-7d3a-4e10-8a92-0c29c94dd7f0";
        let uuid = parse_uuid(text).unwrap();
        assert_eq!(uuid_text(&uuid), text);
        assert_eq!(parse_uuid("06A1EE307D3A4E108A920C29C94DD7F0"), Some(uuid));
        for bad in [
            "",
            "06a1ee30",
            "06a1ee30-7d3a-4e10-8a92-0c29c94dd7f",
            "06a1ee30-7d3a-4e10-8a92-0c29c94dd7f01",
            "06a1ee3-07d3a-4e10-8a92-0c29c94dd7f0",
            "06a1ee30-7d3a-4e10-8a92-0c29c94dd7g0",
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }

    #[test]
    fn images_are_named_by_where_they_are() {
        for (text, source) in [
            ("boot:Image", ImageSource::Boot("Image".into())),
            ("store:debian", ImageSource::Store("debian".into())),
            ("/boot/vmlinuz", ImageSource::File("/boot/vmlinuz".into())),
        ] {
            assert_eq!(ImageSource::parse(text), source);
            assert_eq!(source.to_string(), text);
        }
    }
}
