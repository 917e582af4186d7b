//! Domains through their lives.

use super::world::{World, by_name, config};
use crate::Event;
use crate::hypervisor::HostStop;
use hv_abi::control::domain::ShutdownReason;
use mgmt_proto::messages::{
    ConsoleRead, ConsoleWrite, Create, ErrorCode, EventKind, Follow, Rename, Reply, RequestBody,
    ServerMessage, Shutdown,
};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

fn shutdown(wait_ms: u32) -> Shutdown {
    Shutdown {
        domain: by_name("guest"),
        wait_ms,
    }
}

fn events(world: &mut World) -> Vec<EventKind> {
    match world.ask(RequestBody::Events(Follow::default())) {
        Ok(Reply::Events(events)) => events.events.iter().map(|event| event.kind).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_console_goes_both_ways_and_outlives_its_domain() {
    let mut world = World::new();
    let domid = world.create(config("guest")).unwrap();
    world.print(domid, "login: ");
    assert_eq!(world.console("guest").unwrap(), ("login: ".into(), false));

    let follow = ConsoleRead {
        domain: by_name("guest"),
        cursor: Some(7),
        wait_ms: 5000,
        max: 100,
    };
    let id = world.post(1, RequestBody::ConsoleRead(follow));
    assert_eq!(world.answer(1, id), None, "there is nothing new yet");
    let write = ConsoleWrite {
        domain: by_name("guest"),
        bytes: b"root\n".to_vec(),
    };
    assert!(matches!(
        world.ask(RequestBody::ConsoleWrite(write)),
        Ok(Reply::Written(written)) if written.count == 5
    ));
    assert_eq!(world.typed(domid), b"root\n");
    world.print(domid, "root\r\n# ");
    match world.answer(1, id) {
        Some(Ok(Reply::Console(chunk))) => assert_eq!(chunk.bytes, b"root\r\n# "),
        other => panic!("{other:?}"),
    }

    world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
    let last = world.console("guest").unwrap();
    assert_eq!(last, ("login: root\r\n# ".into(), true));
    world.create(config("guest")).unwrap();
    assert_eq!(
        world.console("guest").unwrap().0,
        "",
        "the name is used again"
    );
}

#[test]
fn a_wait_for_nothing_ends_in_time() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    let follow = ConsoleRead {
        domain: by_name("guest"),
        cursor: None,
        wait_ms: 500,
        max: 100,
    };
    let id = world.post(1, RequestBody::ConsoleRead(follow));
    let deadline = world.xend.next_deadline().unwrap();
    assert_eq!(deadline, world.now.mono_ns + 500_000_000);
    world.pass(499);
    assert_eq!(world.answer(1, id), None);
    world.pass(1);
    assert!(
        matches!(world.answer(1, id), Some(Ok(Reply::Console(chunk))) if chunk.bytes.is_empty())
    );
    assert_eq!(world.xend.next_deadline(), None);
}

#[test]
fn shutdown_asks_the_guest_and_waits_for_it() {
    let mut world = World::new();
    let domid = world.create(config("guest")).unwrap();
    let early = world.code(RequestBody::Shutdown(shutdown(0)));
    assert_eq!(early, ErrorCode::GUEST, "it has not booted");
    world.boot(domid);

    let id = world.post(1, RequestBody::Shutdown(shutdown(1000)));
    let path = format!("/local/domain/{domid}/control/shutdown");
    assert_eq!(world.xend.xenstore.read_text(&path), Some("poweroff"));
    world.pass(1000);
    let answer = world.answer(1, id).unwrap().unwrap_err();
    assert_eq!(answer.code, ErrorCode::TIMED_OUT);
    let save = world.post(1, RequestBody::SaveBegin(by_name("guest")));
    world.finish();
    assert!(world.answer(1, save).unwrap().is_ok(), "it is not held up");
    world.event(Event::SessionClosed(1));
    world.connect(1);

    let id = world.post(1, RequestBody::Shutdown(shutdown(1000)));
    world.stop(domid, ShutdownReason::POWEROFF);
    assert_eq!(world.answer(1, id), Some(Ok(Reply::Done)));
    assert!(world.list().is_empty());
    world.assert_clean("after the shutdown");
    assert_eq!(
        events(&mut world),
        [EventKind::CREATED, EventKind::SHUTDOWN]
    );
}

#[test]
fn a_reboot_builds_the_same_domain_again() {
    let mut world = World::new();
    let first = world.create(config("guest")).unwrap();
    world.boot(first);
    world.print(first, "one ");
    let id = world.post(1, RequestBody::Reboot(shutdown(10_000)));
    world.stop(first, ShutdownReason::REBOOT);
    assert_eq!(world.answer(1, id), Some(Ok(Reply::Done)));
    let second = *world.machine().domains.keys().next().unwrap();
    assert_ne!(second, first);
    assert!(world.machine().domain(second).started);
    world.print(second, "two");
    assert_eq!(world.console("guest").unwrap().0, "one two");
    world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
    world.assert_clean("after the reboot and the end");
}

#[test]
fn pause_and_unpause_are_idempotent() {
    let mut world = World::new();
    let domid = world.create(config("guest")).unwrap();
    for _ in 0..2 {
        world.ask(RequestBody::Pause(by_name("guest"))).unwrap();
        assert!(world.machine().domain(domid).paused);
    }
    assert_eq!(world.list(), [("guest".into(), "paused")]);
    assert_eq!(
        world.code(RequestBody::Shutdown(shutdown(0))),
        ErrorCode::WRONG_STATE
    );
    for _ in 0..2 {
        world.ask(RequestBody::Unpause(by_name("guest"))).unwrap();
        assert!(!world.machine().domain(domid).paused);
    }
}

#[test]
fn a_domain_created_paused_waits() {
    let mut world = World::new();
    world.upload(1, &super::world::kernel()).unwrap();
    world.upload(1, &super::world::ramdisk()).unwrap();
    let request = World::create_request(config("guest"), true);
    let reply = world.ask(request).unwrap();
    let Reply::Created(created) = reply else {
        panic!()
    };
    assert!(!world.machine().domain(created.domid).started);
    world.ask(RequestBody::Unpause(by_name("guest"))).unwrap();
    assert!(world.machine().domain(created.domid).started);
}

#[test]
fn nothing_can_be_done_with_a_domain_being_built_but_destroy() {
    let mut world = World::new();
    world.upload(1, &super::world::kernel()).unwrap();
    world.upload(1, &super::world::ramdisk()).unwrap();
    let created = world.post(1, World::create_request(config("guest"), false));
    world.work(3);
    for body in [
        RequestBody::Pause(by_name("guest")),
        RequestBody::Unpause(by_name("guest")),
        RequestBody::SaveBegin(by_name("guest")),
        RequestBody::Shutdown(shutdown(0)),
    ] {
        let id = world.post(1, body);
        let failure = world.answer(1, id).unwrap().unwrap_err();
        assert_eq!(failure.code, ErrorCode::BUSY);
        assert!(failure.message.contains("is being built"), "{failure}");
    }
    let id = world.post(1, RequestBody::Destroy(by_name("guest")));
    world.finish();
    assert_eq!(world.answer(1, id), Some(Ok(Reply::Done)));
    let failure = world.answer(1, created).unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::INTERRUPTED);
    world.assert_clean("after the destroy");
}

