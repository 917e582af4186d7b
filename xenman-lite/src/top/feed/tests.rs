// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{super::samples, *};
use crate::link::fake::{Answer, FakeXend};
use mgmt_proto::messages::{DomainUsage, ErrorCode, EventKind, Events, Failure, TextChunk};
use std::{collections::VecDeque, sync::Mutex, time::Instant};

/// What a fake host was asked, and events that it still has to tell.
#[derive(Default)]
struct World {
    asked: Vec<&'static str>,
    events: VecDeque<Event>,
}

fn event(name: &str) -> Event {
    Event {
        time_ns: 1,
        domid: 1,
        name: name.to_owned(),
        kind: EventKind::CREATED,
        detail: None,
    }
}

fn answer(world: &mut World, body: &RequestBody) -> Answer {
    let text = |next| {
        Answer::Now(Ok(Reply::Text(TextChunk {
            next,
            lost: 0,
            text: Vec::new(),
        })))
    };
    match body {
        RequestBody::Stats => {
            world.asked.push("stats");
            let seconds = world.asked.len() as u64;
            Answer::Now(Ok(Reply::Stats(samples::stats(seconds, &[("web", 1, 0)]))))
        }
        RequestBody::List => {
            world.asked.push("list");
            Answer::Now(Ok(Reply::List(Vec::new())))
        }
        RequestBody::Usage(_) => {
            world.asked.push("usage");
            let stats = samples::stats(1, &[("web", 1, 0)]);
            Answer::Now(Ok(Reply::Usage(Box::new(DomainUsage {
                time_ns: 1,
                domain: stats.domains[0].clone(),
                vcpus: Vec::new(),
            }))))
        }
        RequestBody::Show(_) => {
            world.asked.push("show");
            let unknown = Failure::new(ErrorCode::UNKNOWN_DOMAIN, "it is gone");
            Answer::Now(Err(unknown))
        }
        RequestBody::Events(follow) => match world.events.pop_front() {
            Some(event) => Answer::Now(Ok(Reply::Events(Events {
                next: follow.cursor.unwrap_or(0) + 1,
                lost: 0,
                events: vec![event],
            }))),
            None => Answer::Never,
        },
        RequestBody::Log(follow) if follow.wait_ms == 0 => text(0),
        _ => Answer::Never,
    }
}

struct Stage {
    feed: Feed,
    world: Arc<Mutex<World>>,
    _xend: FakeXend,
    folder: tempfile::TempDir,
}

fn fake(folder: &tempfile::TempDir, name: &str) -> (FakeXend, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World::default()));
    let shared = world.clone();
    let path = folder.path().join(name);
    let xend = FakeXend::start(&path, move |body| {
        answer(&mut shared.lock().unwrap(), &body)
    });
    (xend, world)
}

fn stage(interval: Duration, events: &[&str]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let (xend, world) = fake(&folder, "a");
    world.lock().unwrap().events = events.iter().map(|name| event(name)).collect();
    let client = Client::connect(&xend.host(), "test").unwrap();
    Stage {
        feed: Feed::start(xend.host(), Arc::new(client), interval),
        world,
        _xend: xend,
        folder,
    }
}

/// Waits for news of a kind.
fn until<T>(feed: &mut Feed, mut wanted: impl FnMut(News) -> Option<T>) -> T {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = feed.next().and_then(&mut wanted) {
            return found;
        }
        assert!(Instant::now() < give_up, "it is not told");
        thread::sleep(Duration::from_millis(5));
    }
}

fn sampled(feed: &mut Feed) {
    until(feed, |news| matches!(news, News::Sample(_)).then_some(()));
}

#[test]
fn a_host_at_rest_is_asked_for_samples_alone() {
    let mut stage = stage(Duration::from_millis(20), &[]);
    (0..6).for_each(|_| sampled(&mut stage.feed));
    let asked = stage.world.lock().unwrap().asked.clone();
    assert_eq!(asked[..2], ["stats", "list"]);
    assert!(asked[2..].iter().all(|it| *it == "stats"), "{asked:?}");
}

#[test]
fn what_is_asked_for_before_anything_is_heard_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (xend, _world) = fake(&folder, "a");
    let client = Arc::new(Client::connect(&xend.host(), "test").unwrap());
    let mut feed = Feed::start(xend.host(), client.clone(), Duration::from_secs(3600));
    feed.work(client, |_, _| Ok(News::Saved(Vec::new())));
    until(&mut feed, |news| {
        matches!(news, News::Saved(_)).then_some(())
    });
}

#[test]
fn what_happens_is_looked_at_at_once() {
    let mut stage = stage(Duration::from_secs(3600), &["web"]);
    let name = until(&mut stage.feed, |news| match news {
        News::Events(events) => Some(events[0].name.clone()),
        _ => None,
    });
    assert_eq!(name, "web");
    // Long before the interval is over, and whichever of both came first.
    sampled(&mut stage.feed);
    let give_up = Instant::now() + Duration::from_secs(20);
    while stage
        .world
        .lock()
        .unwrap()
        .asked
        .iter()
        .filter(|it| **it == "list")
        .count()
        < 2
    {
        assert!(Instant::now() < give_up, "it does not look again");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_domain_that_is_watched_takes_one_more_request() {
    let mut stage = stage(Duration::from_millis(20), &[]);
    stage.feed.watch(Some(DomainRef::Name("web".to_owned())));
    let usage = |news| matches!(news, News::Usage(_)).then_some(());
    (0..6).for_each(|_| until(&mut stage.feed, usage));
    let asked = stage.world.lock().unwrap().asked.clone();
    let count = |what: &str| asked.iter().filter(|it| **it == what).count();
    assert_eq!((count("show"), count("list")), (1, 2), "{asked:?}");
    assert!(count("usage") <= count("stats"), "{asked:?}");
}

#[test]
fn the_old_host_stays_until_there_is_a_way_to_the_new_one() {
    let mut stage = stage(Duration::from_millis(20), &[]);
    let nowhere = format!("unix:{}", stage.folder.path().join("none").display());
    stage.feed.switch(nowhere.parse().unwrap());
    let why = until(&mut stage.feed, |news| match news {
        News::Done(Err(why)) => Some(why),
        _ => None,
    });
    assert!(why.contains("cannot reach xend"), "{why}");
    sampled(&mut stage.feed);
    let (second, world) = fake(&stage.folder, "b");
    stage.feed.switch(second.host());
    let host = until(&mut stage.feed, |news| match news {
        News::Connected(host, _) if host == second.host() => Some(host),
        _ => None,
    });
    assert_eq!(host, second.host());
    sampled(&mut stage.feed);
    assert!(world.lock().unwrap().asked.contains(&"stats"));
}
