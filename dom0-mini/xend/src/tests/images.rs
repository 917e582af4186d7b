//! Images in the store: kept, listed, made domains of, removed; over restarts, and what is refused.

use super::world::{World, by_name, kernel, ramdisk};
use crate::Event;
use crate::build::kernel::tests::image as another_kernel;
use crate::store::simulated::{Random, SimulatedDisk};
use hv_abi::control::domain::ShutdownReason;
use hv_abi::layout::arm::RAM0_BASE;
use mgmt_proto::blob::{BlobHasher, BlobId, CHUNK, Codec, Digest, blob_id};
use mgmt_proto::messages::{
    BlobRead, Create, Define, ErrorCode, Failure, Image, ImageAdd, ImagePart, ImageRole,
    ImageSummary, MAX_TEMPLATE, NamedBlob, Redefine, Reply, RequestBody, Start,
};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// The host's disk: 6 MiB of it are for blobs.
fn disk() -> SimulatedDisk {
    SimulatedDisk::new(16)
}

fn part(role: ImageRole, bytes: &[u8]) -> ImagePart {
    ImagePart {
        role,
        file: format!("{}.file", role.name()),
        blob: blob_id(bytes),
        length: bytes.len() as u64,
    }
}

fn parts() -> Vec<ImagePart> {
    vec![
        part(ImageRole::KERNEL, &kernel()),
        part(ImageRole::INITRD, &ramdisk()),
    ]
}

fn image(name: &str, parts: Vec<ImagePart>) -> ImageAdd {
    ImageAdd {
        name: name.into(),
        description: "for tests".into(),
        arch: "aarch64".into(),
        config: "name = '$VM_NAME'\n".into(),
        parts,
    }
}

fn upload_all(world: &mut World) {
    world.upload(1, &kernel()).unwrap();
    world.upload(1, &ramdisk()).unwrap();
}

fn add(world: &mut World, name: &str) -> Result<Reply, Failure> {
    upload_all(world);
    world.ask(RequestBody::ImageAdd(image(name, parts())))
}

fn list(world: &mut World) -> Vec<ImageSummary> {
    match world.ask(RequestBody::ImageList) {
        Ok(Reply::Images(list)) => list,
        other => panic!("{other:?}"),
    }
}

fn names(world: &mut World) -> Vec<String> {
    list(world).into_iter().map(|line| line.name).collect()
}

fn show(world: &mut World, name: &str) -> Result<Image, Failure> {
    match world.ask(RequestBody::ImageShow(name.into()))? {
        Reply::Image(image) => Ok(*image),
        other => panic!("{other:?}"),
    }
}

fn remove(name: &str) -> RequestBody {
    RequestBody::ImageRemove(name.into())
}

fn of_image(name: &str, image: &str) -> String {
    format!("name = '{name}'\nmemory = 2\nkernel = 'store:{image}'\nramdisk = 'store:{image}'\n")
}

fn create(name: &str, image: &str) -> RequestBody {
    RequestBody::Create(Create {
        config: of_image(name, image),
        origin: "test.cfg".into(),
        files: Vec::new(),
        paused: false,
    })
}

fn new(name: &str, image: &str) -> RequestBody {
    RequestBody::New(Define {
        config: of_image(name, image),
        origin: "test.cfg".into(),
        files: Vec::new(),
    })
}

fn start(name: &str) -> RequestBody {
    RequestBody::Start(Start {
        name: name.into(),
        paused: false,
    })
}

/// Whether the first domain there is was built from the kernel and the ramdisk.
fn is_built(world: &World) -> bool {
    let mut machine = world.machine();
    let (_, domain) = machine.domains.iter_mut().next().unwrap();
    domain.read(RAM0_BASE, 70_000) == kernel()
        && domain.read(RAM0_BASE + 0x2_0000, 9000) == ramdisk()
}

/// A disk with the image `debian`.
fn with_image() -> SimulatedDisk {
    let disk = disk();
    let mut world = World::with_disk(&disk);
    add(&mut world, "debian").unwrap();
    disk
}

