// SPDX-License-Identifier: MIT OR Apache-2.0
//! One end of a link on a real pipe.
//!
//! A reader and a writer thread do the blocking; the loop that owns the [`Port`] hears of everything
//! through its channel and hands the writer one buffer at a time, so it never waits for a pipe itself.

use super::{now_ms, transport::Pipe};
use mgmt_proto::link::{Link, LinkParameters};
use std::{
    io::{self, Read, Write},
    sync::mpsc::{self, Receiver, Sender, SyncSender},
    thread,
};

/// Bytes read or written at once.
const BUFFER: usize = 32 * 1024;

/// Buffers that may wait between all pipes and their loop.
pub(super) const BACKLOG: usize = 64;

/// What a port's threads tell its loop.
#[derive(Debug)]
pub(super) enum PortEvent {
    /// Bytes arrived.
    Bytes(Vec<u8>),
    /// The writer is free again.
    Written,
    /// The pipe is closed, by the other side or by an error.
    Gone(Option<io::Error>),
}

/// A link, its pipe's writer, and the way to stop both.
pub(super) struct Port {
    pub(super) link: Link,
    to_writer: Option<Sender<Vec<u8>>>,
    writing: bool,
    stop: Box<dyn Fn() + Send>,
}

impl Port {
    /// Starts the pipe's threads; `wrap` makes their events the loop's.
    pub(super) fn start<E: Send + 'static>(
        pipe: Pipe,
        link: impl FnOnce(LinkParameters) -> Link,
        events: &SyncSender<E>,
        wrap: impl Fn(PortEvent) -> E + Send + Clone + 'static,
    ) -> Self {
        let (to_writer, buffers) = mpsc::channel();
        let link = link(pipe.parameters);
        let (tell, wrap_writer) = (events.clone(), wrap.clone());
        thread::spawn(move || {
            write_all(pipe.writer, &buffers, |event| {
                tell.send(wrap_writer(event)).is_ok()
            })
        });
        let tell = events.clone();
        thread::spawn(move || read_all(pipe.reader, |event| tell.send(wrap(event)).is_ok()));
        Self {
            link,
            to_writer: Some(to_writer),
            writing: false,
            stop: pipe.stop,
        }
    }

    /// Takes what a thread of this port tells; the error ends the port.
    pub(super) fn take(&mut self, event: PortEvent) -> Result<(), Option<io::Error>> {
        match event {
            PortEvent::Bytes(bytes) => self.link.receive(now_ms(), &bytes),
            PortEvent::Written => self.writing = false,
            PortEvent::Gone(error) => return Err(error),
        }
        Ok(())
    }

    /// Hands the writer what the link has to send, if the writer is free.
    pub(super) fn pump(&mut self) {
        if self.writing {
            return;
        }
        let mut buffer = vec![0; BUFFER];
        let count = self.link.transmit(now_ms(), &mut buffer);
        buffer.truncate(count);
        if let Some(writer) = self.to_writer.as_ref().filter(|_| count > 0) {
            // A writer that is gone has said so in an event.
            self.writing = writer.send(buffer).is_ok();
        }
    }

    /// When to pump next, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.link.deadline().filter(|_| !self.writing)
    }

    /// Whether everything sent has arrived.
    pub(super) fn is_flushed(&self) -> bool {
        !self.writing && self.link.is_flushed()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.to_writer = None;
        (self.stop)();
    }
}

fn read_all(mut reader: Box<dyn Read + Send>, tell: impl Fn(PortEvent) -> bool) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let event = match reader.read(&mut buffer) {
            Ok(0) => PortEvent::Gone(None),
            Ok(count) => PortEvent::Bytes(buffer.get(..count).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => PortEvent::Gone(Some(error)),
        };
        let last = matches!(event, PortEvent::Gone(_));
        if !tell(event) || last {
            return;
        }
    }
}

fn write_all(
    mut writer: Box<dyn Write + Send>,
    buffers: &Receiver<Vec<u8>>,
    tell: impl Fn(PortEvent) -> bool,
) {
    while let Ok(buffer) = buffers.recv() {
        let event = match writer.write_all(&buffer) {
            Ok(()) => PortEvent::Written,
            Err(error) => PortEvent::Gone(Some(error)),
        };
        let last = matches!(event, PortEvent::Gone(_));
        if !tell(event) || last {
            return;
        }
    }
}