#[test]
fn policies_decide_what_becomes_of_a_domain() {
    let mut world = World::new();
    let text = config("guest") + "on_poweroff = 'preserve'\non_crash = 'rename-restart'\n";
    let domid = world.create(text).unwrap();
    world.stop(domid, ShutdownReason::CRASH);
    let list = world.list();
    let name = |index: usize| list[index].0.as_str();
    assert_eq!((name(0), list[0].1), ("guest-1", "crashed"));
    assert_eq!((name(1), list[1].1), ("guest", "blocked"));
    let second = *world.machine().domains.keys().last().unwrap();
    world.stop(second, ShutdownReason::POWEROFF);
    assert_eq!(world.list()[1], ("guest".into(), "shutdown"));
    assert_eq!(
        world.code(RequestBody::Unpause(by_name("guest"))),
        ErrorCode::WRONG_STATE
    );
    for name in ["guest", "guest-1"] {
        world.ask(RequestBody::Destroy(by_name(name))).unwrap();
    }
    world.assert_clean("after both");
}

#[test]
fn xends_policies_are_those_of_domains_that_say_none() {
    let mut world = World::with_settings("(on_poweroff preserve)\n");
    let first = world.create(config("guest")).unwrap();
    let second = world
        .create(config("other") + "on_poweroff = 'destroy'\n")
        .unwrap();
    world.stop(first, ShutdownReason::POWEROFF);
    world.stop(second, ShutdownReason::POWEROFF);
    assert_eq!(world.list(), [("guest".into(), "shutdown")]);
}

#[test]
fn a_crash_loop_ends() {
    let mut world = World::new();
    let mut domid = world
        .create(config("guest") + "on_crash = 'restart'\n")
        .unwrap();
    for round in 1..=3 {
        world.stop(domid, ShutdownReason::CRASH);
        let next = world.machine().domains.keys().next().copied();
        assert_eq!(next.is_some(), round < 3, "round {round}");
        domid = next.unwrap_or(0);
    }
    world.assert_clean("after the third crash");
}