#[test]
fn an_image_is_kept_as_it_was_given() {
    let disk = with_image();
    for mut world in [World::with_disk(&disk), World::with_disk(&disk)] {
        let lines = list(&mut world);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].roles, [ImageRole::KERNEL, ImageRole::INITRD]);
        assert_eq!(lines[0].length, 79_000);
        let image = show(&mut world, "debian").unwrap();
        assert_eq!((image.parts, image.added_by.as_str()), (parts(), "test"));
        assert_eq!(image.config, "name = '$VM_NAME'\n");
        assert_eq!(image.description, "for tests");
    }
    let mut world = World::with_disk(&disk);
    assert_eq!(world.ask(remove("debian")), Ok(Reply::Done));
    assert_eq!(world.code(remove("debian")), ErrorCode::BAD_IMAGE);
    assert!(show(&mut world, "debian").is_err());
    assert_eq!(names(&mut World::with_disk(&disk)), [""; 0]);
}

#[test]
fn without_a_disk_images_are_there_while_the_machine_is_on() {
    let mut world = World::new();
    add(&mut world, "debian").unwrap();
    world.event(Event::SessionClosed(1));
    world.connect(1);
    world.ask(create("web", "debian")).unwrap();
    assert!(is_built(&world));
    world.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    world.ask(remove("debian")).unwrap();
    world.assert_clean("the image is gone");
}

#[test]
fn domains_are_made_from_an_image_after_a_restart() {
    let disk = with_image();
    let mut world = World::with_disk(&disk);
    world.ask(create("web", "debian")).unwrap();
    assert!(is_built(&world));
    let domid = *world.machine().domains.keys().next().unwrap();
    // The image may go: the domain has what it needs for its reboot.
    world.ask(remove("debian")).unwrap();
    world.stop(domid, ShutdownReason::REBOOT);
    assert_eq!(world.list(), [("web".to_string(), "blocked")]);
    assert!(is_built(&world));
}

#[test]
fn a_definition_outlives_the_image_it_was_made_from() {
    let disk = with_image();
    let mut world = World::with_disk(&disk);
    world.ask(new("web", "debian")).unwrap();
    world.ask(remove("debian")).unwrap();
    assert_eq!(world.code(new("db", "debian")), ErrorCode::BAD_IMAGE);
    let mut world = World::with_disk(&disk);
    world.ask(start("web")).unwrap();
    assert!(is_built(&world));
    // Another image of that name changes nothing, nor does an edit of something else.
    world.upload(1, &another_kernel(70_000, 80_000)).unwrap();
    let other = part(ImageRole::KERNEL, &another_kernel(70_000, 80_000));
    let other = image("debian", vec![other]);
    world.ask(RequestBody::ImageAdd(other)).unwrap();
    let text = of_image("web", "debian");
    world
        .ask(RequestBody::DefinitionSet(Redefine {
            name: "web".into(),
            was: Digest::of_chunk(text.as_bytes()),
            config: text.replace("memory = 2", "memory = 3"),
            files: Vec::new(),
        }))
        .unwrap();
    let mut world = World::with_disk(&disk);
    world.ask(start("web")).unwrap();
    assert!(is_built(&world));
}

#[test]
fn an_edit_can_name_an_image() {
    let disk = with_image();
    let mut world = World::with_disk(&disk);
    world.upload(1, &another_kernel(70_000, 80_000)).unwrap();
    let text = "name = 'web'\nmemory = 2\nkernel = '/k'\n";
    let bytes = another_kernel(70_000, 80_000);
    let define = Define {
        config: text.into(),
        origin: "test.cfg".into(),
        files: vec![NamedBlob {
            key: "kernel".into(),
            blob: blob_id(&bytes),
            length: bytes.len() as u64,
        }],
    };
    world.ask(RequestBody::New(define)).unwrap();
    world
        .ask(RequestBody::DefinitionSet(Redefine {
            name: "web".into(),
            was: Digest::of_chunk(text.as_bytes()),
            config: of_image("web", "debian"),
            files: Vec::new(),
        }))
        .unwrap();
    world.ask(remove("debian")).unwrap();
    let mut world = World::with_disk(&disk);
    world.ask(start("web")).unwrap();
    assert!(is_built(&world));
}

#[test]
fn the_same_kernel_is_stored_once() {
    let disk = disk();
    let mut world = World::with_disk(&disk);
    let free = |world: &mut World| match world.ask(RequestBody::Info) {
        Ok(Reply::Info(info)) => info.store.unwrap().free_kib.unwrap(),
        other => panic!("{other:?}"),
    };
    let before = free(&mut world);
    add(&mut world, "one").unwrap();
    let with_one = free(&mut world);
    assert!(with_one < before);
    add(&mut world, "two").unwrap();
    assert_eq!(free(&mut world), with_one);
    world.ask(remove("one")).unwrap();
    assert_eq!(free(&mut world), with_one);
    world.ask(remove("two")).unwrap();
    assert_eq!(free(&mut world), before);
}

