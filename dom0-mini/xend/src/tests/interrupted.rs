//! A client is killed in the middle of what it does: that is done wholly or not at all, nothing is left behind, and it can
//! be done again.
//!
//! Each mutation is done again and again, and the client vanishes one moment later each time: between any two messages of
//! its own, steps of xend and orders of the store.

use super::snapshots::{File, from_store, restore, save, to_store};
use super::world::{World, by_name, config, files, kernel, ramdisk};
use crate::Event;
use crate::store::keeper::Keeper;
use crate::store::partition::Names;
use crate::store::simulated::{Random, SimulatedDisk};
use mgmt_proto::blob::{BlobId, Digest, blob_id};
use mgmt_proto::messages::{
    Define, ErrorCode, Failure, ImageAdd, ImagePart, ImageRole, PinVcpu, Redefine, Rename, Reply,
    RequestBody, SetScheduling, Shutdown, Start,
};
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// How long a host is left alone before it is looked at, in milliseconds: longer than any session lives without a frame.
const LONG: u64 = 60_000;

type Done = Result<(), Failure>;

/// Something that a client does to a host.
struct Mutation {
    /// For messages.
    name: &'static str,
    /// What the host is like before.
    before: fn(&mut World),
    /// All that the client asks for.
    exchange: fn(&mut World) -> Done,
    /// What a repeat is told if it is done already; none: it is done again.
    done_already: Option<ErrorCode>,
}

/// A host whose store is on a disk.
struct Host {
    world: World,
    disk: SimulatedDisk,
}

/// All of a host that outlives its clients.
#[derive(Debug, PartialEq)]
struct Picture {
    /// Names and states.
    domains: Vec<(String, &'static str)>,
    /// What each domain may use of the CPUs.
    scheduling: Vec<(String, u32, u32, u64)>,
    /// Free frames, claimed frames, maps, ports, domains.
    held: (u64, u64, u64, usize, usize),
    /// Blobs in memory, and how many refer to each.
    in_memory: Vec<(BlobId, u32)>,
    /// Files of the store that outlive a power cut, those that operators write with their content.
    files: Vec<(String, Vec<u8>)>,
    /// Blobs on the disk: how many, for what is in a snapshot depends on when it was made.
    on_disk: usize,
}

impl Host {
    /// As it is before the mutation.
    fn before(mutation: &Mutation) -> Self {
        let disk = SimulatedDisk::new(16);
        let mut world = World::with_disk(&disk);
        (mutation.before)(&mut world);
        let mut host = Self { world, disk };
        host.change_clients();
        host
    }

    /// The client goes, if it has not gone yet; guests do what they were asked to; and another client comes.
    fn change_clients(&mut self) {
        let world = &mut self.world;
        world.event(Event::SessionClosed(1));
        world.finish();
        world.guests_obey();
        world.pass(LONG);
        world.finish();
        world.connect(1);
    }

