// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both ends of a link over a simulated pipe: seeded loss, damage, duplicates, small buffers, and turns
//! in any order.

use super::*;
use alloc::{collections::BTreeMap, vec};

/// A small generator, so that every run is the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        sides > 0 && self.roll(sides) == 0
    }
}

/// One direction of the pipe.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes it holds; what does not fit is refused (`drops`: silently lost, as QEMU does).
    capacity: usize,
    drops: bool,
    /// One in so many bytes is lost, damaged, doubled; 0: none.
    loss: u64,
    damage: u64,
    doubled: u64,
}

impl Pipe {
    fn room(&self) -> usize {
        if self.drops {
            4096
        } else {
            self.capacity - self.bytes.len().min(self.capacity)
        }
    }

    fn put(&mut self, bytes: &[u8], dice: &mut Dice) {
        for byte in bytes {
            if dice.one_in(self.loss) || self.bytes.len() >= self.capacity {
                continue;
            }
            let byte = if dice.one_in(self.damage) {
                byte ^ (1 << dice.roll(8))
            } else {
                *byte
            };
            self.bytes.push_back(byte);
            if dice.one_in(self.doubled) {
                self.bytes.push_back(byte);
            }
        }
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.bytes.len());
        self.bytes.drain(..count).collect()
    }
}

/// An owner, a server that answers, and the pipe between them.
struct World {
    now: u64,
    dice: Dice,
    owner: Link,
    server: Link,
    up: Pipe,
    down: Pipe,
    /// Bytes a turn moves.
    speed: usize,
    /// What the owner received, by session and stream.
    received: BTreeMap<(u16, u16), Vec<Vec<u8>>>,
    closed: Vec<(u16, Reason)>,
    server_closed: Vec<(u16, Reason)>,
    server_sessions: usize,
    /// Sessions whose messages the owner does not take.
    unread: Vec<u16>,
    served: usize,
}

impl World {
    fn new(parameters: LinkParameters, seed: u64) -> Self {
        let pipe = || Pipe {
            capacity: 1 << 20,
            ..Pipe::default()
        };
        Self {
            now: 1000,
            dice: Dice(seed * 2 + 1),
            owner: Link::owner(parameters, seed),
            server: Link::server(parameters),
            up: pipe(),
            down: pipe(),
            speed: 20_000,
            received: BTreeMap::new(),
            closed: Vec::new(),
            server_closed: Vec::new(),
            server_sessions: 0,
            unread: Vec::new(),
            served: 0,
        }
    }

    fn turn(&mut self) {
        self.now += 1;
        for _ in 0..4 {
            match self.dice.roll(4) {
                0 => self.owner_writes(),
                1 => self.server_writes(),
                2 => self.owner_reads(),
                _ => self.server_reads(),
            }
        }
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| self.turn());
    }

    fn until(&mut self, limit: usize, done: impl Fn(&Self) -> bool) {
        for _ in 0..limit {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("not done after {limit} turns");
    }

    fn owner_writes(&mut self) {
        let mut out = vec![0; self.speed.min(self.up.room())];
        let count = self.owner.transmit(self.now, &mut out);
        self.up.put(&out[..count], &mut self.dice);
    }

    fn server_writes(&mut self) {
        let mut out = vec![0; self.speed.min(self.down.room())];
        let count = self.server.transmit(self.now, &mut out);
        self.down.put(&out[..count], &mut self.dice);
    }

    fn owner_reads(&mut self) {
        let bytes = self.down.take(self.speed);
        self.owner.receive(self.now, &bytes);
        while let Some(event) = self.owner.event() {
            match event {
                LinkEvent::Message {
                    session,
                    stream,
                    bytes,
                } => {
                    if !self.unread.contains(&session) {
                        self.owner.consumed(session, stream);
                    }
                    self.received
                        .entry((session, stream))
                        .or_default()
                        .push(bytes);
                }
                LinkEvent::Closed { session, reason } => self.closed.push((session, reason)),
                LinkEvent::Opened(_) => panic!("an owner is not opened to"),
            }
        }
    }

    /// The server answers every message with as many bytes as it asks for.
    fn server_reads(&mut self) {
        let bytes = self.up.take(self.speed);
        self.server.receive(self.now, &bytes);
        while let Some(event) = self.server.event() {
            match event {
                LinkEvent::Message {
                    session,
                    stream,
                    bytes,
                } => {
                    self.server.consumed(session, stream);
                    self.served += 1;
                    self.server
                        .send(session, stream, answer(&bytes))
                        .expect("gated by readiness");
                }
                LinkEvent::Closed { session, reason } => {
                    self.server_sessions -= 1;
                    self.server_closed.push((session, reason));
                }
                LinkEvent::Opened(_) => self.server_sessions += 1,
            }
        }
    }

    fn answers(&self, session: u16, stream: u16) -> usize {
        self.received.get(&(session, stream)).map_or(0, Vec::len)
    }
}

