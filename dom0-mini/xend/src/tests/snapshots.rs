//! Saving and restoring, to a client and to the store.

use super::world::{World, by_name, config, kernel, ramdisk};
use crate::Event;
use hv_abi::control::domain::ShutdownReason;
use hv_abi::control::host::extension;
use hv_abi::layout::arm::RAM0_BASE;
use hv_abi::record::Kind;
use hv_abi::xen::hvm::param;
use mgmt_proto::blob::{Chunk, Digest};
use mgmt_proto::messages::{
    ConsoleWrite, Created, ErrorCode, Failure, Reply, RequestBody, RestoreBegin, RestoreCommit,
    RestoreFromStore, RestoreManifest, RestorePut, SaveCommit, SaveManifest, SaveRead, SaveToStore,
};
use mgmt_proto::snapshot::{Manifest, Record, RootHasher};
use std::format;
use std::string::String;
use std::vec::Vec;

/// A snapshot as a client has it.
#[derive(Clone)]
pub(super) struct File {
    pub(super) manifest: Vec<u8>,
    chunks: Vec<(u32, Chunk)>,
}

impl File {
    pub(super) fn root(&self) -> Digest {
        let mut root = RootHasher::new(&self.manifest);
        for (index, chunk) in &self.chunks {
            root.chunk(*index, &chunk.id);
        }
        root.finish()
    }
}

