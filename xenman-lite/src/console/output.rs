// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that asks xend for a console's output.

use super::{News, is_away, read, terminal};
use crate::{link::Client, problem::Problem};
use mgmt_proto::messages::{DomainRef, DomainState, MAX_WAIT_MS, Reply, RequestBody};
use std::{
    io::{IsTerminal, stdout},
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

/// How long a domain may be away before it counts as gone rather than rebooting.
const AWAY: Duration = Duration::from_secs(3);

/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// Starts the thread.
pub(super) fn start(client: &Arc<Client>, name: &str, tell: SyncSender<News>) {
    let follower = Follower {
        client: client.clone(),
        name: name.to_owned(),
        cursor: None,
        caught_up: false,
    };
    thread::spawn(move || {
        let last = match follower.run(&tell) {
            Ok(()) => News::Gone,
            Err(problem) => News::Failed(problem),
        };
        // Nobody listens when the operator has left.
        drop(tell.send(last));
    });
}

struct Follower {
    client: Arc<Client>,
    name: String,
    cursor: Option<u64>,
    /// Whether all that was said before attaching is shown.
    caught_up: bool,
}

impl Follower {
    /// Runs until the domain is gone for good.
    fn run(mut self, tell: &SyncSender<News>) -> Result<(), Problem> {
        let replay_filtered = stdout().is_terminal();
        loop {
            let wait_ms = if self.caught_up { MAX_WAIT_MS } else { 0 };
            let chunk = match read(&self.client, &self.name, self.cursor, wait_ms) {
                Ok(chunk) => chunk,
                Err(problem) if is_away(&problem) => {
                    if self.is_gone()? {
                        return Ok(());
                    }
                    continue;
                }
                Err(problem) => return Err(problem),
            };
            // A cursor beyond the end is that of an earlier domain's output.
            let replaced = self.cursor.is_some_and(|cursor| chunk.next < cursor);
            self.cursor = (!replaced).then_some(chunk.next);
            let nothing = chunk.bytes.is_empty();
            if !nothing || chunk.lost > 0 {
                let filter = replay_filtered && !self.caught_up;
                let bytes = if filter {
                    terminal::without_questions(&chunk.bytes)
                } else {
                    chunk.bytes
                };
                if tell
                    .send(News::Output {
                        bytes,
                        lost: chunk.lost,
                    })
                    .is_err()
                {
                    return Ok(());
                }
            }
            self.caught_up |= nothing && !replaced;
            if chunk.ended && nothing && !replaced && self.is_gone()? {
                return Ok(());
            }
        }
    }

    /// Waits whether the domain comes back, as after a reboot.
    fn is_gone(&self) -> Result<bool, Problem> {
        let mut give_up = Instant::now() + AWAY;
        loop {
            thread::sleep(LOOK);
            let show = RequestBody::Show(DomainRef::Name(self.name.clone()));
            match self.client.call(show).map_err(Problem::from) {
                Ok(Reply::Domain(domain)) => match domain.summary.state {
                    // Taken apart, to be built again or not: that takes as long as it takes.
                    DomainState::DYING => give_up = Instant::now() + AWAY,
                    DomainState::SHUTDOWN | DomainState::CRASHED => {}
                    _ => return Ok(false),
                },
                Ok(_) => return Err(Problem::nonsense("a domain")),
                Err(problem) if is_away(&problem) => {}
                Err(problem) => return Err(problem),
            }
            if Instant::now() >= give_up {
                return Ok(true);
            }
        }
    }
}
