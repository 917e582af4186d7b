//! Blobs: uploads, names, references.

use super::world::{World, config, kernel, ramdisk};
use mgmt_proto::blob::{CHUNK, Chunk, Digest, blob_id};
use mgmt_proto::messages::{BlobOpen, BlobPut, ErrorCode, Reply, RequestBody};
use std::vec;
use std::vec::Vec;

fn open(world: &mut World, session: u16, bytes: &[u8]) -> Option<u32> {
    let open = BlobOpen {
        id: blob_id(bytes),
        length: bytes.len() as u64,
    };
    match world.ask_as(session, RequestBody::BlobOpen(open)) {
        Ok(Reply::Blob(state)) => state.upload,
        other => panic!("{other:?}"),
    }
}

fn put(upload: u32, index: u32, raw: &[u8]) -> RequestBody {
    RequestBody::BlobPut(BlobPut {
        upload,
        index,
        chunk: Chunk::encode_raw(raw),
    })
}

fn references(world: &mut World) -> Vec<u32> {
    match world.ask(RequestBody::BlobList) {
        Ok(Reply::Blobs(blobs)) => blobs.iter().map(|blob| blob.references).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_blob_lives_as_long_as_somebody_refers_to_it() {
    let mut world = World::new();
    world.connect(2);
    let bytes = vec![7; CHUNK + 5];
    world.upload(1, &bytes).unwrap();
    assert_eq!(world.machine().claimed, 32);
    assert_eq!(open(&mut world, 2, &bytes), None, "it is there already");
    assert_eq!(references(&mut world), [2]);
    world
        .ask(RequestBody::BlobRelease(blob_id(&bytes)))
        .unwrap();
    assert_eq!(references(&mut world), [1]);
    world.event(crate::Event::SessionClosed(2));
    assert_eq!(references(&mut world), []);
    world.assert_clean("no reference is left");
}

#[test]
fn a_domain_refers_to_what_it_was_built_from() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    assert_eq!(references(&mut world), [1, 1], "the session's are released");
    world
        .ask(RequestBody::Destroy(super::world::by_name("guest")))
        .unwrap();
    assert_eq!(references(&mut world), []);
    world.assert_clean("the domain is gone");
}

#[test]
fn chunks_come_in_any_order_and_zero_ones_take_no_memory() {
    let mut world = World::new();
    let mut bytes = vec![0; 3 * CHUNK];
    bytes[2 * CHUNK] = 9;
    let upload = open(&mut world, 1, &bytes).unwrap();
    for index in [2_u32, 0, 1, 1] {
        let start = index as usize * CHUNK;
        world
            .ask(put(upload, index, &bytes[start..start + CHUNK]))
            .unwrap();
    }
    assert!(matches!(
        world.ask(RequestBody::BlobCommit(upload)),
        Ok(Reply::Held(held)) if held.id == blob_id(&bytes)
    ));
    assert_eq!(world.machine().claimed, 16);
}

#[test]
fn what_does_not_fit_its_name_is_refused_and_leaves_nothing() {
    let mut world = World::new();
    let bytes = vec![7; CHUNK + 5];
    let upload = open(&mut world, 1, &bytes).unwrap();
    assert_eq!(world.code(put(upload, 2, &[1])), ErrorCode::BAD_BLOB);
    assert_eq!(world.code(put(upload, 1, &[1; 6])), ErrorCode::BAD_BLOB);
    assert_eq!(
        world.code(put(upload + 1, 0, &bytes[..CHUNK])),
        ErrorCode::BAD_BLOB
    );
    let mut lying = Chunk::encode_raw(&bytes[..CHUNK]);
    lying.id = Digest([1; 32]);
    let lie = RequestBody::BlobPut(BlobPut {
        upload,
        index: 0,
        chunk: lying,
    });
    assert_eq!(world.code(lie), ErrorCode::BAD_BLOB);
    world.ask(put(upload, 0, &bytes[..CHUNK])).unwrap();
    assert_eq!(
        world.code(RequestBody::BlobCommit(upload)),
        ErrorCode::BAD_BLOB
    );
    world.assert_clean("a chunk was missing");

    let upload = open(&mut world, 1, &bytes).unwrap();
    world.ask(put(upload, 0, &[8; CHUNK])).unwrap();
    world.ask(put(upload, 1, &[7; 5])).unwrap();
    assert_eq!(
        world.code(RequestBody::BlobCommit(upload)),
        ErrorCode::BAD_BLOB
    );
    world.assert_clean("the content was another one");
}

#[test]
fn an_upload_that_is_cut_off_leaves_nothing() {
    let bytes = vec![7; 3 * CHUNK];
    for chunks in 0..3 {
        let mut world = World::new();
        let upload = open(&mut world, 1, &bytes).unwrap();
        for index in 0..chunks {
            world.ask(put(upload, index, &bytes[..CHUNK])).unwrap();
        }
        world.event(crate::Event::SessionClosed(1));
        world.assert_clean("the session ended");
    }
}

#[test]
fn no_room_is_an_answer() {
    let mut world = World::new();
    world.machine().free = 20;
    let bytes: Vec<u8> = [kernel(), ramdisk()].concat();
    assert_eq!(
        world.upload(1, &bytes).unwrap_err().code,
        ErrorCode::NO_MEMORY
    );
    world.event(crate::Event::SessionClosed(1));
    assert_eq!(world.machine().free, 20);
}

#[test]
fn a_session_holds_sixteen_blobs_and_four_uploads() {
    let mut world = World::new();
    for number in 1..=16_u8 {
        world.upload(1, &[number]).unwrap();
    }
    assert_eq!(world.upload(1, &[17]).unwrap_err().code, ErrorCode::BUSY);
    let mut world = World::new();
    for number in 1..=4_u8 {
        assert!(open(&mut world, 1, &[number]).is_some());
    }
    let open = BlobOpen {
        id: blob_id(&[5]),
        length: 1,
    };
    assert_eq!(world.code(RequestBody::BlobOpen(open)), ErrorCode::BUSY);
}