/// A message that asks for an answer of `answer` bytes and has `length` bytes itself.
fn ask(answer: u32, length: usize, mark: u8) -> Vec<u8> {
    let mut message = answer.to_le_bytes().to_vec();
    message.resize(length.max(5), mark);
    message
}

fn answer(message: &[u8]) -> Vec<u8> {
    let length = u32::from_le_bytes(*message.first_chunk().unwrap());
    let last = *message.last().unwrap();
    vec![last; length as usize]
}

/// Sends `count` messages of all sizes and checks every answer, in order.
fn converse(world: &mut World, session: u16, stream: u16, count: usize) {
    let limit = STREAM_LIMITS[usize::from(stream)].message;
    for i in 0..count {
        let message = ask((i * 731 % limit) as u32, (i * 977) % limit, i as u8);
        world.until(200_000, |world| world.owner.ready(session, stream));
        world.owner.send(session, stream, message).unwrap();
    }
    world.until(400_000, |world| world.answers(session, stream) >= count);
    for (i, bytes) in world
        .received
        .remove(&(session, stream))
        .unwrap()
        .iter()
        .enumerate()
    {
        assert_eq!(bytes, &vec![i as u8; i * 731 % limit]);
    }
}

#[test]
fn messages_of_all_sizes_arrive_once_and_in_order() {
    for parameters in [LinkParameters::FAST, LinkParameters::SERIAL] {
        let mut world = World::new(parameters, 1);
        let session = world.owner.open(world.now).unwrap();
        for stream in 0..3 {
            converse(&mut world, session, stream, 130);
        }
        world.owner.close(world.now, session, Reason::DONE);
        world.until(1000, |world| world.owner.is_flushed());
        assert_eq!(world.server_closed, [(session, Reason::DONE)]);
        assert_eq!(world.served, 390);
    }
}

#[test]
fn nothing_is_lost_on_a_pipe_that_loses_damages_and_doubles() {
    for seed in 1..=12 {
        let mut world = World::new(LinkParameters::SERIAL, seed);
        for pipe in [&mut world.up, &mut world.down] {
            (pipe.loss, pipe.damage, pipe.doubled) = (4000, 5000, 6000);
        }
        let session = world.owner.open(world.now).unwrap();
        for stream in 0..3 {
            converse(&mut world, session, stream, 12);
        }
        assert_eq!(world.served, 36, "seed {seed}");
        assert_eq!(world.closed, []);
    }
}

#[test]
fn small_buffers_only_slow_it_down() {
    for drops in [false, true] {
        let mut world = World::new(LinkParameters::FAST, 3);
        for pipe in [&mut world.up, &mut world.down] {
            (pipe.capacity, pipe.drops) = (if drops { 40_000 } else { 37 }, drops);
        }
        let session = world.owner.open(world.now).unwrap();
        converse(&mut world, session, STREAM_BULK, if drops { 40 } else { 4 });
    }
}

#[test]
fn a_small_request_overtakes_a_bulk_upload() {
    let mut world = World::new(LinkParameters::FAST, 5);
    world.speed = 4000;
    let bulk = world.owner.open(world.now).unwrap();
    let keys = world.owner.open(world.now).unwrap();
    let mut waits = Vec::new();
    let mut asked_at = None;
    for _ in 0..4000 {
        while world.owner.ready(bulk, STREAM_BULK) {
            world
                .owner
                .send(bulk, STREAM_BULK, ask(10, 66_000, 1))
                .unwrap();
        }
        match asked_at {
            None => {
                world
                    .owner
                    .send(keys, STREAM_CONTROL, ask(20, 20, 2))
                    .unwrap();
                asked_at = Some((world.now, world.answers(keys, 0)));
            }
            Some((at, before)) if world.answers(keys, 0) > before => {
                waits.push(world.now - at);
                asked_at = None;
            }
            Some(_) => {}
        }
        world.turn();
    }
    let uploaded = world.answers(bulk, STREAM_BULK);
    assert!(uploaded > 100, "{uploaded}");
    // A window of 64 KiB at 4 KB a turn is 16 turns; what was on the way before must go first.
    let worst = waits.iter().max().unwrap();
    assert!(
        waits.len() > 50 && *worst < 80,
        "{} answers, worst after {worst} turns",
        waits.len()
    );
}

