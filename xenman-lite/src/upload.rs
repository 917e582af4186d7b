// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files on their way to xend as blobs.
//!
//! xend is asked by content first: what it has is not sent again. An upload that is cut off ends with
//! its session, and xend forgets it.

use crate::{link::Client, output::Progress, problem::Problem};
use mgmt_proto::{
    blob::{CHUNK, Chunk, blob_id},
    messages::{BlobOpen, BlobPut, NamedBlob, Reply, RequestBody},
};

/// Makes sure that this session holds `bytes` as a blob, for the configuration's `key`.
pub(crate) fn upload(client: &Client, key: &str, bytes: &[u8]) -> Result<NamedBlob, Problem> {
    let (id, length) = (blob_id(bytes), bytes.len() as u64);
    let held = NamedBlob {
        key: key.to_owned(),
        blob: id,
        length,
    };
    let Reply::Blob(state) = client.call(RequestBody::BlobOpen(BlobOpen { id, length }))? else {
        return Err(Problem::nonsense("the state of a blob"));
    };
    if state.present {
        return Ok(held);
    }
    let upload = state.upload.ok_or_else(|| Problem::nonsense("an upload"))?;
    send(client, key, upload, bytes)
        .map_err(|problem| problem.if_interrupted("the host drops what it got"))?;
    match client.call(RequestBody::BlobCommit(upload))? {
        Reply::Held(blob) if blob.id == id => Ok(held),
        _ => Err(Problem::nonsense("the blob that was uploaded")),
    }
}

fn send(client: &Client, key: &str, upload: u32, bytes: &[u8]) -> Result<(), Problem> {
    let progress = Progress::bytes(key, bytes.len() as u64);
    // Chunks are made as they are sent, and answered in order.
    let puts = (0u32..).zip(bytes.chunks(CHUNK)).map(|(index, raw)| {
        RequestBody::BlobPut(BlobPut {
            upload,
            index,
            chunk: Chunk::encode_raw(raw),
        })
    });
    let mut sizes = bytes.chunks(CHUNK).map(|raw| raw.len() as u64);
    client.call_many(puts, |_| {
        progress.add(sizes.next().unwrap_or(0));
        Ok(())
    })?;
    Ok(())
}
