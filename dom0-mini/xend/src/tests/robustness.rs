//! Refused calls, vanished clients, garbage: nothing leaks, and everything else goes on.

use super::snapshots::{restore, save};
use super::world::{VANISHED, World, by_name, config, kernel, ramdisk};
use crate::{Effect, Event};
use hv_abi::Errno;
use hv_abi::control::domain::ShutdownReason;
use mgmt_proto::blob::blob_id;
use mgmt_proto::messages::{
    self, BlobOpen, BlobPut, ClientMessage, ErrorCode, Hello, PROTOCOL_VERSION, Reply, Request,
    RequestBody, RestoreFromStore, SaveToStore, ServerMessage,
};
use std::format;
use std::vec;
use std::vec::Vec;

/// Does `flow` again and again, with one call more granted each time before one is refused, until none is refused; after
/// each round everything is destroyed, and nothing may be missing.
fn refuse_each_call(flow: impl Fn(&mut World) -> Result<(), messages::Failure>) {
    for call in 1.. {
        let mut world = World::new();
        let base = world.machine().calls;
        world.machine().refuse = Some((base + call, Errno::EIO));
        let result = flow(&mut world);
        let was_refused = world.machine().calls >= base + call;
        world.machine().refuse = None;
        world.event(Event::SessionClosed(1));
        world.finish();
        world.connect(1);
        for (name, _) in world.list() {
            let _ = world.ask(RequestBody::Destroy(by_name(&name)));
        }
        if let Ok(Reply::Snapshots(all)) = world.ask(RequestBody::SnapshotList) {
            for snapshot in all {
                world
                    .ask(RequestBody::SnapshotDelete(snapshot.label))
                    .unwrap();
            }
        }
        world.assert_clean(&format!("call {call} was refused"));
        if !was_refused {
            result.unwrap();
            assert!(call > 20, "only {call} calls were made");
            return;
        }
    }
}

#[test]
fn a_refused_call_undoes_a_creation() {
    refuse_each_call(|world| world.create(config("guest")).map(drop));
}

#[test]
fn a_refused_call_does_not_harm_a_reboot() {
    refuse_each_call(|world| {
        let domid = world.create(config("guest"))?;
        world.stop(domid, ShutdownReason::REBOOT);
        Ok(())
    });
}

#[test]
fn a_refused_call_does_not_harm_a_save_or_a_restore() {
    refuse_each_call(|world| {
        world.create(config("guest"))?;
        let file = save(world, "guest")?;
        restore(world, &file, None).map(drop)
    });
}

#[test]
fn a_refused_call_does_not_harm_the_store() {
    refuse_each_call(|world| {
        world.create(config("guest"))?;
        world.ask(to_store())?;
        world.ask(from_store()).map(drop)
    });
}

fn to_store() -> RequestBody {
    RequestBody::SaveToStore(SaveToStore {
        domain: by_name("guest"),
        label: "label".into(),
    })
}

fn from_store() -> RequestBody {
    RequestBody::RestoreFromStore(RestoreFromStore {
        label: "label".into(),
        paused: false,
        name: None,
    })
}

#[test]
fn a_client_may_vanish_at_any_step_of_a_creation() {
    for steps in 0.. {
        let mut world = World::new();
        world.upload(1, &kernel()).unwrap();
        world.upload(1, &ramdisk()).unwrap();
        world.post(1, World::create_request(config("guest"), false));
        let more = world.work(steps);
        world.event(Event::SessionClosed(1));
        world.finish();
        world.connect(1);
        assert_eq!(
            world.list(),
            [("guest".into(), "blocked")],
            "it is built all the same"
        );
        world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
        world.assert_clean(&format!("{steps} steps"));
        if !more {
            return;
        }
    }
}