#[test]
fn keys_pass_a_bulk_stream_of_the_same_session_that_nobody_reads() {
    let mut world = World::new(LinkParameters::FAST, 6);
    let session = world.owner.open(world.now).unwrap();
    world.unread.push(session);
    for _ in 0..20 {
        if world.owner.ready(session, STREAM_BULK) {
            world
                .owner
                .send(session, STREAM_BULK, ask(90_000, 100, 1))
                .unwrap();
        }
        world.turns(20);
    }
    assert!(
        world.answers(session, STREAM_BULK) <= 2,
        "the window is 112 KiB"
    );
    world
        .owner
        .send(session, STREAM_CONTROL, ask(20, 20, 2))
        .unwrap();
    world.until(100, |world| world.answers(session, STREAM_CONTROL) == 1);
}

#[test]
fn a_slow_reader_holds_up_nobody_and_little_is_queued_for_it() {
    let mut world = World::new(LinkParameters::FAST, 7);
    let slow = world.owner.open(world.now).unwrap();
    let quick = world.owner.open(world.now).unwrap();
    world.unread.push(slow);
    for _ in 0..200 {
        for stream in 0..3 {
            if world.owner.ready(slow, stream) {
                world.owner.send(slow, stream, ask(24_000, 600, 1)).unwrap();
            }
        }
        world.turns(5);
    }
    let queued: usize = world.server.sessions.iter().map(Session::memory).sum();
    assert!(queued <= 416 * 1024, "{queued}");
    converse(&mut world, quick, STREAM_CONTROL, 20);
    // When the slow one reads again, everything is there.
    world.unread.clear();
    for stream in 0..3 {
        for _ in 0..world.answers(slow, stream) {
            world.owner.consumed(slow, stream);
        }
    }
    let sent = |world: &World| {
        world.owner.sessions[0]
            .streams
            .iter()
            .all(|stream| stream.ready())
    };
    world.until(3000, |world| sent(world) && world.owner.is_flushed());
    world.turns(3000);
    let answers: usize = (0..3).map(|stream| world.answers(slow, stream)).sum();
    assert_eq!(answers, world.served - 20);
}

#[test]
fn a_vanished_client_is_noticed_and_the_link_recovers() {
    let mut world = World::new(LinkParameters::FAST, 8);
    let gone = world.owner.open(world.now).unwrap();
    world.until(1000, |world| world.server_sessions == 1);
    // The owner is gone without a word: after 30 s its session is over at the server.
    world.now += SILENCE_MS;
    world.server_writes();
    world.server_reads();
    assert_eq!(world.server_closed, [(gone, Reason::SILENCE)]);
    // A new owner starts anew on the same pipe, with bytes of the old one still in it.
    world.up.put(b"\x05half a frame", &mut Dice(9));
    world.owner = Link::owner(LinkParameters::FAST, 99);
    let session = world.owner.open(world.now).unwrap();
    converse(&mut world, session, 0, 5);
}

#[test]
fn a_reset_ends_all_sessions() {
    let mut world = World::new(LinkParameters::FAST, 9);
    world.owner.open(world.now).unwrap();
    world.owner.open(world.now).unwrap();
    world.until(1000, |world| world.server_sessions == 2);
    world.owner = Link::owner(LinkParameters::FAST, 100);
    world.until(1000, |world| {
        world.server_sessions == 0 && world.owner.is_up()
    });
    assert_eq!(world.server_closed, [(1, Reason::LOST), (2, Reason::LOST)]);
}

#[test]
fn a_restarted_server_is_noticed() {
    let mut world = World::new(LinkParameters::FAST, 10);
    let session = world.owner.open(world.now).unwrap();
    converse(&mut world, session, 0, 3);
    world.server = Link::server(LinkParameters::FAST);
    world.owner.send(session, 0, ask(1, 1, 1)).unwrap();
    world.until(1000, |world| !world.closed.is_empty());
    assert_eq!(world.closed, [(session, Reason::LOST)]);
    let session = world.owner.open(world.now).unwrap();
    converse(&mut world, session, 0, 3);
}

#[test]
fn pings_keep_idle_sessions_alive() {
    let mut world = World::new(LinkParameters::FAST, 11);
    world.owner.open(world.now).unwrap();
    world.turns(70_000);
    assert_eq!(
        (
            world.closed.len(),
            world.server_closed.len(),
            world.server_sessions
        ),
        (0, 0, 1)
    );
}

