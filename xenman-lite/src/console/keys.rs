// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys from the operator to the console.
//!
//! One thread reads them, another types them: a guest that does not read its console holds up the typing
//! but not the reading, so that Ctrl-] always works at a terminal. From a pipe no more is read than can
//! be typed soon.

use super::{News, is_away};
use crate::{link::Client, problem::Problem};
use mgmt_proto::messages::{ConsoleWrite, DomainRef, MAX_CONSOLE_WRITE, Reply, RequestBody};
use std::{
    collections::VecDeque,
    io::{self, Read, stdin},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// Keys that may wait when they come from a pipe.
const BACKLOG: usize = 16 * 1024;

/// How long to wait before typing again to a guest that does not read.
const AGAIN: Duration = Duration::from_millis(50);

/// The keys on their way. When it is dropped no more are typed.
pub(super) struct Keys {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<VecDeque<u8>>,
    changed: Condvar,
    leave: AtomicBool,
    /// Nobody wants keys any more.
    closed: AtomicBool,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Keys {
    /// Starts reading and typing.
    pub(super) fn start(
        client: &Arc<Client>,
        name: &str,
        interactive: bool,
        tell: &SyncSender<News>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (keys, told) = (shared.clone(), tell.clone());
        let reader = thread::spawn(move || {
            let last = read_keys(&keys, stdin().lock(), interactive);
            // Nobody listens when it is over.
            drop(told.send(last));
        });
        let typist = Typist {
            client: client.clone(),
            name: name.to_owned(),
            shared: shared.clone(),
        };
        let told = tell.clone();
        thread::spawn(move || {
            if let Err(problem) = typist.run() {
                drop(told.send(News::Failed(problem)));
            }
        });
        Self { shared, reader }
    }

    /// Whether the thread that reads keys has ended. Where there are no more keys to the console but somebody else wants
    /// them, it does so with the next one.
    pub(super) fn reader_has_ended(&self) -> bool {
        self.reader.is_finished()
    }

    /// From now on keys are nobody's.
    pub(super) fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }

    /// Whether none waits to be typed.
    pub(super) fn all_typed(&self) -> bool {
        self.shared.waiting().is_empty()
    }

    /// Whether the operator wants to leave; true even if no news of it could be sent yet.
    pub(super) fn leave(&self) -> bool {
        self.shared.leave.load(Ordering::Relaxed)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads keys until there are no more, or the operator leaves.
fn read_keys(shared: &Shared, mut from: impl Read, interactive: bool) -> News {
    let mut buffer = [0; 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal that is gone is an end like any other.
            Ok(0) | Err(_) => return News::InputEnded,
            Ok(count) => count,
        };
        if shared.closed.load(Ordering::Relaxed) {
            return News::InputEnded;
        }
        let typed = buffer.get(..count).unwrap_or_default();
        let end = typed.iter().position(|key| *key == LEAVE);
        let mut waiting = shared.waiting();
        while !interactive && waiting.len() > BACKLOG {
            waiting = shared
                .changed
                .wait(waiting)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        waiting.extend(typed.get(..end.unwrap_or(count)).unwrap_or_default());
        drop(waiting);
        shared.changed.notify_all();
        if end.is_some() {
            shared.leave.store(true, Ordering::Relaxed);
            return News::Leave;
        }
    }
}

/// The thread that types.
struct Typist {
    client: Arc<Client>,
    name: String,
    shared: Arc<Shared>,
}

impl Typist {
    fn run(&self) -> Result<(), Problem> {
        while let Some(keys) = self.next() {
            let typed = self.write(keys)?;
            let mut waiting = self.shared.waiting();
            let typed_of_it = typed.min(waiting.len());
            waiting.drain(..typed_of_it);
            drop(waiting);
            self.shared.changed.notify_all();
            if typed == 0 {
                thread::sleep(AGAIN);
            }
        }
        Ok(())
    }

    /// The next keys, which keep waiting until they are typed. None: there will be no more.
    fn next(&self) -> Option<Vec<u8>> {
        let mut waiting = self.shared.waiting();
        loop {
            if self.shared.closed.load(Ordering::Relaxed) {
                return None;
            }
            if !waiting.is_empty() {
                break;
            }
            waiting = self
                .shared
                .changed
                .wait(waiting)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Some(waiting.iter().take(MAX_CONSOLE_WRITE).copied().collect())
    }

    /// How many were taken.
    fn write(&self, bytes: Vec<u8>) -> Result<usize, Problem> {
        let domain = DomainRef::Name(self.name.clone());
        match self
            .client
            .call(RequestBody::ConsoleWrite(ConsoleWrite { domain, bytes }))
            .map_err(Problem::from)
        {
            Ok(Reply::Written(written)) => Ok(usize::try_from(written.count).unwrap_or(usize::MAX)),
            Ok(_) => Err(Problem::nonsense("a count of keys")),
            // Whether it comes back is for the output's thread to find out.
            Err(problem) if is_away(&problem) => Ok(0),
            Err(problem) => Err(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_wait_until_the_operator_leaves() {
        let shared = Shared::default();
        assert!(matches!(
            read_keys(&shared, &b"ls\r\x1dmore"[..], true),
            News::Leave
        ));
        assert_eq!(shared.waiting().make_contiguous(), b"ls\r");
        assert!(shared.leave.load(Ordering::Relaxed));
        let shared = Shared::default();
        assert!(matches!(
            read_keys(&shared, &b"exit\n"[..], false),
            News::InputEnded
        ));
        assert_eq!(shared.waiting().len(), 5);
    }
}
