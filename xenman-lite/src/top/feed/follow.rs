// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for what happens on a host: a thread for events, one for xend's log. Both end with their connection.

use super::{Command, News, Sampler, Told};
use crate::link::Client;
use mgmt_proto::messages::{Follow, Reply, RequestBody};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    thread,
};

/// How long one request waits, in milliseconds: so long a connection may outlive its use.
const WAIT_MS: u32 = 10_000;

/// How much of the log there is at first, in bytes.
const LOG: u64 = 32 * 1024;

/// What such a thread needs.
#[derive(Clone)]
struct Follower {
    client: Arc<Client>,
    own: u64,
    current: Arc<AtomicU64>,
    tell: Sender<Told>,
    commands: Sender<Command>,
}

/// Starts both.
pub(super) fn start(sampler: &Sampler, client: &Arc<Client>) {
    let follower = Follower {
        client: client.clone(),
        own: sampler.connection.load(Ordering::Relaxed),
        current: sampler.connection.clone(),
        tell: sampler.tell.clone(),
        commands: sampler.commands.clone(),
    };
    let other = follower.clone();
    thread::spawn(move || follower.events());
    thread::spawn(move || other.log());
}

impl Follower {
    /// Asks for what comes after a cursor; none if it is over.
    fn ask(&self, request: fn(Follow) -> RequestBody, follow: Follow) -> Option<Reply> {
        let reply = self.client.call(request(follow)).ok()?;
        let is_over = self.current.load(Ordering::Relaxed) != self.own;
        (!is_over).then_some(reply)
    }

    fn say(&self, news: News) -> Option<()> {
        self.tell.send((self.own, news)).ok()?;
        self.commands.send(Command::Look).ok()
    }

    /// Passes events on, from the oldest there is.
    fn events(&self) -> Option<()> {
        let mut cursor = None;
        loop {
            let follow = Follow {
                cursor,
                wait_ms: WAIT_MS,
            };
            let Reply::Events(news) = self.ask(RequestBody::Events, follow)? else {
                return None;
            };
            cursor = Some(news.next);
            if !news.events.is_empty() {
                self.say(News::Events(news.events))?;
            }
        }
    }

    /// Passes the log on, from a little before its end.
    fn log(&self) -> Option<()> {
        let end = Follow {
            cursor: Some(u64::MAX),
            wait_ms: 0,
        };
        let Reply::Text(end) = self.ask(RequestBody::Log, end)? else {
            return None;
        };
        let mut cursor = end.next.saturating_sub(LOG);
        let mut is_cut = cursor > 0;
        loop {
            let follow = Follow {
                cursor: Some(cursor),
                wait_ms: WAIT_MS,
            };
            let Reply::Text(piece) = self.ask(RequestBody::Log, follow)? else {
                return None;
            };
            cursor = piece.next;
            if piece.lost == 0 && std::mem::take(&mut is_cut) {
                self.say(News::LogGap)?;
            }
            if !piece.text.is_empty() {
                self.say(News::Log(piece.text))?;
            }
        }
    }
}
