//! Managed domains that crash.

use super::*;

fn crashing(world: &mut World, policy: &str) {
    let text = format!("{}\non_crash = '{policy}'\n", bundled("web"));
    world.ask(define(text, Vec::new())).unwrap();
    world.ask(start("web")).unwrap();
}

fn log(world: &mut World) -> String {
    match world.ask(RequestBody::Log(Default::default())) {
        Ok(Reply::Text(log)) => String::from_utf8(log.text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_managed_domain_that_crashes_at_once_is_started_again_ever_later() {
    let mut world = world();
    crashing(&mut world, "restart");
    for delay_ms in [1000, 2000, 4000, 8000] {
        let domid = domid(&world);
        world.stop(domid, ShutdownReason::CRASH);
        let crashed_ns = world.now.mono_ns;
        let waiting = line(&mut world, "web");
        assert_eq!((waiting.state, waiting.number()), (DomainState::OFF, None));
        let Ok(Reply::Domain(detail)) = world.ask(RequestBody::Show(by_name("web"))) else {
            panic!("not shown")
        };
        assert_eq!(detail.counters, []);
        assert!(waiting.flags.contains(DomainFlags::WAITING));
        assert_eq!(world.code(start("web")), ErrorCode::WRONG_STATE);
        assert_eq!(world.code(delete("web")), ErrorCode::WRONG_STATE);
        assert_eq!(
            world.code(RequestBody::Pause(by_name("web"))),
            ErrorCode::BUSY
        );
        let deadline = world.xend.next_deadline().unwrap();
        assert!(deadline <= crashed_ns + delay_ms * 1_000_000);
        assert!(deadline + 100_000_000 > crashed_ns + delay_ms * 1_000_000);
        world.now.mono_ns = deadline - 1_000_000;
        world.pass(0);
        world.finish();
        assert!(world.machine().domains.is_empty(), "after {delay_ms} ms");
        world.pass(1);
        world.finish();
        assert_eq!(line(&mut world, "web").state, DomainState::BLOCKED);
    }
    let log = log(&mut world);
    assert!(
        log.contains("crashed: its policy: restart, in 8 s"),
        "{log}"
    );
}

/// The first sector of the blobs, on a disk of 16 MiB: the kernel's.
const KERNEL: u64 = 9 * 2048;

#[test]
fn a_kernel_that_cannot_be_read_after_a_crash_is_told_of() {
    let disk = SimulatedDisk::new(16);
    let mut world = World::with_disk(&disk);
    world.upload(1, &kernel()).unwrap();
    world.upload(1, &ramdisk()).unwrap();
    let text = config("guest") + "on_crash = 'restart'\n";
    world.ask(define(text, files())).unwrap();
    world.ask(start("guest")).unwrap();
    world.ask(crate::tests::snapshots::to_store("s")).unwrap();
    drop(world);
    // Restored, it runs without having needed the kernel.
    disk.overwrite(KERNEL, [0xAA; 512]);
    let mut world = World::with_disk(&disk);
    world
        .ask(crate::tests::snapshots::from_store("s", None))
        .unwrap();
    let domid = domid(&world);
    world.stop(domid, ShutdownReason::CRASH);
    assert!(
        line(&mut world, "guest")
            .flags
            .contains(DomainFlags::WAITING)
    );
    world.pass(1000);
    world.finish();
    assert_eq!(world.list(), [("guest".into(), "off")]);
    let log = log(&mut world);
    let line = log.lines().last().unwrap();
    assert!(
        line.contains("ERROR (xend) domain 'guest' is not built again: ")
            && line.contains(" on the host's disk is damaged"),
        "{log}"
    );
}

#[test]
fn a_domain_that_waits_to_be_started_again_can_be_destroyed() {
    let mut world = world();
    crashing(&mut world, "restart");
    let domid = domid(&world);
    world.stop(domid, ShutdownReason::CRASH);
    world.ask(RequestBody::Destroy(by_name("web"))).unwrap();
    assert_eq!(world.list(), [("web".into(), "off")]);
    world.pass(10_000);
    world.finish();
    assert_eq!(world.list(), [("web".into(), "off")]);
    world.ask(start("web")).unwrap();
}

#[test]
fn a_crashed_managed_domain_can_be_kept_and_followed_by_another() {
    let mut world = world();
    crashing(&mut world, "rename-restart");
    let domid = domid(&world);
    world.stop(domid, ShutdownReason::CRASH);
    let expected = [("web-1".into(), "crashed"), ("web".into(), "off")];
    assert_eq!(world.list(), expected);
    world.pass(1000);
    world.finish();
    let expected = [("web-1".into(), "crashed"), ("web".into(), "blocked")];
    assert_eq!(world.list(), expected);
    assert_eq!(line(&mut world, "web").flags, DomainFlags::MANAGED);
}
