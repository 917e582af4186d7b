//! Boot bundles: what a board's boot loader hands to the hypervisor beside its image.
//!
//! A bundle is a newc cpio archive whose first member is `dom0`; the rest is for xend (its configuration, keys,
//! `auto/*.cfg`, kernels and initrds that configurations name as `boot:NAME`).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cpio;

/// Xend's configuration where a bundle brings none of its own.
pub const DEFAULT_XEND_CONFIG: &str = include_str!("../../../dom0-mini/xend-config.sxp");

const DOM0: &str = "dom0";
const XEND_CONFIG: &str = "xend-config.sxp";

/// Why a bundle could not be made.
#[derive(Debug)]
pub enum Error {
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// A file given as a bundle is not one.
    Archive(PathBuf, cpio::Error),
    /// Domain-0's image is not an ELF file.
    NotElf(PathBuf),
    /// An `--add` that is not `NAME=PATH`, or whose name is not a plain relative one.
    Name(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Archive(path, error) => write!(f, "{}: {error}", path.display()),
            Error::NotElf(path) => {
                write!(
                    f,
                    "{}: not an ELF file, so it cannot be Domain-0's image",
                    path.display()
                )
            }
            Error::Name(given) => write!(
                f,
                "{given:?} is not NAME=PATH with a relative NAME such as kernels/Image (and not dom0)"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// A bundle being put together. Members keep their order; a later one replaces an earlier one of the same name.
pub struct Bundle {
    members: Vec<(String, Vec<u8>)>,
}

impl Bundle {
    /// A bundle with Domain-0's image and the default configuration.
    pub fn new(dom0: &Path) -> Result<Self, Error> {
        let image = read(dom0)?;
        if !image.starts_with(b"\x7fELF") {
            return Err(Error::NotElf(dom0.to_owned()));
        }
        let mut bundle = Self {
            members: Vec::new(),
        };
        bundle.put(DOM0, image);
        bundle.put(XEND_CONFIG, DEFAULT_XEND_CONFIG.as_bytes().to_vec());
        Ok(bundle)
    }

    /// Adds the file at `path` as `name`.
    pub fn add(&mut self, name: &str, path: &Path) -> Result<(), Error> {
        self.add_bytes(name, read(path)?)
    }

    /// Adds `content` as `name`.
    pub fn add_bytes(&mut self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        if !is_member_name(name) || name == DOM0 {
            return Err(Error::Name(name.to_owned()));
        }
        self.put(name, content);
        Ok(())
    }

    /// Adds what a `NAME=PATH` argument asks for.
    pub fn add_argument(&mut self, argument: &str) -> Result<(), Error> {
        let (name, path) = argument
            .split_once('=')
            .ok_or_else(|| Error::Name(argument.to_owned()))?;
        self.add(name, Path::new(path))
    }

    /// Adds all members of another bundle, its `dom0` included.
    pub fn merge(&mut self, path: &Path) -> Result<(), Error> {
        let archive = read(path)?;
        let members =
            cpio::read(&archive).map_err(|error| Error::Archive(path.to_owned(), error))?;
        for member in members {
            self.put(member.name, member.content.to_vec());
        }
        Ok(())
    }

    /// The archive.
    #[must_use]
    pub fn to_archive(&self) -> Vec<u8> {
        let mut archive = cpio::Writer::new();
        for (name, content) in &self.members {
            archive.file(name, content);
        }
        archive.finish()
    }

    /// Writes the archive to `path`.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        fs::write(path, self.to_archive()).map_err(|error| Error::File(path.to_owned(), error))
    }

    fn put(&mut self, name: &str, content: Vec<u8>) {
        match self.members.iter_mut().find(|member| member.0 == name) {
            Some(member) => member.1 = content,
            None => self.members.push((name.to_owned(), content)),
        }
    }
}

fn is_member_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dom0(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("dom0.elf");
        fs::write(&path, b"\x7fELF and so on").unwrap();
        path
    }

    #[test]
    fn dom0_is_first_and_the_default_configuration_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Bundle::new(&dom0(&dir)).unwrap().to_archive();
        let members = cpio::read(&archive).unwrap();
        assert_eq!(members[0].name, "dom0");
        assert_eq!(members[0].content, b"\x7fELF and so on");
        assert_eq!(members[1].name, "xend-config.sxp");
        assert!(members[1].content.starts_with(b"#"));
    }

    #[test]
    fn a_merged_bundle_replaces_members_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut other = cpio::Writer::new();
        other.file("xend-config.sxp", b"(loglevel DEBUG)");
        other.file("dom0", b"\x7fELF newer");
        let path = dir.path().join("other.cpio");
        fs::write(&path, other.finish()).unwrap();

        let mut bundle = Bundle::new(&dom0(&dir)).unwrap();
        bundle.merge(&path).unwrap();
        let archive = bundle.to_archive();
        let members = cpio::read(&archive).unwrap();
        assert_eq!(members.len(), 2);
        assert_eq!(members[0].content, b"\x7fELF newer");
        assert_eq!(members[1].content, b"(loglevel DEBUG)");
    }

    #[test]
    fn names_that_escape_or_shadow_dom0_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut bundle = Bundle::new(&dom0(&dir)).unwrap();
        for name in ["", "/etc/x", "a/../b", "dom0", "a//b"] {
            assert!(
                matches!(bundle.add_bytes(name, vec![]), Err(Error::Name(_))),
                "{name}"
            );
        }
        assert!(matches!(
            bundle.add_argument("no-equals-sign"),
            Err(Error::Name(_))
        ));
        assert!(matches!(
            bundle.add_argument("a=/does/not/exist"),
            Err(Error::File(..))
        ));
    }

    #[test]
    fn a_dom0_that_is_no_elf_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        fs::write(&path, b"text").unwrap();
        assert!(matches!(Bundle::new(&path), Err(Error::NotElf(_))));
    }
}
