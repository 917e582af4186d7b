//! Sectors go bad while the machine is off: the store mounts with everything in it, or says that it is damaged.

use super::{Batch, Mount, Random, SimulatedDisk, VolumeError, change, log, mount, put};
use crate::store::disk::{Disk, SECTOR};
use crate::store::place::{Extent, Place};
use crate::store::volume::Inventory;
use mgmt_proto::blob::Digest;

/// The place of a blob.
fn blob(number: u32) -> Batch {
    let extents = [Extent {
        first: 2 * number,
        count: 2,
    }];
    let place = Place {
        length: 100,
        extents: extents.into(),
    };
    Batch {
        added: [(Digest([number as u8; 32]), place)].into(),
        ..Batch::default()
    }
}

/// A store with some files and places of blobs, all of it on the medium.
fn store() -> (SimulatedDisk, Inventory) {
    let disk = SimulatedDisk::new(16);
    let (mut volume, _) = mount(&disk).unwrap();
    let mut random = Random::new(3);
    for number in 0..20 {
        let path = std::format!("/etc/xen/{number}.cfg");
        volume
            .apply(&change(&[put(&path, &random.bytes(3000))]))
            .unwrap();
        volume.apply(&log(b"a line of the log\n")).unwrap();
        volume.apply(&blob(number)).unwrap();
    }
    let all = volume.inventory().unwrap();
    drop(volume);
    disk.settle();
    (disk, all)
}

#[test]
fn every_single_damaged_sector_is_made_good_or_reported() {
    let (disk, all) = store();
    let mut random = Random::new(4);
    let (mut good, mut reported) = (0, 0);
    for sector in disk.written() {
        let damaged = disk.copy();
        let mut content = [0; SECTOR];
        random.fill(&mut content);
        damaged.overwrite(sector, content);
        match mount(&damaged) {
            Ok((volume, _)) => {
                assert_eq!(volume.inventory().unwrap(), all, "sector {sector}");
                good += 1;
            }
            Err(VolumeError::Damaged(_)) => reported += 1,
            Err(error) => panic!("sector {sector}: {error}"),
        }
    }
    assert!(
        good > 0 && reported > 0,
        "{good} made good, {reported} reported"
    );
}

#[test]
fn what_is_there_twice_is_mended_from_its_copy() {
    let (disk, all) = store();
    let last = disk.sectors() - 1;
    for (sector, name) in [
        (1, "the first partition table"),
        (2, "the first partition table"),
        (last, "the second partition table"),
        (last - 32, "the second partition table"),
        (2048, "a copy of its superblock"),
        (2048 + 64, "a copy of its superblock"),
    ] {
        let damaged = disk.copy();
        damaged.overwrite(sector, [0xA5; SECTOR]);
        let (volume, how) = mount(&damaged).unwrap();
        assert_eq!(how, Mount::Mended(name));
        assert_eq!(volume.inventory().unwrap(), all);
        drop(volume);
        damaged.settle();
        let (_, how) = mount(&damaged).unwrap();
        assert_eq!(how, Mount::Found, "sector {sector}");
    }
}

/// Without its superblock a store is not taken for a disk that never had one.
#[test]
fn a_store_whose_superblocks_are_gone_is_not_made_anew() {
    let (disk, _) = store();
    for content in [[0; SECTOR], [0xA5; SECTOR]] {
        let damaged = disk.copy();
        damaged.overwrite(2048, content);
        damaged.overwrite(2048 + 64, content);
        assert!(matches!(mount(&damaged), Err(VolumeError::Damaged(_))));
    }
}