#[test]
fn a_client_may_vanish_at_any_step_of_a_save() {
    for store in [false, true] {
        for steps in 0.. {
            let mut world = World::new();
            let domid = world.create(config("guest")).unwrap();
            let body = if store {
                to_store()
            } else {
                RequestBody::SaveBegin(by_name("guest"))
            };
            world.post(1, body);
            let more = world.work(steps);
            world.event(Event::SessionClosed(1));
            world.finish();
            world.connect(1);
            let saved = world
                .ask(RequestBody::SnapshotDelete("label".into()))
                .is_ok();
            assert!(!saved || store, "it was not saved to the store");
            assert_ne!(
                saved,
                world.machine().domains.contains_key(&domid),
                "either or"
            );
            if !saved {
                assert!(!world.machine().domain(domid).paused, "it runs on: {steps}");
                world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
            }
            world.assert_clean(&format!("{steps} steps"));
            if !more {
                break;
            }
        }
    }
}

#[test]
fn a_client_may_vanish_at_any_moment_of_a_restore() {
    let mut donor = World::new();
    donor.create(config("guest")).unwrap();
    let file = save(&mut donor, "guest").unwrap();
    for moments in 0.. {
        let mut world = World::new();
        world.vanish_after(moments);
        match restore(&mut world, &file, None) {
            Ok(_) => return,
            Err(failure) => assert_eq!(failure.code, VANISHED, "{failure}"),
        }
        world.finish();
        if world.machine().domains.is_empty() {
            world.assert_clean(&format!("{moments} moments"));
        } else {
            // Everything had been sent but for the commit's answer.
            assert!(moments > 3);
        }
    }
}

#[test]
fn garbage_ends_its_session_and_nothing_else() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    let good = messages::encode(&ClientMessage::Request(Request {
        id: 1,
        body: RequestBody::Destroy(by_name("other")),
        token: None,
    }));
    let mut bad: Vec<Vec<u8>> = vec![vec![], vec![0xff; 10], vec![0x82; 500], vec![0; 100_000]];
    bad.extend((0..good.len()).map(|length| good[..length].to_vec()));
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        bad.push(flipped);
    }
    for bytes in bad {
        world.connect(2);
        world.event(Event::Message {
            session: 2,
            stream: 1,
            bytes: &bytes,
        });
        world.event(Event::SessionClosed(2));
        world.inbox.clear();
    }
    world.finish();
    assert_eq!(world.list(), [("guest".into(), "blocked")]);
}

#[test]
fn a_session_begins_with_a_hello_of_the_right_version() {
    let mut world = World::new();
    world.event(Event::SessionOpened(3));
    world.post(3, RequestBody::Info);
    let refused = |world: &mut World, code| match world.inbox.remove(&3).as_deref() {
        Some([ServerMessage::Refused(failure)]) => assert_eq!(failure.code, code),
        other => panic!("{other:?}"),
    };
    refused(&mut world, ErrorCode::NO_HELLO);
    assert_eq!(world.closed, [3]);
    world.event(Event::SessionOpened(3));
    let hello = Hello {
        version: PROTOCOL_VERSION + 1,
        client: "from the future".into(),
    };
    world.send(3, &ClientMessage::Hello(hello));
    refused(&mut world, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(world.closed, [3, 3]);
}

#[test]
fn a_session_has_eight_requests_under_way() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    let follow = || {
        RequestBody::Events(messages::Follow {
            cursor: Some(100),
            wait_ms: 1000,
        })
    };
    let ids: Vec<u64> = (0..9).map(|_| world.post(1, follow())).collect();
    let ninth = world.answer(1, ids[8]).unwrap().unwrap_err();
    assert_eq!(ninth.code, ErrorCode::BUSY);
    // A repeat of one under way is not a second one.
    let repeat = Request {
        id: ids[0],
        body: follow(),
        token: None,
    };
    world.send(1, &ClientMessage::Request(repeat));
    world.pass(1000);
    for id in &ids[..8] {
        assert!(world.answer(1, *id).is_some());
    }
    assert!(world.inbox[&1].is_empty());
}