#[test]
fn what_is_no_image_is_refused() {
    let mut world = World::new();
    upload_all(&mut world);
    let kernel_part = || part(ImageRole::KERNEL, &kernel());
    let good = || image("debian", parts());
    let unknown = ImagePart {
        role: ImageRole(9),
        ..kernel_part()
    };
    let long = ImagePart {
        length: 1,
        ..kernel_part()
    };
    let named = |name: &str| image(name, parts());
    let of = |parts| image("debian", parts);
    let cases = [
        (named(""), ErrorCode::BAD_REQUEST),
        (named("a/b"), ErrorCode::BAD_REQUEST),
        (named("a'b"), ErrorCode::BAD_REQUEST),
        (of(vec![]), ErrorCode::BAD_REQUEST),
        (
            of(vec![part(ImageRole::INITRD, &ramdisk())]),
            ErrorCode::BAD_REQUEST,
        ),
        (
            of(vec![kernel_part(), kernel_part()]),
            ErrorCode::BAD_REQUEST,
        ),
        (of(vec![kernel_part(), unknown]), ErrorCode::BAD_REQUEST),
        (of(vec![long]), ErrorCode::BAD_BLOB),
        (
            of(vec![part(ImageRole::KERNEL, b"not sent")]),
            ErrorCode::BAD_BLOB,
        ),
        (
            ImageAdd {
                arch: "x86_64".into(),
                ..good()
            },
            ErrorCode::BAD_IMAGE,
        ),
        (
            ImageAdd {
                description: "x".repeat(257),
                ..good()
            },
            ErrorCode::TOO_LARGE,
        ),
        (
            ImageAdd {
                config: "x".repeat(MAX_TEMPLATE + 1),
                ..good()
            },
            ErrorCode::TOO_LARGE,
        ),
    ];
    for (add, code) in cases {
        assert_eq!(
            world.code(RequestBody::ImageAdd(add.clone())),
            code,
            "{add:?}"
        );
    }
    assert_eq!(names(&mut world), [""; 0]);
    let longest = ImageAdd {
        config: "x".repeat(MAX_TEMPLATE),
        ..good()
    };
    world.ask(RequestBody::ImageAdd(longest)).unwrap();
    assert_eq!(
        add(&mut world, "debian").unwrap_err().code,
        ErrorCode::NAME_IN_USE
    );
}

#[test]
fn a_name_that_is_on_its_way_is_taken() {
    let disk = disk();
    let mut world = World::with_disk(&disk);
    upload_all(&mut world);
    let first = world.post(1, RequestBody::ImageAdd(image("debian", parts())));
    assert_eq!(
        add(&mut world, "debian").unwrap_err().code,
        ErrorCode::NAME_IN_USE
    );
    world.finish();
    assert_eq!(world.answer(1, first), Some(Ok(Reply::Done)));
}

#[test]
fn there_are_so_many_images_and_no_more() {
    let mut world = World::new();
    for number in 0..64 {
        add(&mut world, &format!("i{number}")).unwrap();
    }
    let refused = add(&mut world, "more").unwrap_err();
    assert_eq!(refused.code, ErrorCode::STORE);
    assert!(refused.message.contains("64 images"), "{refused}");
    world.ask(remove("i7")).unwrap();
    add(&mut world, "more").unwrap();
}

#[test]
fn a_configuration_that_names_what_no_image_has_is_refused() {
    let mut world = World::new();
    world.upload(1, &kernel()).unwrap();
    let bare = image("bare", vec![part(ImageRole::KERNEL, &kernel())]);
    world.ask(RequestBody::ImageAdd(bare)).unwrap();
    for (image, told) in [
        ("lost", "there is no image 'lost'"),
        ("", "there is no image ''"),
        ("../snapshots/x", "there is no image"),
        ("bare", "there is no initrd in the image 'bare'"),
    ] {
        for body in [create("web", image), new("web", image)] {
            let refused = world.ask(body).unwrap_err();
            assert_eq!(refused.code, ErrorCode::BAD_IMAGE);
            assert!(refused.message.contains(told), "{refused}");
        }
    }
    assert_eq!(world.list(), []);
}