#[test]
fn the_seventeenth_session_is_refused() {
    let mut world = World::new(LinkParameters::FAST, 12);
    world.owner.parameters.sessions = 20;
    let sessions: Vec<u16> = (0..17)
        .map(|_| world.owner.open(world.now).unwrap())
        .collect();
    world.until(1000, |world| !world.closed.is_empty());
    assert_eq!(world.closed, [(sessions[16], Reason::FULL)]);
    world.owner.close(world.now, sessions[3], Reason::DONE);
    let session = world.owner.open(world.now).unwrap();
    converse(&mut world, session, 0, 3);
}

#[test]
fn the_last_words_come_before_the_end() {
    let mut world = World::new(LinkParameters::FAST, 13);
    let session = world.owner.open(world.now).unwrap();
    world.until(1000, |world| world.server_sessions == 1);
    world
        .server
        .send(session, 0, b"no, because".to_vec())
        .unwrap();
    world.server.close(world.now, session, Reason::REFUSED);
    assert_eq!(
        world.server.send(session, 0, vec![]),
        Err(SendError::Closed)
    );
    world.until(1000, |world| !world.closed.is_empty());
    assert_eq!(world.received[&(session, 0)], [b"no, because".to_vec()]);
    assert_eq!(world.closed, [(session, Reason::REFUSED)]);
    assert!(world.server.sessions.is_empty());
}

#[test]
fn a_peer_that_ignores_credit_loses_the_session() {
    let mut world = World::new(LinkParameters::FAST, 14);
    let session = world.owner.open(world.now).unwrap();
    world.until(1000, |world| world.server_sessions == 1);
    for stream in &mut world.owner.sessions[0].streams {
        stream.forget_limits();
    }
    world.owner.sessions[0].push(STREAM_FOLLOW, vec![1; 300_000]);
    world.until(1000, |world| !world.closed.is_empty());
    assert!([Reason::PROTOCOL, Reason::TOO_LARGE].contains(&world.closed[0].1));
    assert_eq!(world.server_closed.len(), 1);
    assert_eq!(world.owner.send(session, 0, vec![]), Err(SendError::Closed));
}

#[test]
fn messages_over_the_limit_are_not_queued() {
    let mut link = Link::owner(LinkParameters::FAST, 1);
    let session = link.open(0).unwrap();
    for (limit, stream) in STREAM_LIMITS.iter().zip(0..) {
        assert_eq!(
            link.send(session, stream, vec![0; limit.message + 1]),
            Err(SendError::TooLarge)
        );
        assert_eq!(link.send(session, stream, vec![0; limit.message]), Ok(()));
        assert_eq!(
            link.send(session, stream, vec![7]),
            Err(SendError::Full(vec![7]))
        );
    }
    assert_eq!(link.send(session, 3, vec![]), Err(SendError::Closed));
    assert_eq!(link.send(session + 1, 0, vec![]), Err(SendError::Closed));
}

#[test]
fn another_version_is_told_to_the_user() {
    let mut owner = Link::owner(LinkParameters::FAST, 1);
    let session = owner.open(0).unwrap();
    let greeting = Greeting {
        nonce: 1,
        version: VERSION + 1,
        payload: 512,
        window: 4096,
    };
    let head = Head {
        sequence: 0,
        ack: 0,
        session: 0,
        stream: 0,
        kind: Kind::RESET_ACK,
    };
    let mut wire = Vec::new();
    frame::encode(&head, &greeting.encode(), &mut wire);
    owner.receive(0, &wire);
    assert_eq!(
        owner.event(),
        Some(LinkEvent::Closed {
            session,
            reason: Reason::VERSION
        })
    );
}

#[test]
fn an_idle_link_says_nothing_and_asks_for_no_time() {
    let mut server = Link::server(LinkParameters::FAST);
    assert_eq!(
        (server.transmit(5, &mut [0; 64]), server.deadline()),
        (0, None)
    );
    server.receive(5, b"\x03ab\0\0\0garbage");
    assert_eq!(
        (server.transmit(5, &mut [0; 64]), server.deadline()),
        (0, None)
    );
    assert!(server.is_flushed());
}

#[test]
fn any_bytes_are_taken() {
    for seed in 0..400 {
        let mut dice = Dice(seed * 2 + 1);
        let length = dice.roll(3000) as usize;
        let bytes: Vec<u8> = (0..length)
            .map(|_| (dice.roll(256) >> dice.roll(7)) as u8)
            .collect();
        fuzz_link_bytes(&bytes);
    }
}