#[test]
fn a_client_that_does_not_read_is_closed_and_bounded() {
    let mut world = World::new();
    for id in 0..200 {
        let bytes = messages::encode(&ClientMessage::Request(Request {
            id,
            body: RequestBody::Info,
            token: None,
        }));
        let event = Event::Message {
            session: 1,
            stream: 1,
            bytes: &bytes,
        };
        world.xend.handle(world.now, event);
    }
    let mut sent = 0;
    let mut closed = false;
    while let Some(effect) = world.xend.next_effect(|_, _| true) {
        sent += 1;
        closed |= effect == Effect::Close(1);
    }
    assert!(closed && sent < 40, "{sent}");
}

#[test]
fn memory_is_not_read_ahead_of_a_slow_client() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    let Ok(Reply::SaveStarted(started)) = world.ask(RequestBody::SaveBegin(by_name("guest")))
    else {
        panic!()
    };
    for id in 500..508 {
        let body = RequestBody::SaveRead(messages::SaveRead {
            save: started.save,
            index: 0,
            limit: 1,
        });
        let bytes = messages::encode(&ClientMessage::Request(Request {
            id,
            body,
            token: None,
        }));
        let event = Event::Message {
            session: 1,
            stream: 1,
            bytes: &bytes,
        };
        world.xend.handle(world.now, event);
    }
    let mut steps = 0;
    while world.xend.has_work() {
        world.xend.work(world.now);
        steps += 1;
    }
    assert_eq!(steps, 2, "two answers wait, no more are made");
    world.drain();
    assert!(world.xend.has_work());
    world.finish();
    assert!((500..508).all(|id| world.answer(1, id).is_some()));
}

#[test]
fn one_client_does_not_see_what_another_one_began() {
    let mut world = World::new();
    world.connect(2);
    world.create(config("guest")).unwrap();
    let Ok(Reply::SaveStarted(started)) = world.ask(RequestBody::SaveBegin(by_name("guest")))
    else {
        panic!()
    };
    let abort = world.ask_as(2, RequestBody::SaveAbort(started.save));
    assert_eq!(abort.unwrap_err().code, ErrorCode::BAD_REQUEST);
    let open = BlobOpen {
        id: blob_id(b"x"),
        length: 1,
    };
    let Ok(Reply::Blob(state)) = world.ask(RequestBody::BlobOpen(open)) else {
        panic!()
    };
    let put = BlobPut {
        upload: state.upload.unwrap(),
        index: 0,
        chunk: mgmt_proto::blob::Chunk::encode_raw(b"x"),
    };
    let put = world.ask_as(2, RequestBody::BlobPut(put));
    assert_eq!(put.unwrap_err().code, ErrorCode::BAD_BLOB);
}

#[test]
fn a_hundred_lives_end_with_the_memory_they_began_with() {
    let mut world = World::new();
    for round in 0..100 {
        let domid = world.create(config("guest")).unwrap();
        world.print(domid, "hello\n");
        if round % 2 == 0 {
            world.stop(domid, ShutdownReason::POWEROFF);
        } else {
            world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
        }
        world.assert_clean(&format!("round {round}"));
    }
}

/// A walk through requests, guests that stop and clients that vanish, in any order.
struct Walk {
    world: World,
    seed: u64,
    posted: Vec<(u16, u64)>,
}

impl Walk {
    fn pick(&mut self, choices: u64) -> u64 {
        // Knuth's MMIX generator.
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % choices
    }

    fn request(&mut self) -> RequestBody {
        let name = ["a", "b", "c"][self.pick(3) as usize];
        let domain = by_name(name);
        let wait_ms = [0, 50][self.pick(2) as usize];
        let number = self.pick(4) as u32;
        let label = "label".into();
        match self.pick(16) {
            0..=2 => World::create_request(config(name) + "on_crash = 'restart'\n", number == 0),
            3 => RequestBody::Pause(domain),
            4 => RequestBody::Unpause(domain),
            5 => RequestBody::Shutdown(messages::Shutdown { domain, wait_ms }),
            6 => RequestBody::Reboot(messages::Shutdown { domain, wait_ms }),
            7 => RequestBody::Destroy(domain),
            8 => RequestBody::SaveBegin(domain),
            9 => RequestBody::SaveAbort(number),
            10 => RequestBody::SaveRead(messages::SaveRead {
                save: number,
                index: 0,
                limit: 9,
            }),
            11 => RequestBody::SaveToStore(SaveToStore { domain, label }),
            12 => RequestBody::RestoreFromStore(RestoreFromStore {
                label,
                paused: number == 0,
                name: (number < 3).then(|| name.into()),
            }),
            13 => RequestBody::SnapshotDelete(label),
            14 => RequestBody::Rename(messages::Rename {
                domain,
                name: ["a", "b", "c"][number as usize % 3].into(),
            }),
            _ => RequestBody::List,
        }
    }

