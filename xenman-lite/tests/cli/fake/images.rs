// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fake xend says about its images.

use super::State;
use mgmt_proto::{
    blob::{CHUNK, Chunk},
    messages::{BlobRead, ErrorCode, Failure, Image, ImageAdd, ImageSummary, Reply},
};
use std::collections::BTreeMap;

type Images = BTreeMap<String, ImageAdd>;

pub fn unknown(name: &str) -> Failure {
    Failure::new(ErrorCode::BAD_IMAGE, format!("there is no image '{name}'"))
        .with_remedy("'xenman image list' shows what there is")
}

pub fn list(images: &Images) -> Reply {
    let summary = |image: &ImageAdd| ImageSummary {
        name: image.name.clone(),
        description: image.description.clone(),
        arch: image.arch.clone(),
        roles: image.parts.iter().map(|part| part.role).collect(),
        length: image.parts.iter().map(|part| part.length).sum(),
        added_ns: None,
    };
    Reply::Images(images.values().map(summary).collect())
}

pub fn show(images: &Images, name: &str) -> Result<Reply, Failure> {
    let image = images.get(name).ok_or_else(|| unknown(name))?.clone();
    Ok(Reply::Image(Box::new(Image {
        name: image.name,
        description: image.description,
        arch: image.arch,
        config: image.config,
        parts: image.parts,
        added_by: "xenman on ada".into(),
        added_ns: None,
    })))
}

impl State {
    pub(super) fn blob_read(&self, read: BlobRead) -> Result<Reply, Failure> {
        let bytes = &self.blobs[&read.id];
        let mut raw = bytes
            .chunks(CHUNK)
            .nth(read.index as usize)
            .unwrap()
            .to_vec();
        if self.damages_chunks {
            raw[0] ^= 1;
        }
        Ok(Reply::Chunk(Chunk::encode(&raw)))
    }

    pub(super) fn image_add(&mut self, add: &ImageAdd) -> Result<Reply, Failure> {
        for part in &add.parts {
            assert_eq!(self.blobs[&part.blob].len() as u64, part.length);
        }
        if self.images.contains_key(&add.name) {
            let message = format!("there is an image '{}' already", add.name);
            return Err(Failure::new(ErrorCode::NAME_IN_USE, message));
        }
        self.images.insert(add.name.clone(), add.clone());
        Ok(Reply::Done)
    }
}
