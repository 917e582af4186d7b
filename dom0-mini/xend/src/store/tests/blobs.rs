//! Blobs on a disk that loses its power: what a file refers to is there, whole, or neither of them is.

use super::machine::{Work, difference, finds_out_a_disk_that_ignores_flushes, survives};
use super::{Random, SimulatedDisk, shared};
use crate::fake::Fake;
use crate::hypervisor::Hypervisor;
use crate::store::blobs::{Blob, Blobs, Writer};
use crate::store::files::{StoreFiles, Wish};
use crate::store::keeper::{Carried, Keeper};
use crate::store::loads::{End, Loads};
use crate::store::partition::Names;
use crate::store::volume::{Change, File, VolumeError};
use mgmt_proto::blob::{BlobId, CHUNK};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::format;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

type Frames = <Fake as Hypervisor>::Frames;

/// The store of a machine that is on.
struct Store {
    keeper: Keeper,
    files: StoreFiles<Frames, ()>,
    loads: Loads<Frames, ()>,
    fake: Fake,
}

impl Store {
    fn start(disk: &SimulatedDisk) -> Self {
        let mut random = Random::new(1);
        let names = Names::new(|into| random.fill(into));
        let (keeper, mounted) = Keeper::mount(Some(Box::new(disk.clone())), &names);
        Self {
            keeper,
            files: StoreFiles::new(mounted),
            loads: Loads::new(),
            fake: Fake::new(),
        }
    }

    fn blob(&mut self, bytes: &[u8]) -> Rc<Blob<Frames>> {
        let mut writer = Writer::new();
        writer.append(&mut self.fake, bytes).unwrap();
        Rc::new(writer.finish())
    }

    /// Has a wish carried out; `false`: the power failed.
    fn wish(&mut self, wish: Wish<Frames>) -> bool {
        self.files
            .order(wish, ())
            .expect("a wish that can be carried out");
        while let Some(order) = self.files.next(|_| Vec::new()) {
            match self.keeper.carry_out(&order) {
                Ok(carried) => {
                    if self.files.done(&carried).is_some() {
                        return true;
                    }
                }
                Err(_) => return false,
            }
        }
        assert!(!self.files.refused().is_empty(), "nobody was told");
        true
    }

    /// Reads a blob from the disk.
    fn read(&mut self, id: BlobId) -> Result<Vec<u8>, String> {
        let mut blobs = Blobs::new();
        self.loads.add([id].into(), ());
        loop {
            match self.loads.advance(&self.files, &mut blobs) {
                Some(End::Ready(mut load)) => return Ok(content(&load.take_blobs()[0])),
                Some(End::Failed((), failure)) => return Err(format!("{failure}")),
                None => {}
            }
            let (slot, length) = self.loads.wants().expect("something to read");
            let order = self.files.read(slot, length).expect("the keeper has time");
            let carried = self.keeper.carry_out(&order);
            assert!(self.files.end_read());
            let Ok(Carried::Read(bytes)) = carried else {
                return Err(format!("{carried:?}"));
            };
            let end = self.loads.take(&mut self.fake, &self.files, &bytes);
            if let Some(End::Failed((), failure)) = end {
                return Err(format!("{failure}"));
            }
        }
    }
}

fn content(blob: &Blob<Frames>) -> Vec<u8> {
    let mut bytes = std::vec![0; blob.length() as usize];
    assert_eq!(blob.read(0, &mut bytes), bytes.len());
    bytes
}

/// Bytes of some chunks, of which every third is all zero.
fn bytes(random: &mut Random) -> Vec<u8> {
    let chunks = random.below(6);
    let rest = 1 + random.below(CHUNK as u64) as usize;
    let mut bytes = Vec::new();
    for _ in 0..chunks {
        match random.below(3) {
            0 => bytes.resize(bytes.len() + CHUNK, 0),
            _ => bytes.extend(random.bytes(CHUNK)),
        }
    }
    bytes.extend(random.bytes(rest));
    bytes
}

/// What is acknowledged: the bytes that each file's blob has.
type Files = BTreeMap<String, Vec<u8>>;

/// Changes one file and its blob at a time.
#[derive(Default)]
struct FilesAndBlobs {
    files: Files,
    /// What was on its way when the power failed.
    open: Option<(String, Option<Vec<u8>>)>,
    acknowledged: u64,
}

