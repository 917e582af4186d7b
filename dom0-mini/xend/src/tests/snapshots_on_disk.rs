//! Snapshots and what domains are built from, on a disk: over restarts of the machine, and when the disk fails.

use super::snapshots::{busy_domain, check_restored, from_store, to_store};
use super::world::{World, by_name, config, kernel};
use crate::store::simulated::{Random, SimulatedDisk};
use hv_abi::control::domain::ShutdownReason;
use hv_abi::layout::arm::RAM0_BASE;
use mgmt_proto::blob::blob_id;
use mgmt_proto::messages::{BlobOpen, ErrorCode, Reply, RequestBody};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// The first sector of the blobs, on a disk of 16 MiB.
const SLOTS: u64 = 9 * 2048;
const SLOT: u64 = 128;

fn snapshots(world: &mut World) -> Vec<String> {
    match world.ask(RequestBody::SnapshotList) {
        Ok(Reply::Snapshots(list)) => list.into_iter().map(|line| line.label).collect(),
        other => panic!("{other:?}"),
    }
}

/// A disk with the snapshot `before` of the domain `guest`; the domid it had.
fn saved() -> (SimulatedDisk, u16) {
    let disk = SimulatedDisk::new(16);
    let mut world = World::with_disk(&disk);
    let domid = busy_domain(&mut world);
    world.ask(to_store("before")).unwrap();
    world.assert_clean("the snapshot is on the disk, and nowhere else");
    (disk, domid)
}

#[test]
fn a_snapshot_outlives_the_machine() {
    let (disk, saved) = saved();
    let mut world = World::with_disk(&disk);
    // The domid it had may not be the one it gets.
    world.machine().skip_domids(7);
    assert_eq!(snapshots(&mut world), ["before"]);
    let Reply::Created(created) = world.ask(from_store("before", None)).unwrap() else {
        panic!("not restored")
    };
    assert_eq!(created.warnings, [""; 0], "its kernel is on the disk, too");
    check_restored(&mut world, saved, created.domid, "guest");
    assert_eq!(snapshots(&mut world), ["before"]);
}

/// What a restored domain was built from is read from the disk when it reboots.
#[test]
fn a_domain_restored_after_a_restart_can_reboot() {
    let (disk, _) = saved();
    let mut world = World::with_disk(&disk);
    let Reply::Created(created) = world.ask(from_store("before", None)).unwrap() else {
        panic!("not restored")
    };
    world.stop(created.domid, ShutdownReason::REBOOT);
    assert_eq!(world.list(), [("guest".to_string(), "blocked")]);
    let mut machine = world.machine();
    let (_, domain) = machine.domains.iter_mut().next().unwrap();
    assert_eq!(domain.read(RAM0_BASE, 70_000), kernel());
    assert_eq!(domain.registers, 1, "it began anew");
}

#[test]
fn a_kernel_that_is_on_the_disk_need_not_be_uploaded_again() {
    let (disk, _) = saved();
    let mut world = World::with_disk(&disk);
    let open = RequestBody::BlobOpen(BlobOpen {
        id: blob_id(&kernel()),
        length: kernel().len() as u64,
    });
    match world.ask(open) {
        Ok(Reply::Blob(state)) => assert!(state.present && state.upload.is_none()),
        other => panic!("{other:?}"),
    }
}

/// What is not referred to any more makes room.
#[test]
fn deleted_snapshots_leave_their_slots() {
    let disk = SimulatedDisk::new(16);
    let mut world = World::with_disk(&disk);
    for round in 0..60 {
        let label = format!("round-{round}");
        busy_domain(&mut world);
        world.ask(to_store(&label)).unwrap();
        world.ask(RequestBody::SnapshotDelete(label)).unwrap();
    }
    assert_eq!(snapshots(&mut world), [""; 0]);
}