/// Reads everything of a save; its number and what was read.
pub(super) fn read_save(world: &mut World, name: &str) -> Result<(u32, File), Failure> {
    let Reply::SaveStarted(started) = world.ask(RequestBody::SaveBegin(by_name(name)))? else {
        panic!("not started")
    };
    let save = started.save;
    let mut manifest = Vec::new();
    loop {
        let offset = manifest.len() as u32;
        let wish = RequestBody::SaveManifest(SaveManifest { save, offset });
        match world.ask(wish)? {
            Reply::Manifest(piece) if piece.bytes.is_empty() => break,
            Reply::Manifest(piece) => manifest.extend(piece.bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(manifest.len(), started.manifest_length as usize);
    let (mut chunks, mut index) = (Vec::new(), 0);
    while index < started.chunk_count {
        let read = SaveRead {
            save,
            index,
            limit: 20,
        };
        match world.ask(RequestBody::SaveRead(read))? {
            Reply::SavedChunk(saved) => {
                index = saved.next;
                chunks.extend(saved.chunk.map(|chunk| (index - 1, chunk)));
            }
            other => panic!("{other:?}"),
        }
    }
    Ok((save, File { manifest, chunks }))
}

pub(super) fn save(world: &mut World, name: &str) -> Result<File, Failure> {
    let (save, file) = read_save(world, name)?;
    let root = file.root();
    world.ask(RequestBody::SaveCommit(SaveCommit { save, root }))?;
    Ok(file)
}

pub(super) fn restore(world: &mut World, file: &File, name: Option<&str>) -> Result<u16, Failure> {
    restored(world, file, name).map(|created| created.domid)
}

fn restored(world: &mut World, file: &File, name: Option<&str>) -> Result<Created, Failure> {
    let begin = RestoreBegin {
        manifest_length: file.manifest.len() as u32,
        paused: false,
        name: name.map(Into::into),
    };
    let Reply::RestoreStarted(started) = world.ask(RequestBody::RestoreBegin(begin))? else {
        panic!("not started")
    };
    let restore = started.restore;
    let mut offset = 0;
    for bytes in file.manifest.chunks(3000) {
        let piece = RestoreManifest {
            restore,
            offset,
            bytes: bytes.to_vec(),
        };
        world.ask(RequestBody::RestoreManifest(piece))?;
        offset += bytes.len() as u32;
    }
    for (index, chunk) in &file.chunks {
        let put = RestorePut {
            restore,
            index: *index,
            chunk: chunk.clone(),
        };
        world.ask(RequestBody::RestorePut(put))?;
    }
    let root = file.root();
    match world.ask(RequestBody::RestoreCommit(RestoreCommit { restore, root }))? {
        Reply::Created(created) => Ok(created),
        other => panic!("{other:?}"),
    }
}

pub(super) fn to_store(label: &str) -> RequestBody {
    RequestBody::SaveToStore(SaveToStore {
        domain: by_name("guest"),
        label: label.into(),
    })
}

pub(super) fn from_store(label: &str, name: Option<&str>) -> RequestBody {
    RequestBody::RestoreFromStore(RestoreFromStore {
        label: label.into(),
        paused: false,
        name: name.map(Into::into),
    })
}

/// A domain that has done something.
pub(super) fn busy_domain(world: &mut World) -> u16 {
    let domid = world.create(config("guest")).unwrap();
    world.boot(domid);
    world.guest_writes(domid, "data/counter", "41");
    let mut machine = world.machine();
    let domain = machine.domain(domid);
    domain.write(RAM0_BASE + 0x18_0000, b"something to remember");
    domain.write(RAM0_BASE + 0x1f_fff0, b"at the very end!");
    domain.registers = 1234;
    domid
}

/// The same domain after a restore, under another domid.
pub(super) fn check_restored(world: &mut World, saved: u16, domid: u16, name: &str) {
    assert_ne!(domid, saved);
    {
        let mut machine = world.machine();
        let domain = machine.domain(domid);
        assert_eq!(domain.read(RAM0_BASE, 70_000), kernel());
        assert_eq!(domain.read(RAM0_BASE + 0x2_0000, 9000), ramdisk());
        assert_eq!(
            domain.read(RAM0_BASE + 0x18_0000, 22),
            b"something to remember\0"
        );
        assert_eq!(domain.read(RAM0_BASE + 0x1f_fff0, 16), b"at the very end!");
        assert_eq!(domain.registers, 1235, "it went on from 1234");
        assert_eq!(domain.create.guest_domid.0, saved);
        assert!(
            domain.ports.values().all(Option::is_some),
            "ports are bound again"
        );
        assert_eq!(domain.params[&param::STORE_EVTCHN], 1);
    }
    let home = std::format!("/local/domain/{domid}");
    let read = |path: &str| {
        world
            .xend
            .xenstore
            .read_text(&std::format!("{home}/{path}"))
            .map(String::from)
    };
    assert_eq!(read("data/counter").as_deref(), Some("41"));
    assert_eq!(read("domid"), Some(std::format!("{saved}")));
    assert_eq!(read("name").as_deref(), Some(name));
    // It talks on, and can be shut down like any other.
    world.print(domid, "still here");
    assert_eq!(world.console(name).unwrap().0, "still here");
    world.guest_writes(domid, "data/counter", "42");
}

#[test]
fn a_domain_saved_to_a_client_goes_on_where_it_stood() {
    let mut world = World::new();
    let saved = busy_domain(&mut world);
    let file = save(&mut world, "guest").unwrap();
    assert!(world.list().is_empty());
    world.assert_clean("the saved domain is gone");
    let mut domid = restore(&mut world, &file, None).unwrap();
    check_restored(&mut world, saved, domid, "guest");
    // Again and again, from the same file.
    for _ in 0..3 {
        world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
        world.assert_clean("between restores");
        domid = restore(&mut world, &file, None).unwrap();
    }
    check_restored(&mut world, saved, domid, "guest");
}

#[test]
fn a_domain_saved_to_the_store_goes_on_where_it_stood() {
    let mut world = World::new();
    let saved = busy_domain(&mut world);
    let reply = world.ask(to_store("before")).unwrap();
    assert!(matches!(reply, Reply::Saved(saved) if saved.stored_kib >= 64));
    assert!(world.machine().domains.is_empty());
    match world.ask(RequestBody::SnapshotList) {
        Ok(Reply::Snapshots(list)) => {
            assert_eq!(
                (list[0].label.as_str(), list[0].domain.as_str()),
                ("before", "guest")
            );
        }
        other => panic!("{other:?}"),
    }
    let Reply::Created(created) = world.ask(from_store("before", None)).unwrap() else {
        panic!()
    };
    check_restored(&mut world, saved, created.domid, "guest");
    // Its kernel is still there: it can reboot.
    world.stop(created.domid, ShutdownReason::REBOOT);
    assert_eq!(world.list(), [("guest".into(), "blocked")]);
    // A copy beside it.
    let Reply::Created(copy) = world.ask(from_store("before", Some("copy"))).unwrap() else {
        panic!()
    };
    check_restored(&mut world, saved, copy.domid, "copy");
    for name in ["guest", "copy"] {
        world.ask(RequestBody::Destroy(by_name(name))).unwrap();
    }
    world
        .ask(RequestBody::SnapshotDelete("before".into()))
        .unwrap();
    world.assert_clean("all is gone");
    assert_eq!(
        world.code(from_store("before", None)),
        ErrorCode::UNKNOWN_SNAPSHOT
    );
}

#[test]
fn a_domain_restored_from_a_file_reboots_if_its_kernel_is_at_hand() {
    let mut world = World::new();
    busy_domain(&mut world);
    let file = save(&mut world, "guest").unwrap();
    world.upload(1, &kernel()).unwrap();
    world.upload(1, &ramdisk()).unwrap();
    let Created {
        domid, warnings, ..
    } = restored(&mut world, &file, None).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    world.stop(domid, ShutdownReason::REBOOT);
    assert_eq!(world.list(), [("guest".into(), "blocked")]);
    world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
    world.event(Event::SessionClosed(1));
    world.assert_clean("the kernel is released");

    let mut world = World::new();
    let Created {
        domid, warnings, ..
    } = restored(&mut world, &file, None).unwrap();
    let lost =
        |what| format!("its {what} is not on this host: the domain runs, but a reboot will end it");
    assert_eq!(warnings, [lost("kernel '/k'"), lost("ramdisk '/r'")]);
    world.stop(domid, ShutdownReason::REBOOT);
    assert!(
        world.list().is_empty(),
        "without a kernel it is not built again"
    );
    world.assert_clean("no kernel");
}

#[test]
fn a_save_that_is_given_up_leaves_the_domain_running() {
    let mut world = World::new();
    let domid = busy_domain(&mut world);
    let (save, _) = read_save(&mut world, "guest").unwrap();
    assert!(world.machine().domain(domid).paused);
    for body in [
        RequestBody::Unpause(by_name("guest")),
        RequestBody::Destroy(by_name("guest")),
        RequestBody::SaveBegin(by_name("guest")),
    ] {
        assert_eq!(world.code(body), ErrorCode::BUSY);
    }
    let typed = ConsoleWrite {
        domain: by_name("guest"),
        bytes: b"x".to_vec(),
    };
    assert_eq!(
        world.code(RequestBody::ConsoleWrite(typed)),
        ErrorCode::BUSY
    );
    let wrong = SaveCommit {
        save,
        root: Digest([7; 32]),
    };
    assert_eq!(
        world.code(RequestBody::SaveCommit(wrong)),
        ErrorCode::BAD_SNAPSHOT
    );
    world.ask(RequestBody::SaveAbort(save)).unwrap();
    assert!(!world.machine().domain(domid).paused);
    assert_eq!(world.list(), [("guest".into(), "blocked")]);

    world.ask(RequestBody::Pause(by_name("guest"))).unwrap();
    read_save(&mut world, "guest").unwrap();
    world.event(Event::SessionClosed(1));
    assert!(world.machine().domain(domid).paused, "it was paused before");
}

#[test]
fn an_incomplete_save_cannot_be_committed() {
    let mut world = World::new();
    busy_domain(&mut world);
    let Reply::SaveStarted(started) = world.ask(RequestBody::SaveBegin(by_name("guest"))).unwrap()
    else {
        panic!()
    };
    let commit = SaveCommit {
        save: started.save,
        root: Digest::ZERO,
    };
    assert_eq!(
        world.code(RequestBody::SaveCommit(commit)),
        ErrorCode::BAD_REQUEST
    );
    let ahead = SaveRead {
        save: started.save,
        index: 5,
        limit: 1,
    };
    assert_eq!(
        world.code(RequestBody::SaveRead(ahead)),
        ErrorCode::BAD_REQUEST
    );
    let nobodys = SaveManifest {
        save: started.save + 1,
        offset: 0,
    };
    assert_eq!(
        world.code(RequestBody::SaveManifest(nobodys)),
        ErrorCode::BAD_REQUEST
    );
}

#[test]
fn snapshots_of_other_hosts_are_refused_with_the_reason() {
    let mut world = World::new();
    busy_domain(&mut world);
    let file = save(&mut world, "guest").unwrap();
    let mut refused = |change: &dyn Fn(&mut Manifest), word: &str| {
        let mut manifest = Manifest::decode(&file.manifest).unwrap();
        change(&mut manifest);
        let file = File {
            manifest: mgmt_proto::messages::encode(&manifest),
            ..file.clone()
        };
        let failure = restore(&mut world, &file, None).unwrap_err();
        assert_eq!(failure.code, ErrorCode::BAD_SNAPSHOT, "{failure}");
        assert!(failure.message.contains(word), "{failure}");
        world.assert_clean(word);
    };
    refused(&|manifest| manifest.arch = "x86_64".into(), "x86_64");
    refused(
        &|manifest| manifest.platform = "gicv2".into(),
        "a GICv2 (interrupt",
    );
    refused(&|manifest| manifest.counter_hz = 1, "1 Hz");
    refused(&|manifest| manifest.format = 2, "format 2");
    refused(&|manifest| manifest.vcpus = 3, "vCPUs");
    refused(&|manifest| manifest.guest_domid = 0, "domid");
    refused(
        &|manifest| manifest.config = "memory = [".into(),
        "saved configuration",
    );
    refused(&|manifest| manifest.memory[0].count += 100, "more memory");
    refused(&|manifest| manifest.records[1].version = 9, "version 9");
    refused(
        &|manifest| manifest.records[0].bytes.truncate(9),
        "record 0x1",
    );
    refused(&|manifest| manifest.extra[0].bytes.truncate(9), "xenstore");
}

#[test]
fn a_snapshot_of_one_vendor_is_refused_by_the_other_with_the_reason() {
    let mut world = World::new();
    world.machine().extension = extension::SVM;
    busy_domain(&mut world);
    let file = save(&mut world, "guest").unwrap();
    let manifest = Manifest::decode(&file.manifest).unwrap();
    assert_eq!(manifest.platform, "svm");
    world.machine().extension = extension::VMX;
    let failure = restore(&mut world, &file, None).unwrap_err();
    assert_eq!(failure.code, ErrorCode::BAD_SNAPSHOT);
    let sentence = "the snapshot is of a machine with AMD SVM, this one has Intel VMX";
    assert_eq!(failure.message, sentence);
    assert!(failure.remedy.is_some_and(|it| it.contains("of its kind")));
    world.assert_clean("it was refused");

    // Whatever the manifest says: the registers are of the other one.
    world.machine().extension = extension::SVM;
    let mut manifest = manifest;
    manifest.records.push(Record {
        kind: Kind::VMX_CPU.0,
        ..manifest.records[0].clone()
    });
    let file = File {
        manifest: mgmt_proto::messages::encode(&manifest),
        ..file
    };
    let failure = restore(&mut world, &file, None).unwrap_err();
    let sentence = "the snapshot is of a machine with Intel VMX, this one has AMD SVM";
    assert_eq!(failure.message, sentence);
    world.assert_clean("it was refused");
}

#[test]
fn a_restore_needs_a_free_name_and_enough_memory() {
    let mut world = World::new();
    busy_domain(&mut world);
    let file = save(&mut world, "guest").unwrap();
    world.create(config("guest")).unwrap();
    let failure = restore(&mut world, &file, None).unwrap_err();
    assert_eq!(failure.code, ErrorCode::NAME_IN_USE);
    let domid = restore(&mut world, &file, Some("other")).unwrap();
    assert!(world.machine().domain(domid).started);
    let free = core::mem::replace(&mut world.machine().free, 100);
    let failure = restore(&mut world, &file, Some("third")).unwrap_err();
    assert_eq!(failure.code, ErrorCode::NO_MEMORY);
    assert_eq!(core::mem::replace(&mut world.machine().free, free), 100);
}

#[test]
fn damaged_memory_is_refused() {
    let mut world = World::new();
    busy_domain(&mut world);
    let file = save(&mut world, "guest").unwrap();
    let mut flipped = file.clone();
    flipped.chunks[0].1.bytes[5] ^= 1;
    let failure = restore(&mut world, &flipped, None).unwrap_err();
    assert_eq!(failure.code, ErrorCode::BAD_SNAPSHOT);
    world.event(Event::SessionClosed(1));
    world.finish();
    world.assert_clean("its client gave up");
    world.connect(1);
    let mut swapped = file.clone();
    swapped.chunks.swap(0, 1);
    let failure = restore(&mut world, &swapped, None).unwrap_err();
    assert!(failure.message.contains("out of order"), "{failure}");
}

#[test]
fn no_bit_of_a_manifest_does_harm() {
    let mut world = World::new();
    busy_domain(&mut world);
    let file = save(&mut world, "guest").unwrap();
    let bits = file.manifest.len() * 8;
    for bit in (0..bits).step_by(bits / 250 + 1) {
        let mut bad = file.clone();
        bad.manifest[bit / 8] ^= 1 << (bit % 8);
        if let Err(failure) = restore(&mut world, &bad, None) {
            assert_ne!(failure.code, ErrorCode::INTERNAL, "bit {bit}: {failure}");
        }
        // Refused, or a domain of its own.
        world.event(Event::SessionClosed(1));
        world.finish();
        world.connect(1);
        for (name, _) in world.list() {
            world.ask(RequestBody::Destroy(by_name(&name))).unwrap();
        }
        world.assert_clean(&std::format!("bit {bit}"));
    }
}

#[test]
fn a_domain_that_stops_just_before_its_save_is_not_saved() {
    let mut world = World::new();
    let domid = busy_domain(&mut world);
    world.machine().domain(domid).shutdown = Some(ShutdownReason::POWEROFF);
    // Nobody has told xend yet.
    let body = RequestBody::SaveBegin(by_name("guest"));
    assert_eq!(world.code(body), ErrorCode::WRONG_STATE);
    assert!(world.list().is_empty(), "its policy was carried out");
    world.assert_clean("it is gone");
}