impl Work for FilesAndBlobs {
    fn run(&mut self, disk: &SimulatedDisk, random: &mut Random) {
        let length = 200 + random.below(4000);
        let mut store = Store::start(disk);
        disk.cut_after(length);
        while self.change(&mut store, random) {
            self.acknowledged += 1;
        }
    }

    fn fault(&mut self, disk: &SimulatedDisk) -> Option<String> {
        let mut store = Store::start(disk);
        let there = match contents(&mut store) {
            Ok(there) => there,
            Err(error) => return Some(error),
        };
        let mut with_open = self.files.clone();
        if let Some((path, content)) = self.open.take() {
            carry_out(&mut with_open, path, content);
        }
        if let Some(fault) = difference(&there, &self.files, &with_open) {
            return Some(fault);
        }
        self.files = there;
        None
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

impl FilesAndBlobs {
    /// Changes something; `false`: the power failed.
    fn change(&mut self, store: &mut Store, random: &mut Random) -> bool {
        let path = format!("/files/{}", random.below(8));
        let content = (random.below(3) > 0).then(|| bytes(random));
        let wish = match &content {
            Some(bytes) => put(store, &path, bytes),
            None => Wish::Change {
                changes: [Change::Remove { path: path.clone() }].into(),
                blobs: Vec::new(),
            },
        };
        self.open = Some((path, content));
        let is_done = store.wish(wish);
        if is_done && let Some((path, content)) = self.open.take() {
            carry_out(&mut self.files, path, content);
        }
        is_done
    }
}

fn put(store: &mut Store, path: &str, bytes: &[u8]) -> Wish<Frames> {
    let blob = store.blob(bytes);
    let file = File {
        content: path.as_bytes().to_vec(),
        blobs: [blob.id()].into(),
    };
    Wish::Change {
        changes: [Change::Put {
            path: path.into(),
            file,
        }]
        .into(),
        blobs: [blob].into(),
    }
}

fn carry_out(files: &mut Files, path: String, content: Option<Vec<u8>>) {
    match content {
        Some(content) => files.insert(path, content),
        None => files.remove(&path),
    };
}

/// All files, with what is in their blobs.
fn contents(store: &mut Store) -> Result<Files, String> {
    let all: Vec<_> = store
        .files
        .under("/files/")
        .map(|(name, file)| (format!("/files/{name}"), file.blobs[0]))
        .collect();
    let read = |(path, id)| Ok((path, store.read(id)?));
    all.into_iter().map(read).collect()
}

#[test]
fn no_acknowledged_blob_is_lost_in_200_power_cuts() {
    survives::<FilesAndBlobs>(200);
}

/// The test above can fail.
#[test]
fn a_disk_that_ignores_flushes_is_found_out() {
    finds_out_a_disk_that_ignores_flushes::<FilesAndBlobs>();
}

/// A blob is stored once, and stays as long as one file refers to it.
#[test]
fn files_share_a_blob() {
    let disk = SimulatedDisk::new(16);
    let mut store = Store::start(&disk);
    let bytes = Random::new(3).bytes(3 * CHUNK);
    let wish = put(&mut store, "/files/a", &bytes);
    assert!(store.wish(wish));
    let writes = disk.operations();
    let wish = put(&mut store, "/files/b", &bytes);
    assert!(store.wish(wish));
    assert!(disk.operations() - writes < 100, "it was written again");
    let id = store.files.get("/files/a").unwrap().blobs[0];
    for (path, is_left) in [("/files/a", true), ("/files/b", false)] {
        assert!(store.wish(Wish::Change {
            changes: [Change::Remove { path: path.into() }].into(),
            blobs: Vec::new(),
        }));
        assert_eq!(store.files.blob(&id).is_some(), is_left);
    }
}

/// Two blobs that claim one slot are noticed at mount.
#[test]
fn a_store_with_a_slot_twice_is_damaged() {
    use crate::store::place::{Extent, Place};
    use crate::store::volume::{Batch, Volume};
    let disk = SimulatedDisk::new(16);
    let mut random = Random::new(1);
    let names = Names::new(|into| random.fill(into));
    let (mut volume, _) = Volume::mount(&shared(&disk), &names).unwrap();
    let place = |first| Place {
        length: 1,
        extents: [Extent { first, count: 2 }].into(),
    };
    let id = |byte| mgmt_proto::blob::Digest([byte; 32]);
    let batch = Batch {
        added: [(id(1), place(3)), (id(2), place(4))].into(),
        ..Batch::default()
    };
    volume.apply(&batch).unwrap();
    assert!(matches!(volume.inventory(), Err(VolumeError::Damaged(_))));
}