#[test]
fn names_are_unique_and_renaming_keeps_them_so() {
    let mut world = World::new();
    let domid = world.create(config("a")).unwrap();
    world.create(config("b")).unwrap();
    let rename = |from: &str, to: &str| {
        RequestBody::Rename(Rename {
            domain: by_name(from),
            name: to.into(),
        })
    };
    assert_eq!(world.code(rename("a", "b")), ErrorCode::NAME_IN_USE);
    assert_eq!(world.code(rename("a", "x/y")), ErrorCode::BAD_REQUEST);
    assert_eq!(world.code(rename("c", "d")), ErrorCode::UNKNOWN_DOMAIN);
    world.ask(rename("a", "a")).unwrap();
    world.ask(rename("a", "c")).unwrap();
    let path = format!("/local/domain/{domid}/name");
    assert_eq!(world.xend.xenstore.read_text(&path), Some("c"));
    let error = world.create(config("b")).unwrap_err();
    assert_eq!(error.code, ErrorCode::NAME_IN_USE);
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    let mut world = World::new();
    let create = |config: &str| {
        RequestBody::Create(Create {
            config: config.into(),
            origin: "a.cfg".into(),
            files: vec![],
            paused: false,
        })
    };
    for (text, code, word) in [
        ("name = \n", ErrorCode::BAD_CONFIG, "a.cfg:1"),
        ("name = 'x'\nmemory = 2\n", ErrorCode::BAD_CONFIG, "kernel"),
        (
            "name = 'x'\nmemory = 2\nkernel = '/k'\n",
            ErrorCode::BAD_BLOB,
            "not sent along",
        ),
        (
            "name = 'x'\nmemory = 2\nkernel = 'boot:k'\n",
            ErrorCode::BAD_IMAGE,
            "boot bundle",
        ),
        (
            "name = 'x'\nmemory = 2\nkernel = 'store:k'\n",
            ErrorCode::BAD_IMAGE,
            "no image 'k'",
        ),
    ] {
        let failure = world.ask(create(text)).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(word), "{failure}");
    }
    let small = config("guest").replace("memory = 2", "memory = 1\nextra = 'x'");
    assert!(
        world.create(small).is_ok(),
        "1 MiB is enough for this kernel"
    );
    let huge = config("huge").replace("memory = 2", "memory = 100");
    let failure = world.create(huge).unwrap_err();
    assert_eq!(failure.code, ErrorCode::NO_MEMORY);
    assert!(failure.message.contains("needs 100 MiB"), "{failure}");
}

#[test]
fn a_gicv2_serves_eight_vcpus_and_the_refusal_says_so() {
    let mut world = World::new();
    world.machine().gic = 2;
    let with = |vcpus: u32| config("guest") + &format!("vcpus = {vcpus}\n");
    let failure = world.create(with(9)).unwrap_err();
    assert_eq!(failure.code, ErrorCode::REFUSED, "{failure}");
    assert!(failure.message.contains("at most 8 vCPUs"), "{failure}");
    assert!(failure.message.contains("GICv2"), "{failure}");
    assert!(world.create(with(8)).is_ok());
}

#[test]
fn kernels_can_come_from_the_boot_bundle() {
    let mut world = World::new();
    let image: &'static [u8] = Vec::leak(super::world::kernel());
    world.machine().bundle.insert("Image", image);
    world.machine().bundle.insert("notes", b"hello world");
    let create = |kernel: &str| {
        RequestBody::Create(Create {
            config: format!("name = 'x'\nmemory = 2\nkernel = 'boot:{kernel}'\n"),
            origin: "a.cfg".into(),
            files: vec![],
            paused: false,
        })
    };
    assert_eq!(world.code(create("notes")), ErrorCode::BAD_IMAGE);
    world.ask(create("Image")).unwrap();
    assert_eq!(world.machine().claimed, 0, "nothing is copied to the store");
}

#[test]
fn a_domain_that_vanishes_is_forgotten() {
    let mut world = World::new();
    let domid = world.create(config("guest")).unwrap();
    world.machine().domains.remove(&domid);
    world.event(Event::DomainsChanged);
    world.finish();
    assert!(world.list().is_empty());
    assert!(world.machine().ports.is_empty());
}

#[test]
fn running_domains_are_taken_over_from_a_domain_0_that_is_gone() {
    let mut world = World::new();
    let domid = world
        .create(config("guest") + "on_crash = 'preserve'\n")
        .unwrap();
    world.print(domid, "before");
    let World { fake, xend, .. } = world;
    // Domain-0 dies: its maps and ports are closed; its claims are released.
    drop(xend);
    let ports: Vec<u32> = fake.0.borrow().ports.keys().copied().collect();
    for port in ports {
        let mut fake = fake.clone();
        crate::hypervisor::Hypervisor::close(&mut fake, crate::hypervisor::LocalPort(port))
            .unwrap();
    }
    assert_eq!(fake.0.borrow().mapped, 0);

    let mut world = World::over(fake);
    assert_eq!(world.list(), [("guest".to_string(), "blocked")]);
    world.print(domid, "after");
    assert_eq!(world.console("guest").unwrap().0, "after");
    world.boot(domid);
    world.ask(RequestBody::Shutdown(shutdown(0))).unwrap();
    world.stop(domid, ShutdownReason::CRASH);
    assert_eq!(
        world.list(),
        [("guest".to_string(), "crashed")],
        "its policy is known"
    );
    world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
    world.assert_clean("after the takeover");
}

