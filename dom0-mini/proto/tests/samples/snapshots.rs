// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples of what is said about saving and restoring, and of what a saved domain's file says.

use super::{DIGEST, UUID, chunk, debian};
use mgmt_proto::blob::Chunk;
use mgmt_proto::messages::*;
use mgmt_proto::snapshot::{Extra, FORMAT, Manifest, MemoryRange, Record, StoreNode};

pub(super) fn save_requests() -> Vec<(&'static str, RequestBody)> {
    let to_store = SaveToStore {
        domain: debian(),
        label: "before-upgrade".into(),
    };
    vec![
        ("save-begin", RequestBody::SaveBegin(debian())),
        (
            "save-manifest",
            RequestBody::SaveManifest(SaveManifest {
                save: 1,
                offset: 65_536,
            }),
        ),
        (
            "save-read",
            RequestBody::SaveRead(SaveRead {
                save: 1,
                index: 12,
                limit: 64,
            }),
        ),
        (
            "save-commit",
            RequestBody::SaveCommit(SaveCommit {
                save: 1,
                root: DIGEST,
            }),
        ),
        ("save-abort", RequestBody::SaveAbort(1)),
        ("save-to-store", RequestBody::SaveToStore(to_store)),
    ]
}

pub(super) fn restore_requests() -> Vec<(&'static str, RequestBody)> {
    let begin = RestoreBegin {
        manifest_length: 9000,
        paused: true,
        name: Some("copy".into()),
    };
    let piece = RestoreManifest {
        restore: 1,
        offset: 0,
        bytes: b"piece".to_vec(),
    };
    let label: String = "before-upgrade".into();
    let from_store = RestoreFromStore {
        label: label.clone(),
        paused: false,
        name: None,
    };
    vec![
        ("restore-begin", RequestBody::RestoreBegin(begin)),
        ("restore-manifest", RequestBody::RestoreManifest(piece)),
        (
            "restore-put",
            RequestBody::RestorePut(RestorePut {
                restore: 1,
                index: 3,
                chunk: Chunk::encode(&[0; 9]),
            }),
        ),
        (
            "restore-commit",
            RequestBody::RestoreCommit(RestoreCommit {
                restore: 1,
                root: DIGEST,
            }),
        ),
        ("restore-abort", RequestBody::RestoreAbort(1)),
        (
            "restore-from-store",
            RequestBody::RestoreFromStore(from_store),
        ),
        ("snapshot-list", RequestBody::SnapshotList),
        ("snapshot-delete", RequestBody::SnapshotDelete(label)),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let snapshot = SnapshotSummary {
        label: "before-upgrade".into(),
        domain: "debian".into(),
        uuid: UUID,
        memory_kib: 262_144,
        stored_kib: 40_000,
        saved_ns: Some(1_790_000_000_000_000_000),
    };
    vec![
        (
            "save-started",
            Reply::SaveStarted(SaveStarted {
                save: 1,
                manifest_length: 9000,
                chunk_count: 4096,
                memory_kib: 262_144,
            }),
        ),
        (
            "manifest",
            Reply::Manifest(ManifestPiece {
                bytes: b"piece".to_vec(),
            }),
        ),
        (
            "saved-chunk",
            Reply::SavedChunk(SavedChunk {
                next: 13,
                chunk: Some(chunk()),
            }),
        ),
        (
            "saved",
            Reply::Saved(Saved {
                label: "before-upgrade".into(),
                memory_kib: 262_144,
                stored_kib: 40_000,
            }),
        ),
        (
            "restore-started",
            Reply::RestoreStarted(RestoreStarted { restore: 1 }),
        ),
        ("snapshots", Reply::Snapshots(vec![snapshot])),
    ]
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        arch: "aarch64".into(),
        name: "debian".into(),
        config: "name = 'debian'\n".into(),
        uuid: UUID,
        guest_domid: 3,
        vcpus: 1,
        platform: "gicv3".into(),
        memory: vec![MemoryRange {
            gfn: 0x40000,
            count: 65_536,
        }],
        counter_hz: 62_500_000,
        saved_ns: Some(1_790_000_000_000_000_000),
        records: vec![Record {
            kind: 1,
            version: 1,
            vcpu: 0,
            bytes: (0..64).collect(),
        }],
        xenstore: vec![StoreNode {
            path: "/local/domain/3/name".into(),
            value: b"debian".to_vec(),
            permissions: "n0 r3".into(),
        }],
        extra: vec![Extra {
            name: "console-out".into(),
            bytes: b"# ".to_vec(),
        }],
    }
}
