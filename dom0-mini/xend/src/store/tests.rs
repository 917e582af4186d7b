//! The store on a disk: that nothing acknowledged is lost, and that damage is noticed before anything is used.

mod blobs;
mod damage;
mod machine;
mod power_cuts;

use super::disk::{Disk, SharedDisk};
use super::partition::Names;
use super::simulated::{Random, SimulatedDisk};
use super::volume::{Batch, Change, File, Mount, Volume, VolumeError};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

type Files = BTreeMap<String, File>;

fn shared(disk: &SimulatedDisk) -> SharedDisk {
    let disk: Box<dyn Disk> = Box::new(disk.clone());
    Arc::new(spin::Mutex::new(disk))
}

fn mount(disk: &SimulatedDisk) -> Result<(Volume, Mount), VolumeError> {
    let mut random = Random::new(1);
    Volume::mount(&shared(disk), &Names::new(|into| random.fill(into)))
}

fn file(content: &[u8]) -> File {
    File {
        content: content.to_vec(),
        blobs: Vec::new(),
    }
}

fn put(path: &str, content: &[u8]) -> Change {
    Change::Put {
        path: path.to_string(),
        file: file(content),
    }
}

fn change(changes: &[Change]) -> Batch {
    Batch {
        changes: changes.to_vec(),
        ..Batch::default()
    }
}

fn log(text: &[u8]) -> Batch {
    Batch {
        log: text.to_vec(),
        ..Batch::default()
    }
}

fn files(volume: &Volume) -> Files {
    volume.inventory().unwrap().files
}

fn carry_out(files: &mut Files, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put { path, file } => files.insert(path.clone(), file.clone()),
            Change::Remove { path } => files.remove(path),
        };
    }
}

#[test]
fn an_empty_disk_becomes_a_store_and_is_found_again() {
    let disk = SimulatedDisk::new(32);
    let (mut volume, how) = mount(&disk).unwrap();
    assert_eq!(how, Mount::Made);
    volume
        .apply(&change(&[put("/etc/xen/web1.cfg", b"name = \"web1\"\n")]))
        .unwrap();
    drop(volume);
    let (volume, how) = mount(&disk).unwrap();
    assert_eq!(how, Mount::Found);
    let expected = Files::from([("/etc/xen/web1.cfg".to_string(), file(b"name = \"web1\"\n"))]);
    assert_eq!(files(&volume), expected);
}

#[test]
fn a_removed_file_is_gone() {
    let disk = SimulatedDisk::new(32);
    let (mut volume, _) = mount(&disk).unwrap();
    volume
        .apply(&change(&[
            put("/etc/xen/a.cfg", b"a"),
            put("/etc/xen/b.cfg", b"b"),
        ]))
        .unwrap();
    let path = "/etc/xen/a.cfg".to_string();
    volume.apply(&change(&[Change::Remove { path }])).unwrap();
    drop(volume);
    let (volume, _) = mount(&disk).unwrap();
    assert_eq!(
        files(&volume).keys().collect::<Vec<_>>(),
        ["/etc/xen/b.cfg"]
    );
}

#[test]
fn a_disk_with_something_else_on_it_is_not_touched() {
    // A file system without partitions (its superblock in sector 2), a boot sector, the end of somebody's table.
    for sector in [0, 2, 20] {
        let disk = SimulatedDisk::new(32);
        disk.overwrite(sector, [0x5A; 512]);
        assert_eq!(
            mount(&disk).unwrap_err(),
            VolumeError::Foreign,
            "sector {sector}"
        );
        assert_eq!(disk.operations(), 0);
    }
}

#[test]
fn a_small_disk_is_refused() {
    let disk = SimulatedDisk::new(15);
    assert_eq!(mount(&disk).unwrap_err(), VolumeError::TooSmall);
}

#[test]
fn a_full_store_says_so_and_keeps_what_it_has() {
    let disk = SimulatedDisk::new(16);
    let (mut volume, _) = mount(&disk).unwrap();
    let mut kept = 0;
    let error = loop {
        let path = std::format!("/etc/xen/{kept}.cfg");
        match volume.apply(&change(&[put(&path, &[kept as u8; 30_000])])) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, VolumeError::Full);
    assert!(kept > 64, "only {kept} files of 30 KB in 8 MiB");
    drop(volume);
    let (volume, _) = mount(&disk).unwrap();
    assert_eq!(files(&volume).len(), kept);
}

#[test]
fn the_log_is_kept_and_bounded() {
    let disk = SimulatedDisk::new(32);
    let (mut volume, _) = mount(&disk).unwrap();
    for line in 0..200_u32 {
        let text = std::format!("{line:08}{}\n", "x".repeat(4000));
        volume.apply(&log(text.as_bytes())).unwrap();
    }
    drop(volume);
    let (mut volume, _) = mount(&disk).unwrap();
    volume.apply(&log(b"after the restart\n")).unwrap();
    let text = String::from_utf8(volume.log().unwrap()).unwrap();
    assert!(text.len() <= super::volume::LOG_MAX && text.len() > super::volume::LOG_MAX - 8192);
    assert!(text.ends_with("x\nafter the restart\n"));
    assert!(text.contains("\n00000199x"));
    assert!(!text.contains("\n00000000x"));
}