#[test]
fn a_full_disk_refuses_the_snapshot_and_the_domain_goes_on() {
    let disk = SimulatedDisk::new(16);
    let mut world = World::with_disk(&disk);
    let mut kept = 0;
    let refusal = loop {
        // Each one's memory differs, or its blob would be there already.
        let domid = world.create(config("guest")).unwrap();
        let bytes = Random::new(kept).bytes(0x8_0000);
        world
            .machine()
            .domain(domid)
            .write(RAM0_BASE + 0x10_0000, &bytes);
        match world.ask(to_store(&format!("{kept}"))) {
            Ok(_) => kept += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.code, ErrorCode::STORE);
    assert!(refusal.message.contains("full"), "{refusal}");
    assert!(kept > 3, "only {kept} snapshots in 6 MiB");
    assert_eq!(world.list(), [("guest".to_string(), "blocked")]);
    let last = format!("{}", kept - 1);
    world.ask(RequestBody::SnapshotDelete(last)).unwrap();
    world.ask(to_store("now")).unwrap();
}

#[test]
fn a_disk_that_fails_meanwhile_loses_no_domain() {
    let save = |cut: Option<u64>| {
        let disk = SimulatedDisk::new(16);
        let mut world = World::with_disk(&disk);
        busy_domain(&mut world);
        let before = disk.operations();
        cut.iter().for_each(|after| disk.cut_after(*after));
        let saved = world.ask(to_store("before"));
        (world, saved, disk.operations() - before)
    };
    let (_, saved, operations) = save(None);
    saved.unwrap();
    // From the first piece of a blob to the last flush of the change.
    for cut in (0..operations).step_by(9) {
        let (mut world, saved, _) = save(Some(cut));
        assert_eq!(saved.unwrap_err().code, ErrorCode::STORE, "{cut}");
        assert_eq!(world.list(), [("guest".to_string(), "blocked")]);
        assert_eq!(snapshots(&mut world), [""; 0]);
    }
}

#[test]
fn a_damaged_slot_is_told_of_before_anything_of_it_is_used() {
    let (disk, _) = saved();
    let mut random = Random::new(1);
    let mut refused = 0;
    for slot in 0..12 {
        let damaged = disk.copy();
        let mut content = [0; 512];
        random.fill(&mut content);
        damaged.overwrite(SLOTS + slot * SLOT, content);
        let mut world = World::with_disk(&damaged);
        match world.ask(from_store("before", None)) {
            Ok(_) => {}
            Err(failure) => {
                assert_eq!(failure.code, ErrorCode::STORE);
                assert!(failure.message.contains("damaged"), "{failure}");
                world.assert_clean("nothing was made of it");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 2, "the names and the one chunk of the snapshot");
}

#[test]
fn a_snapshot_deleted_while_it_is_read_ends_the_restore() {
    let (disk, _) = saved();
    let mut world = World::with_disk(&disk);
    world.connect(2);
    let restore = world.post(2, from_store("before", None));
    assert!(world.keep(), "it is being read");
    let delete = world.post(1, RequestBody::SnapshotDelete("before".into()));
    world.finish();
    let deleted = world.answer(1, delete);
    assert_eq!(deleted, Some(Ok(Reply::Done)));
    match world.answer(2, restore).expect("an answer") {
        // The reading came first.
        Ok(Reply::Created(_)) => assert_eq!(world.list().len(), 1),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => assert!(failure.message.contains("meanwhile"), "{failure}"),
    }
}

#[test]
fn a_client_that_vanishes_while_its_snapshot_is_read_restores_nothing() {
    let (disk, _) = saved();
    let mut world = World::with_disk(&disk);
    world.connect(2);
    world.post(2, from_store("before", None));
    assert!(world.keep(), "it is being read");
    world.event(crate::Event::SessionClosed(2));
    world.finish();
    assert_eq!(world.list(), []);
    world.assert_clean("what was read is gone");
}

/// A reboot waits for the disk; who destroys the domain meanwhile does not.
#[test]
fn a_domain_is_destroyed_while_its_kernel_is_read() {
    let (disk, _) = saved();
    let mut world = World::with_disk(&disk);
    let Reply::Created(created) = world.ask(from_store("before", None)).unwrap() else {
        panic!("not restored")
    };
    world.machine().domain(created.domid).shutdown = Some(ShutdownReason::REBOOT);
    world.event(crate::Event::DomainsChanged);
    world.work(1000);
    assert!(world.keep(), "its kernel is being read");
    let id = world.post(1, RequestBody::Destroy(by_name("guest")));
    world.finish();
    assert_eq!(world.answer(1, id), Some(Ok(Reply::Done)));
    assert_eq!(world.list(), []);
    world.assert_clean("nothing is left of it");
}
