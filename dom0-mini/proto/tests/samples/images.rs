// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples of what is said about images.

use super::{DIGEST, chunk};
use mgmt_proto::messages::{
    BlobRead, Image, ImageAdd, ImagePart, ImageRole, ImageSummary, Reply, RequestBody,
};

fn parts() -> Vec<ImagePart> {
    let part = |role, file: &str, length| ImagePart {
        role,
        file: file.into(),
        blob: DIGEST,
        length,
    };
    vec![
        part(ImageRole::KERNEL, "vmlinuz-6.12", 30_000_000),
        part(ImageRole::DISK, "root.raw", 500_000_000),
    ]
}

const TEMPLATE: &str = "name = \"$VM_NAME\"\nkernel = \"$IMAGE_LOCATION\"\n";

pub(super) fn requests() -> Vec<(&'static str, RequestBody)> {
    vec![
        (
            "blob-read",
            RequestBody::BlobRead(BlobRead {
                id: DIGEST,
                index: 7,
            }),
        ),
        (
            "image-add",
            RequestBody::ImageAdd(ImageAdd {
                name: "debian".into(),
                description: "Debian 13, minimal".into(),
                arch: "aarch64".into(),
                config: TEMPLATE.into(),
                parts: parts(),
            }),
        ),
        ("image-list", RequestBody::ImageList),
        ("image-show", RequestBody::ImageShow("debian".into())),
        ("image-remove", RequestBody::ImageRemove("debian".into())),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let added_ns = Some(1_790_000_000_000_000_000);
    vec![
        (
            "images",
            Reply::Images(vec![ImageSummary {
                name: "debian".into(),
                description: "Debian 13, minimal".into(),
                arch: "aarch64".into(),
                roles: vec![ImageRole::KERNEL, ImageRole::INITRD],
                length: 530_000_000,
                added_ns,
            }]),
        ),
        (
            "image",
            Reply::Image(Box::new(Image {
                name: "debian".into(),
                description: "Debian 13, minimal".into(),
                arch: "aarch64".into(),
                config: TEMPLATE.into(),
                parts: parts(),
                added_by: "xenman 0.1.0 on ada".into(),
                added_ns,
            })),
        ),
        ("chunk", Reply::Chunk(chunk())),
    ]
}