    fn step(&mut self) {
        let session = 1 + self.pick(2) as u16;
        match self.pick(20) {
            0 => {
                self.world.event(Event::SessionClosed(session));
                self.posted.retain(|(owner, _)| *owner != session);
                self.enter(session);
            }
            1 | 2 => self.guest_acts(),
            3 => self.world.pass(20),
            4..=9 => {
                let steps = self.pick(40) as usize;
                self.world.work(steps);
            }
            _ => {
                let body = self.request();
                let id = self.world.post(session, body);
                self.posted.push((session, id));
            }
        }
        let world = &mut self.world;
        self.posted
            .retain(|(session, id)| world.answer(*session, *id).is_none());
        world.xend.xenstore.verify().unwrap();
    }

    fn enter(&mut self, session: u16) {
        self.world.connect(session);
        // Held until a creation uses them; good enough to make many creations succeed.
        self.world.upload(session, &kernel()).unwrap();
        self.world.upload(session, &ramdisk()).unwrap();
    }

    fn guest_acts(&mut self) {
        let running: Vec<u16> = {
            let machine = self.world.machine();
            let live = machine.domains.iter();
            live.filter(|(_, domain)| !domain.paused && domain.shutdown.is_none())
                .map(|(domid, _)| *domid)
                .collect()
        };
        let Some(domid) = running.first().copied() else {
            return;
        };
        let reason = [
            ShutdownReason::POWEROFF,
            ShutdownReason::REBOOT,
            ShutdownReason::CRASH,
        ][self.pick(3) as usize];
        self.world.machine().domain(domid).shutdown = Some(reason);
        if self.pick(2) == 0 {
            self.world.event(Event::DomainsChanged);
        }
    }
}

#[test]
fn no_order_of_requests_confuses_anything() {
    let mut made = 0;
    for seed in 0..16 {
        let mut walk = Walk {
            world: World::new(),
            seed,
            posted: Vec::new(),
        };
        walk.world.event(Event::SessionClosed(1));
        walk.enter(1);
        walk.enter(2);
        for _ in 0..200 {
            walk.step();
        }
        let mut world = walk.world;
        world.event(Event::SessionClosed(1));
        world.event(Event::SessionClosed(2));
        world.event(Event::DomainsChanged);
        world.finish();
        world.connect(1);
        for (name, _) in world.list() {
            world.ask(RequestBody::Destroy(by_name(&name))).unwrap();
        }
        let _ = world.ask(RequestBody::SnapshotDelete("label".into()));
        world.assert_clean(&format!("seed {seed}"));
        made += world.machine().made();
    }
    assert!(made > 100, "a walk that makes {made} domains tells little");
}

#[test]
fn every_request_of_a_walk_is_answered_in_the_end() {
    for seed in 100..112 {
        let mut walk = Walk {
            world: World::new(),
            seed,
            posted: Vec::new(),
        };
        walk.world.event(Event::SessionClosed(1));
        walk.enter(1);
        walk.enter(2);
        for _ in 0..100 {
            walk.step();
        }
        walk.world.event(Event::DomainsChanged);
        // Saves that nobody ends hold their domains: end them, so that who waits for those is answered.
        for session in [1, 2] {
            for number in 0..400 {
                walk.world.post(session, RequestBody::SaveAbort(number));
            }
        }
        for _ in 0..10 {
            walk.world.finish();
            walk.world.pass(30_000);
        }
        let world = &mut walk.world;
        walk.posted
            .retain(|(session, id)| world.answer(*session, *id).is_none());
        assert_eq!(walk.posted, [], "seed {seed}");
    }
}
