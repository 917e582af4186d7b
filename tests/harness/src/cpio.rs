//! The "newc" cpio archive: writer and reader, for boot bundles and initramfs images.
//!
//! Format: `cpio(5)`, "New ASCII Format". Archives written here are reproducible: no times, no owners, inodes
//! numbered in order.

use std::fmt;

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Where an archive stops being one.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// No `070701` at this offset.
    Magic(usize),
    /// A header field that is not hexadecimal, or a name that is not text, in the header at this offset.
    Header(usize),
    /// The archive ends inside the member whose header is at this offset, or without a trailer.
    Truncated(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Magic(at) => write!(f, "not a newc cpio archive (no magic number at byte {at})"),
            Error::Header(at) => write!(f, "malformed cpio header at byte {at}"),
            Error::Truncated(at) => {
                write!(f, "the cpio archive is cut off in the member at byte {at}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// An archive being written.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    members: u32,
}

impl Writer {
    /// An archive without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str) {
        self.member(name, DIRECTORY, (0, 0), &[]);
    }

    /// Adds a regular file.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.member(name, FILE, (0, 0), content);
    }

    /// Adds a regular file that may be executed.
    pub fn program(&mut self, name: &str, content: &[u8]) {
        self.member(name, PROGRAM, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) {
        self.member(name, LINK, (0, 0), target.as_bytes());
    }

    /// Adds a character device node.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.member(name, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// Ends the archive and returns it.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.members = 0;
        self.member(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn member(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.members += 1;
        let size = u32::try_from(content.len()).expect("a newc member is smaller than 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a name is short");
        let fields = [
            self.members,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(MAGIC);
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One member of an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name as written, usually without a leading slash.
    pub name: &'a str,
    /// The file's content; a link's target.
    pub content: &'a [u8],
}

/// The members of `archive` in order, up to its trailer.
pub fn read(archive: &[u8]) -> Result<Vec<Member<'_>>, Error> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let (member, next) = read_member(archive, at)?;
        if member.name == TRAILER {
            return Ok(members);
        }
        members.push(member);
        at = next;
    }
}

fn read_member(archive: &[u8], at: usize) -> Result<(Member<'_>, usize), Error> {
    let header = archive.get(at..at + HEADER).ok_or(Error::Truncated(at))?;
    if !header.starts_with(MAGIC) {
        return Err(Error::Magic(at));
    }
    let size = field(header, 6).ok_or(Error::Header(at))?;
    let name_size = field(header, 11).ok_or(Error::Header(at))?;
    let name_at = at + HEADER;
    let name = archive
        .get(name_at..name_at + name_size)
        .ok_or(Error::Truncated(at))?;
    let name = name.strip_suffix(&[0]).ok_or(Error::Header(at))?;
    let name = str::from_utf8(name).map_err(|_| Error::Header(at))?;
    let content_at = (name_at + name_size).next_multiple_of(4);
    let content = archive
        .get(content_at..content_at + size)
        .ok_or(Error::Truncated(at))?;
    Ok((
        Member { name, content },
        (content_at + size).next_multiple_of(4),
    ))
}

fn field(header: &[u8], index: usize) -> Option<usize> {
    let start = MAGIC.len() + index * 8;
    let digits = str::from_utf8(header.get(start..start + 8)?).ok()?;
    u32::from_str_radix(digits, 16).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Writer::new();
        archive.directory("etc");
        archive.file("etc/five", b"12345");
        archive.link("bin/sh", "busybox");
        archive.finish()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let archive = sample();
        let members = read(&archive).unwrap();
        let names: Vec<_> = members.iter().map(|member| member.name).collect();
        assert_eq!(names, ["etc", "etc/five", "bin/sh"]);
        assert_eq!(members[1].content, b"12345");
        assert_eq!(members[2].content, b"busybox");
    }

    #[test]
    fn headers_and_contents_are_aligned() {
        let archive = sample();
        assert_eq!(archive.len() % 4, 0);
        assert_eq!(&archive[..14], b"07070100000001");
    }

    #[test]
    fn every_truncation_is_noticed() {
        let archive = sample();
        let trailer = archive.len() - HEADER - "TRAILER!!!".len() - 1;
        for length in 0..trailer {
            assert!(read(&archive[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn garbage_is_named() {
        assert_eq!(read(&[0xff; 200]), Err(Error::Magic(0)));
        let mut archive = sample();
        archive[54] = b'x';
        assert_eq!(read(&archive), Err(Error::Header(0)));
    }
}