    fn picture(&mut self) -> Picture {
        let domains = self.world.list();
        let blobs = match self.world.ask(RequestBody::BlobList) {
            Ok(Reply::Blobs(blobs)) => blobs,
            other => panic!("{other:?}"),
        };
        let mut random = Random::new(1);
        let names = Names::new(|into| random.fill(into));
        let (_, mounted) = Keeper::mount(Some(Box::new(self.disk.copy())), &names);
        let content = |path: &str, content: Vec<u8>| match path.starts_with("/etc/") {
            true => content,
            false => Vec::new(),
        };
        let files = mounted.inventory.files.into_iter();
        Picture {
            domains,
            scheduling: scheduling(&mut self.world),
            held: self.world.machine().held(),
            in_memory: blobs.iter().map(|it| (it.id, it.references)).collect(),
            files: files
                .map(|(path, file)| (path.clone(), content(&path, file.content)))
                .collect(),
            on_disk: mounted.inventory.blobs.len(),
        }
    }
}

fn scheduling(world: &mut World) -> Vec<(String, u32, u32, u64)> {
    let Ok(Reply::Scheduling(shares)) = world.ask(RequestBody::SchedulingList) else {
        panic!("no list of shares")
    };
    let Ok(Reply::Vcpus(vcpus)) = world.ask(RequestBody::VcpuList) else {
        panic!("no list of vCPUs")
    };
    let share = |domid| shares.iter().find(|share| share.domid == domid).unwrap();
    let vcpu = vcpus.iter().map(|vcpu| (share(vcpu.domid), vcpu.affinity));
    vcpu.map(|(share, affinity)| (share.name.clone(), share.weight, share.cap, affinity))
        .collect()
}

/// Kills the client at every moment of a mutation.
fn interrupt(mutation: &Mutation) {
    let name = mutation.name;
    let mut host = Host::before(mutation);
    let before = host.picture();
    (mutation.exchange)(&mut host.world).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    host.change_clients();
    let after = host.picture();
    for moments in 0.. {
        let what = format!("{name}, killed after {moments} moments");
        let mut host = Host::before(mutation);
        host.world.vanish_after(moments);
        let _ = (mutation.exchange)(&mut host.world);
        let is_over = !host.world.is_gone();
        host.change_clients();
        let found = host.picture();
        if found != before {
            assert_eq!(found, after, "{what}: half done");
        }
        let again = (mutation.exchange)(&mut host.world);
        match (again, mutation.done_already) {
            (Ok(()), _) => {}
            (Err(failure), Some(code)) if found == after && failure.code == code => {}
            (Err(failure), _) => panic!("{what}: it is not done again: {failure}"),
        }
        host.change_clients();
        assert_eq!(host.picture(), after, "{what}: done again");
        if is_over {
            assert!(moments > 1, "{name}: nothing was interrupted");
            return;
        }
    }
}

fn asks(world: &mut World, body: RequestBody) -> Done {
    world.ask(body).map(drop)
}

fn uploads(world: &mut World) -> Done {
    world.upload(1, &kernel())?;
    world.upload(1, &ramdisk())
}

fn nothing(_: &mut World) {}

fn running(world: &mut World) {
    let domid = world.create(config("guest")).unwrap();
    world.boot(domid);
}

fn defines(world: &mut World) -> Done {
    uploads(world)?;
    let define = Define {
        config: config("guest"),
        origin: "test.cfg".into(),
        files: files(),
    };
    asks(world, RequestBody::New(define))
}

fn defined(world: &mut World) {
    defines(world).unwrap();
}

fn starts(world: &mut World) -> Done {
    let start = Start {
        name: "guest".into(),
        paused: false,
    };
    asks(world, RequestBody::Start(start))
}

fn started(world: &mut World) {
    defined(world);
    starts(world).unwrap();
}

fn renames(world: &mut World) -> Done {
    let rename = Rename {
        domain: by_name("guest"),
        name: "other".into(),
    };
    asks(world, RequestBody::Rename(rename))
}

/// Asks the guest to stop, and waits until it has.
fn stops(world: &mut World, request: fn(Shutdown) -> RequestBody) -> Done {
    let shutdown = Shutdown {
        domain: by_name("guest"),
        wait_ms: 10_000,
    };
    world.guests_boot();
    let id = world.post(1, request(shutdown));
    world.guests_obey();
    world.finish();
    match world.answer(1, id) {
        Some(answer) => answer.map(drop),
        None => {
            assert!(world.is_gone(), "a client that is there is answered");
            Ok(())
        }
    }
}

/// A saved domain, as a client has it.
fn file() -> File {
    let mut donor = World::new();
    running(&mut donor);
    save(&mut donor, "guest").unwrap()
}

fn saved_to_store(world: &mut World) {
    running(world);
    world.ask(to_store("label")).unwrap();
}

fn adds_an_image(world: &mut World) -> Done {
    uploads(world)?;
    let part = |role, bytes: &[u8]| ImagePart {
        role,
        file: "a.file".into(),
        blob: blob_id(bytes),
        length: bytes.len() as u64,
    };
    let add = ImageAdd {
        name: "debian".into(),
        description: String::new(),
        arch: "aarch64".into(),
        config: "name = '$VM_NAME'\n".into(),
        parts: vec![
            part(ImageRole::KERNEL, &kernel()),
            part(ImageRole::INITRD, &ramdisk()),
        ],
    };
    asks(world, RequestBody::ImageAdd(add))
}

fn with_image(world: &mut World) {
    adds_an_image(world).unwrap();
}

/// Reads a definition and sends another one.
fn edits(world: &mut World) -> Done {
    let Reply::Definition(seen) = world.ask(RequestBody::DefinitionShow("guest".into()))? else {
        panic!("no definition")
    };
    let redefine = Redefine {
        name: "guest".into(),
        was: Digest::of_chunk(seen.config.as_bytes()),
        config: config("guest").replace("memory = 2", "memory = 3"),
        files: Vec::new(),
    };
    asks(world, RequestBody::DefinitionSet(redefine))
}

#[test]
fn domains_that_come() {
    for (name, before, exchange) in [
        (
            "create",
            nothing as fn(&mut World),
            (|world| world.create(config("guest")).map(drop)) as fn(&mut World) -> Done,
        ),
        ("restore from the client", nothing, |world| {
            restore(world, &file(), None).map(drop)
        }),
        ("restore from the store", saved_to_store, |world| {
            asks(world, from_store("label", None))
        }),
    ] {
        interrupt(&Mutation {
            name,
            before,
            exchange,
            done_already: Some(ErrorCode::NAME_IN_USE),
        });
    }
}

#[test]
fn domains_that_go() {
    for (name, exchange) in [
        (
            "destroy",
            (|world| asks(world, RequestBody::Destroy(by_name("guest")))) as fn(&mut World) -> Done,
        ),
        ("shutdown", |world| stops(world, RequestBody::Shutdown)),
        ("save to the client", |world| save(world, "guest").map(drop)),
        ("rename", renames),
    ] {
        interrupt(&Mutation {
            name,
            before: running,
            exchange,
            done_already: Some(ErrorCode::UNKNOWN_DOMAIN),
        });
    }
}

#[test]
fn a_domain_that_goes_to_the_store() {
    interrupt(&Mutation {
        name: "save to the store",
        before: running,
        exchange: |world| asks(world, to_store("label")),
        done_already: Some(ErrorCode::NAME_IN_USE),
    });
}

#[test]
fn domains_that_stay() {
    for (name, exchange) in [
        (
            "reboot",
            (|world| stops(world, RequestBody::Reboot)) as fn(&mut World) -> Done,
        ),
        ("pause", |world| {
            asks(world, RequestBody::Pause(by_name("guest")))
        }),
        ("sched", |world| {
            asks(
                world,
                RequestBody::SchedulingSet(SetScheduling {
                    domain: by_name("guest"),
                    weight: Some(512),
                    cap: Some(50),
                }),
            )
        }),
        ("vcpu-pin", |world| {
            asks(
                world,
                RequestBody::VcpuPin(PinVcpu {
                    domain: by_name("guest"),
                    vcpu: Some(0),
                    cpus: 0b10,
                }),
            )
        }),
    ] {
        interrupt(&Mutation {
            name,
            before: running,
            exchange,
            done_already: None,
        });
    }
}

#[test]
fn managed_domains() {
    for (name, before, exchange, done_already) in [
        (
            "new",
            nothing as fn(&mut World),
            defines as fn(&mut World) -> Done,
            Some(ErrorCode::NAME_IN_USE),
        ),
        ("start", defined, starts, Some(ErrorCode::WRONG_STATE)),
        (
            "delete",
            defined,
            |world| asks(world, RequestBody::Delete("guest".into())),
            Some(ErrorCode::UNKNOWN_DOMAIN),
        ),
        (
            "rename one that is off",
            defined,
            renames,
            Some(ErrorCode::UNKNOWN_DOMAIN),
        ),
        (
            "rename one that runs",
            started,
            renames,
            Some(ErrorCode::UNKNOWN_DOMAIN),
        ),
        ("config edit", defined, edits, None),
    ] {
        interrupt(&Mutation {
            name,
            before,
            exchange,
            done_already,
        });
    }
}

#[test]
fn what_the_store_keeps() {
    for (name, before, exchange, done_already) in [
        (
            "image add",
            nothing as fn(&mut World),
            adds_an_image as fn(&mut World) -> Done,
            Some(ErrorCode::NAME_IN_USE),
        ),
        (
            "image rm",
            with_image,
            |world| asks(world, RequestBody::ImageRemove("debian".into())),
            Some(ErrorCode::BAD_IMAGE),
        ),
        (
            "snapshot delete",
            saved_to_store,
            |world| asks(world, RequestBody::SnapshotDelete("label".into())),
            Some(ErrorCode::UNKNOWN_SNAPSHOT),
        ),
        (
            "config set",
            nothing,
            |world| asks(world, RequestBody::ConfigSet("(loglevel DEBUG)\n".into())),
            None,
        ),
        (
            "host init",
            with_image,
            |world| asks(world, RequestBody::HostInit(true)),
            None,
        ),
    ] {
        interrupt(&Mutation {
            name,
            before,
            exchange,
            done_already,
        });
    }
}