#[test]
fn a_full_store_takes_no_image() {
    let disk = with_image();
    let mut world = World::with_disk(&disk);
    let big = Random::new(3).bytes(8 * 1024 * 1024);
    world.upload(1, &kernel()).unwrap();
    world.upload(1, &big).unwrap();
    let parts = vec![
        part(ImageRole::KERNEL, &kernel()),
        part(ImageRole::DISK, &big),
    ];
    let refused = world
        .ask(RequestBody::ImageAdd(image("big", parts)))
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::STORE);
    assert!(refused.message.contains("full"), "{refused}");
    assert_eq!(names(&mut world), ["debian"]);
    world.ask(create("web", "debian")).unwrap();
}

#[test]
fn a_store_that_is_read_only_shows_its_images_and_takes_none() {
    let disk = with_image();
    let mut world = World::with_disk(&disk);
    upload_all(&mut world);
    disk.cut_after(0);
    let other = RequestBody::ImageAdd(image("other", parts()));
    assert_eq!(world.code(other), ErrorCode::STORE);
    let refused = world.ask(remove("debian")).unwrap_err();
    assert!(refused.message.contains("read-only"), "{refused}");
    assert_eq!(names(&mut world), ["debian"]);
    show(&mut world, "debian").unwrap();
}

#[test]
fn a_store_in_rescue_has_no_images_and_takes_none() {
    let disk = disk();
    disk.overwrite(0, [0x5A; 512]);
    let mut world = World::with_disk(&disk);
    let refused = add(&mut world, "debian").unwrap_err();
    assert_eq!(refused.code, ErrorCode::STORE);
    assert!(refused.message.contains("read-only"), "{refused}");
    assert_eq!(names(&mut world), [""; 0]);
    assert_eq!(world.code(create("web", "debian")), ErrorCode::BAD_IMAGE);
}

/// All of a blob, as a client exports it.
fn read(world: &mut World, id: BlobId, length: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut hasher = BlobHasher::new(length as u64);
    for index in 0..length.div_ceil(CHUNK) as u32 {
        match world.ask(RequestBody::BlobRead(BlobRead { id, index }))? {
            Reply::Chunk(chunk) => {
                hasher.chunk(&chunk.id);
                bytes.extend(chunk.decode(CHUNK.min(length - bytes.len())).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(hasher.finish(), id);
    Ok(bytes)
}

#[test]
fn what_is_in_an_image_is_read_back() {
    let disk = disk();
    let mut world = World::with_disk(&disk);
    let mut content = Random::new(5).bytes(3 * CHUNK + 17);
    content[CHUNK..2 * CHUNK].fill(0);
    upload_all(&mut world);
    world.upload(1, &content).unwrap();
    let mut all = parts();
    all.push(part(ImageRole::DISK, &content));
    world
        .ask(RequestBody::ImageAdd(image("debian", all)))
        .unwrap();
    let mut world = World::with_disk(&disk);
    let before = disk.operations();
    let id = blob_id(&content);
    assert_eq!(read(&mut world, id, content.len()).unwrap(), content);
    let reads = disk.operations() - before;
    assert_eq!(read(&mut world, id, content.len()).unwrap(), content);
    assert_eq!(disk.operations() - before, reads, "it was read once");
    let zero = RequestBody::BlobRead(BlobRead { id, index: 1 });
    match world.ask(zero) {
        Ok(Reply::Chunk(chunk)) => assert_eq!(chunk.codec, Codec::ZERO),
        other => panic!("{other:?}"),
    }
    let behind = RequestBody::BlobRead(BlobRead { id, index: 4 });
    assert_eq!(world.code(behind), ErrorCode::BAD_BLOB);
    let unknown = blob_id(b"nobody has it");
    let unknown = RequestBody::BlobRead(BlobRead {
        id: unknown,
        index: 0,
    });
    assert_eq!(world.code(unknown), ErrorCode::BAD_BLOB);
}

#[test]
fn an_image_that_goes_while_it_is_read_makes_no_domain() {
    let disk = with_image();
    let mut world = World::with_disk(&disk);
    world.connect(2);
    let asked = world.post(2, create("web", "debian"));
    assert!(world.keep(), "it is being read");
    let removed = world.post(1, remove("debian"));
    world.finish();
    assert_eq!(world.answer(1, removed), Some(Ok(Reply::Done)));
    match world.answer(2, asked).expect("an answer") {
        // The reading came first.
        Ok(Reply::Created(_)) => assert!(is_built(&world)),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => assert!(failure.message.contains("meanwhile"), "{failure}"),
    }
}
