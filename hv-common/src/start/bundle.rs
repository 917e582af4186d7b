//! The boot bundle: a newc cpio (the "new ASCII format" of cpio(5)).
//!
//! The hypervisor looks for one member in it. Every length in it is checked: a damaged bundle has no member.

const HEADER: usize = 110;
const MAGIC: &[u8] = b"070701";
const MAGIC_WITH_CHECKSUM: &[u8] = b"070702";
const END: &[u8] = b"TRAILER!!!";

/// The content of the member called `name` (a leading `./` does not count).
#[must_use]
pub fn find<'a>(archive: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = archive;
    while let Some(member) = Member::first(rest) {
        if member.name == END {
            return None;
        }
        if member.name.strip_prefix(b"./").unwrap_or(member.name) == name.as_bytes() {
            return Some(member.content);
        }
        rest = member.rest;
    }
    None
}

struct Member<'a> {
    name: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Member<'a> {
    fn first(archive: &'a [u8]) -> Option<Self> {
        let header = archive.get(..HEADER)?;
        if !header.starts_with(MAGIC) && !header.starts_with(MAGIC_WITH_CHECKSUM) {
            return None;
        }
        let name_end = HEADER.checked_add(field(header, 11)?)?;
        let name = archive.get(HEADER..name_end)?;
        let start = name_end.checked_next_multiple_of(4)?;
        let end = start.checked_add(field(header, 6)?)?;
        Some(Self {
            name: name.split(|byte| *byte == 0).next()?,
            content: archive.get(start..end)?,
            rest: archive
                .get(end.checked_next_multiple_of(4)?..)
                .unwrap_or_default(),
        })
    }
}

/// The `nth` 8-digit hexadecimal field behind the magic.
fn field(header: &[u8], nth: usize) -> Option<usize> {
    let start = MAGIC.len() + nth * 8;
    let digits = core::str::from_utf8(header.get(start..start + 8)?).ok()?;
    usize::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, vec::Vec};

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        for index in 0..13 {
            let value = match index {
                6 => content.len(),
                11 => name.len() + 1,
                _ => 0,
            };
            bytes.extend(format!("{value:08X}").bytes());
        }
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn members_are_found_by_name() {
        let archive = [
            member("./a", b"first"),
            member("dom0", b"ELF!!"),
            member("TRAILER!!!", b""),
            member("x", b"no"),
        ]
        .concat();
        assert_eq!(find(&archive, "dom0"), Some(&b"ELF!!"[..]));
        assert_eq!(find(&archive, "a"), Some(&b"first"[..]));
        assert_eq!(find(&archive, "x"), None, "behind the end");
    }

    #[test]
    fn no_truncation_and_no_flipped_bit_panics() {
        let archive = [
            member("a", b"first"),
            member("dom0", b"content"),
            member("TRAILER!!!", b""),
        ]
        .concat();
        for length in 0..archive.len() {
            let _found = find(&archive[..length], "dom0");
        }
        for position in 0..archive.len() * 8 {
            let mut damaged = archive.clone();
            damaged[position / 8] ^= 1 << (position % 8);
            let _found = find(&damaged, "dom0");
        }
    }
}
