//! Images in the store: a file that describes one, with the default configuration of what is made from it; its parts are
//! blobs.

use super::volume::File;
use crate::versioned::{self, Version};
use alloc::string::String;
use alloc::vec::Vec;
use mgmt_proto::messages::{Image, ImagePart, ImageRole, ImageSummary, encode};
use minicbor::{Decode, Encode};

/// Where the files are that describe images; the rest of a path is the name.
pub(crate) const FOLDER: &str = "/var/lib/xend/images/";

/// Images at a time.
pub(crate) const IMAGES: usize = 64;

/// The longest name of a file that a part came from.
pub(crate) const FILE_NAME_MAX: usize = 255;

/// What an image's file says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Record {
    #[n(0)]
    pub(crate) version: Version<1>,
    /// What the operator said about it.
    #[n(1)]
    pub(crate) description: String,
    /// `aarch64` or `x86_64`.
    #[n(2)]
    pub(crate) arch: String,
    /// The configuration of domains made from it.
    #[n(3)]
    pub(crate) config: String,
    /// Its parts.
    #[n(4)]
    pub(crate) parts: Vec<ImagePart>,
    /// Who added it.
    #[n(5)]
    pub(crate) added_by: String,
    /// Wall-clock time, if the host had one.
    #[n(6)]
    pub(crate) added_ns: Option<u64>,
}

impl Record {
    /// The file, which refers to the parts.
    pub(crate) fn file(&self) -> File {
        File {
            content: encode(self),
            blobs: self.parts.iter().map(|part| part.blob).collect(),
        }
    }

    /// Reads a file; none if it is not an image's, or from the future.
    pub(crate) fn read(file: &File) -> Option<Self> {
        let record: Self = versioned::read(&file.content)?;
        let mut parts = record.parts.iter();
        let is_whole = parts.all(|part| file.blobs.contains(&part.blob));
        is_whole.then_some(record)
    }

    pub(crate) fn part(&self, role: ImageRole) -> Option<&ImagePart> {
        self.parts.iter().find(|part| part.role == role)
    }

    pub(crate) fn summary(&self, name: &str) -> ImageSummary {
        let lengths = self.parts.iter().map(|part| part.length);
        ImageSummary {
            name: name.into(),
            description: self.description.clone(),
            arch: self.arch.clone(),
            roles: self.parts.iter().map(|part| part.role).collect(),
            length: lengths.fold(0, u64::saturating_add),
            added_ns: self.added_ns,
        }
    }

    /// All there is to say about it.
    pub(crate) fn image(self, name: String) -> Image {
        Image {
            name,
            description: self.description,
            arch: self.arch,
            config: self.config,
            parts: self.parts,
            added_by: self.added_by,
            added_ns: self.added_ns,
        }
    }
}
