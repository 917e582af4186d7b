//! Requests that are repeated after their session broke: carried out once, answered each time.

use super::world::{World, by_name, config, kernel, ramdisk};
use crate::Event;
use mgmt_proto::messages::{ErrorCode, Rename, Reply, RequestBody, ServerMessage};
use std::format;

fn create(world: &mut World, name: &str) -> RequestBody {
    world.upload(1, &kernel()).unwrap();
    world.upload(1, &ramdisk()).unwrap();
    World::create_request(config(name), false)
}

#[test]
fn a_request_that_was_done_is_answered_again_and_not_done_again() {
    let mut world = World::new();
    let create = create(&mut world, "guest");
    let first = world.post_repeatable(1, 7, create.clone());
    world.finish();
    let answer = world.answer(1, first).unwrap();
    assert!(matches!(answer, Ok(Reply::Created(_))));
    world.event(Event::SessionClosed(1));
    world.connect(2);
    let again = world.post_repeatable(2, 7, create.clone());
    assert_eq!(world.answer(2, again), Some(answer));
    world.connect(1);
    assert_eq!(world.list().len(), 1);
    let other = world.post_repeatable(2, 8, create);
    let refused = world.answer(2, other).unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::NAME_IN_USE);
}

#[test]
fn a_request_under_way_is_waited_for_in_another_session() {
    let mut world = World::new();
    let create = create(&mut world, "guest");
    world.post_repeatable(1, 7, create.clone());
    world.work(3);
    world.event(Event::SessionClosed(1));
    // Somebody else has the session's number now, and a request with the same id.
    world.connect(1);
    world.connect(2);
    let again = world.post_repeatable(2, 7, create);
    assert_eq!(world.answer(2, again), None);
    world.inbox.clear();
    world.finish();
    assert!(matches!(
        world.answer(2, again),
        Some(Ok(Reply::Created(_)))
    ));
    let to_others = world.inbox.remove(&1).unwrap_or_default();
    let answers = to_others.iter();
    let answers = answers.filter(|message| matches!(message, ServerMessage::Response(_)));
    assert_eq!(answers.count(), 0, "nobody else is answered");
}

#[test]
fn what_failed_is_tried_anew() {
    let mut world = World::new();
    let rename = || {
        RequestBody::Rename(Rename {
            domain: by_name("guest"),
            name: "other".into(),
        })
    };
    let id = world.post_repeatable(1, 7, rename());
    assert!(world.answer(1, id).unwrap().is_err());
    world.create(config("guest")).unwrap();
    for _ in 0..2 {
        let id = world.post_repeatable(1, 7, rename());
        assert_eq!(world.answer(1, id), Some(Ok(Reply::Done)));
    }
}

#[test]
fn the_last_tokens_are_remembered() {
    let mut world = World::new();
    world.create(config("guest")).unwrap();
    let pause = || RequestBody::Pause(by_name("guest"));
    for token in 0..=crate::session::KEPT as u8 {
        let id = world.post_repeatable(1, token, pause());
        assert_eq!(world.answer(1, id), Some(Ok(Reply::Done)), "{token}");
    }
    world.ask(RequestBody::Destroy(by_name("guest"))).unwrap();
    let remembered = world.post_repeatable(1, 1, pause());
    assert_eq!(world.answer(1, remembered), Some(Ok(Reply::Done)));
    let forgotten = world.post_repeatable(1, 0, pause());
    assert!(world.answer(1, forgotten).unwrap().is_err());
}

#[test]
fn a_token_means_nothing_to_a_request_that_only_asks() {
    let mut world = World::new();
    for count in 0..2 {
        let id = world.post_repeatable(1, 7, RequestBody::List);
        let Some(Ok(Reply::List(list))) = world.answer(1, id) else {
            panic!("no list")
        };
        assert_eq!(list.len(), 1 + count);
        world.create(config(&format!("guest{count}"))).unwrap();
    }
}
