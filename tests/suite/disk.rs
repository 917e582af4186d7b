//! Domain-0's disk: a virtio block device, behind MMIO and on PCI.

use std::fs::File;

use harness::board::Board;
use harness::bundle::Bundle;
use harness::host::Host;
use harness::images::Images;
use harness::machine::Disk;
use harness::operator::Operator;

use crate::stage::{SOON, contains};

/// Boots a board with a disk of that size and waits for xend, which comes after the disk's first sector was read; what
/// Domain-0 has said.
fn said_with(board: Board, kib: u64, shape: fn(Disk) -> Disk) -> String {
    let images = Images::of_workspace();
    let folder = tempfile::tempdir().expect("there is room for a disk");
    let path = folder.path().join("disk.raw");
    let file = File::create_new(&path).and_then(|file| file.set_len(kib << 10));
    file.expect("the disk is made");
    let archive = folder.path().join("bundle.cpio");
    let bundle = Bundle::new(&board.dom0(&images)).expect("Domain-0 was built");
    bundle.write(&archive).expect("the bundle is written");
    let mut machine = board.machine(&images, archive);
    machine.disk = Some(shape(Disk::file(path)));
    let host = Host::boot(&machine, 4 * SOON).unwrap_or_else(|error| panic!("{error}"));
    let said = Operator::new(&host).run(&["dmesg"]);
    said.unwrap_or_else(|trouble| panic!("{trouble}"))
}

fn finds_disks(board: Board) {
    let said = said_with(board, 8192, |disk| disk);
    contains(&said, &[": 8192 KiB, writable, with a write cache"]);
    assert!(!said.contains("error: "), "{said}");
    let said = said_with(board, 516, Disk::write_protected);
    contains(&said, &[": 516 KiB, write-protected, "]);
    assert!(!said.contains("error: "), "{said}");
}

#[test]
fn a_disk_is_found_behind_mmio() {
    finds_disks(Board::QemuVirt);
}

#[test]
fn a_disk_is_found_on_pci() {
    finds_disks(Board::QemuQ35);
}