#[test]
fn the_host_is_stopped_after_the_answer_is_out() {
    let mut world = World::new();
    assert_eq!(world.ask(RequestBody::HostStop(true)), Ok(Reply::Done));
    assert_eq!(world.machine().stopped, None);
    world.pass(300);
    assert_eq!(world.machine().stopped, Some(HostStop::Restart));
}

#[test]
fn logs_can_be_followed() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    let text = |reply: Reply| match reply {
        Reply::Text(chunk) => (String::from_utf8(chunk.text).unwrap(), chunk.next),
        other => panic!("{other:?}"),
    };
    let (log, next) = text(world.ask(RequestBody::Log(Follow::default())).unwrap());
    assert!(log.contains("'guest' created"), "{log}");
    let follow = Follow {
        cursor: Some(next),
        wait_ms: 1000,
    };
    let id = world.post(1, RequestBody::Log(follow));
    assert_eq!(world.answer(1, id), None);
    world.ask(RequestBody::Pause(by_name("guest"))).unwrap();
    let (more, _) = text(world.answer(1, id).unwrap().unwrap());
    assert!(more.contains("paused"), "{more}");
    let (dmesg, _) = text(world.ask(RequestBody::Dmesg(Follow::default())).unwrap());
    assert_eq!(dmesg, "the hypervisor says hello\n");
}

#[test]
fn progress_is_told_while_a_domain_is_built() {
    let mut world = World::new();
    world.upload(1, &super::world::kernel()).unwrap();
    world.upload(1, &super::world::ramdisk()).unwrap();
    let text = config("guest").replace("memory = 2", "memory = 40");
    world.post(1, World::create_request(text, false));
    world.finish();
    let told = world.inbox[&1]
        .iter()
        .filter(|message| matches!(message, ServerMessage::Progress(_)));
    assert!(told.count() > 0);
}

#[test]
fn settings_are_in_force_and_what_is_wrong_with_them_is_in_the_log() {
    let text = "(console-limit 1)\n(loglevel verbose)\n(vnc-listen here)\n";
    let mut world = World::with_settings(text);
    let Ok(Reply::Text(shown)) = world.ask(RequestBody::ConfigShow) else {
        panic!()
    };
    let shown = String::from_utf8(shown.text).unwrap();
    assert!(
        shown.contains("(console-limit 1)\n(") || shown.ends_with("(console-limit 1)\n"),
        "{shown}"
    );
    assert!(shown.contains("(loglevel INFO)"), "{shown}");
    let Ok(Reply::Text(log)) = world.ask(RequestBody::Log(Follow::default())) else {
        panic!()
    };
    let log = String::from_utf8(log.text).unwrap();
    assert!(
        log.contains("loglevel") && log.contains("vnc-listen"),
        "{log}"
    );
    let domid = world.create(config("guest")).unwrap();
    world.print(domid, &"x".repeat(1500));
    assert_eq!(world.console("guest").unwrap().0.len(), 1024);
}

#[test]
fn who_is_in_the_way_is_named() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    world.connect_as(2, "xenman on \u{1b}ada");
    world.connect(3);
    let sentence = |world: &mut World, body: RequestBody| {
        let refused = world.ask_as(3, body).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BUSY);
        refused.message
    };
    let pause = || RequestBody::Pause(by_name("guest"));
    world
        .ask_as(2, RequestBody::SaveBegin(by_name("guest")))
        .unwrap();
    let save = "domain 'guest' is being saved by xenman on ada";
    assert_eq!(sentence(&mut world, pause()), save);
    let destroy = RequestBody::Destroy(by_name("guest"));
    assert_eq!(sentence(&mut world, destroy), save);
    world.event(Event::SessionClosed(2));
    world.ask_as(3, pause()).unwrap();
    world
        .ask_as(3, RequestBody::Unpause(by_name("guest")))
        .unwrap();

    world.connect_as(2, "xenman on bob");
    world.post(2, RequestBody::Destroy(by_name("guest")));
    let id = world.post(3, pause());
    let refused = world.answer(3, id).unwrap().unwrap_err();
    assert_eq!(
        refused.message,
        "domain 'guest' is being taken apart by xenman on bob"
    );
}
