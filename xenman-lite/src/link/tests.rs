// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients, the broker and a fake xend on real sockets.

use super::{
    broker::Stopper,
    fake::{Answer, FakeXend},
    *,
};
use mgmt_proto::{
    blob::Chunk,
    link::{LinkParameters, SILENCE_MS, frame},
    messages::{BlobPut, ErrorCode, Failure, Follow, Reply, RequestBody, TextChunk, Written},
};
use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::mpsc,
    thread::{self, JoinHandle},
};
use tempfile::TempDir;

/// A fake xend and, where wanted, a broker in front of it.
struct Site {
    folder: TempDir,
    xend: FakeXend,
    broker: Option<(JoinHandle<Result<(), LinkError>>, Stopper)>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let xend = FakeXend::start(&folder.path().join("far"), answer);
        Self {
            folder,
            xend,
            broker: None,
        }
    }

    fn with_broker() -> Self {
        let mut site = Self::new();
        let (host, socket) = (site.xend.host(), site.socket());
        let (ready, is_ready) = mpsc::channel();
        let broker =
            thread::spawn(move || serve(&host, &socket, |stopper| ready.send(stopper).unwrap()));
        site.broker = Some((broker, is_ready.recv().unwrap()));
        site
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("near")
    }

    fn connect(&self, name: &str) -> Client {
        let host = if self.broker.is_some() {
            Host::Unix(self.socket())
        } else {
            self.xend.host()
        };
        Client::connect(&host, name).unwrap()
    }

    /// Waits until the fake has seen what is asked for.
    fn until(&self, what: impl Fn(&fake::Seen) -> bool) {
        for _ in 0..500 {
            if self.xend.seen(&what) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.xend
            .seen(|seen| panic!("not seen within 5 s: {seen:?}"));
    }
}

/// What the fake answers.
fn answer(body: RequestBody) -> Answer {
    match body {
        RequestBody::List => Answer::Now(Ok(Reply::List(Vec::new()))),
        RequestBody::SnapshotDelete(label) => Answer::Now(Err(Failure::new(
            ErrorCode::UNKNOWN_SNAPSHOT,
            format!("no snapshot `{label}`"),
        ))),
        RequestBody::SnapshotList => Answer::After(3, Ok(Reply::Done)),
        RequestBody::BlobPut(put) => Answer::Now(Ok(Reply::Written(Written { count: put.index }))),
        RequestBody::Dmesg(_) => {
            let text = vec![b'x'; 16 * 1024];
            Answer::Now(Ok(Reply::Text(TextChunk {
                next: 0,
                lost: 0,
                text,
            })))
        }
        _ => Answer::Never,
    }
}

fn chunks(count: u32) -> impl Iterator<Item = RequestBody> {
    let raw: Vec<u8> = (0..65536u32).map(|i| ((i * i) >> 7) as u8).collect();
    let chunk = Chunk::encode_raw(&raw);
    (0..count).map(move |index| {
        RequestBody::BlobPut(BlobPut {
            upload: 1,
            index,
            chunk: chunk.clone(),
        })
    })
}

fn upload(client: &Client, count: u32) {
    let mut next = 0;
    client
        .call_many(chunks(count), |reply| {
            assert_eq!(reply, Reply::Written(Written { count: next }));
            next += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(next, count);
}

#[test]
fn a_lone_client_asks_and_is_answered() {
    let site = Site::new();
    let client = site.connect("test 1");
    assert_eq!(client.welcome().arch, "aarch64");
    assert_eq!(
        client.call(RequestBody::List).unwrap(),
        Reply::List(Vec::new())
    );
    let error = client
        .call(RequestBody::SnapshotDelete("old".into()))
        .unwrap_err();
    assert_eq!(error.failure().unwrap().code, ErrorCode::UNKNOWN_SNAPSHOT);
    assert_eq!(error.exit_status(), 1);
    let mut done = 0;
    assert_eq!(
        client
            .call_with_progress(RequestBody::SnapshotList, |p| done = p.done)
            .unwrap(),
        Reply::Done
    );
    assert_eq!(done, 3);
    upload(&client, 50);
    drop(client);
    site.until(|seen| seen.ended == [mgmt_proto::link::Reason::DONE]);
}

#[test]
fn several_clients_share_the_pipe() {
    let site = Site::with_broker();
    let clients: Vec<Client> = (0..6)
        .map(|i| site.connect(&format!("client {i}")))
        .collect();
    site.until(|seen| seen.open == 6);
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                upload(client, 20);
                for _ in 0..30 {
                    assert_eq!(
                        client.call(RequestBody::List).unwrap(),
                        Reply::List(Vec::new())
                    );
                }
            });
        }
    });
    drop(clients);
    site.until(|seen| seen.open == 0 && seen.requests == 6 * 50);
}

#[test]
fn a_long_poll_and_an_upload_delay_no_small_request() {
    let site = Site::with_broker();
    let (poller, uploader, client) = (
        site.connect("poll"),
        site.connect("upload"),
        site.connect("list"),
    );
    let poll = poller.start(RequestBody::Log(Follow {
        cursor: None,
        wait_ms: 20_000,
    }));
    thread::scope(|scope| {
        scope.spawn(|| upload(&uploader, 400));
        for _ in 0..20 {
            let asked = Instant::now();
            client.call(RequestBody::List).unwrap();
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{:?}",
                asked.elapsed()
            );
        }
    });
    assert!(poll.wait_for(Duration::from_millis(10)).is_none());
    assert_eq!(
        poller.call(RequestBody::List).unwrap(),
        Reply::List(Vec::new())
    );
}

/// A client without the machinery of [`Client`], to be as rude as need be.
struct Rude {
    stream: UnixStream,
    link: mgmt_proto::link::Link,
    session: u16,
}

impl Rude {
    fn connect(site: &Site) -> Self {
        let stream = UnixStream::connect(site.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut link = mgmt_proto::link::Link::owner(LinkParameters::FAST, nonce());
        let session = link.open(now_ms()).unwrap();
        let mut rude = Self {
            stream,
            link,
            session,
        };
        rude.turn();
        assert!(rude.link.is_up());
        rude
    }

    /// Writes all there is and reads a little.
    fn turn(&mut self) {
        for _ in 0..4 {
            let mut bytes = vec![0; 64 * 1024];
            let count = self.link.transmit(now_ms(), &mut bytes);
            self.stream.write_all(&bytes[..count]).unwrap();
            if let Ok(count) = std::io::Read::read(&mut self.stream, &mut bytes) {
                self.link.receive(now_ms(), &bytes[..count]);
            }
        }
    }

    fn ask(&mut self, id: u64, body: RequestBody) -> bool {
        use mgmt_proto::messages::{ClientMessage, Request, encode};
        let stream = body.stream();
        self.link
            .send(
                self.session,
                stream,
                encode(&ClientMessage::Request(Request {
                    id,
                    body,
                    token: None,
                })),
            )
            .is_ok()
    }
}

#[test]
fn a_client_killed_within_a_message_hurts_nobody() {
    let site = Site::with_broker();
    let other = site.connect("other");
    let mut rude = Rude::connect(&site);
    site.until(|seen| seen.open == 2);
    // Half of a large message, and half of a frame of it.
    assert!(rude.ask(1, chunks(1).next().unwrap()));
    let mut bytes = vec![0; 20_000];
    let count = rude.link.transmit(now_ms(), &mut bytes);
    assert_eq!(count, bytes.len());
    rude.stream.write_all(&bytes).unwrap();
    drop(rude);
    site.until(|seen| seen.open == 1);
    upload(&other, 5);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let site = Site::with_broker();
    let other = site.connect("other");
    let mut rude = Rude::connect(&site);
    // Asks for far more than any buffer holds, and never reads again.
    for id in 0..2000 {
        rude.ask(id, RequestBody::Dmesg(Follow::default()));
        let mut bytes = vec![0; 8192];
        let count = rude.link.transmit(now_ms(), &mut bytes);
        rude.stream.write_all(&bytes[..count]).unwrap();
    }
    for _ in 0..20 {
        let asked = Instant::now();
        other.call(RequestBody::List).unwrap();
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
    }
    upload(&other, 30);
    let served = site.xend.seen(|seen| seen.requests);
    assert!(served < 20 + 30 + 200, "it is served for ever: {served}");
}

#[test]
fn garbage_on_the_socket_hurts_nobody() {
    let site = Site::with_broker();
    let mut stream = UnixStream::connect(site.socket()).unwrap();
    let garbage: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    stream.write_all(&garbage).unwrap();
    let mut wire = Vec::new();
    let head = frame::Head {
        sequence: 7,
        ack: 9,
        session: 3,
        stream: 9,
        kind: frame::Kind::DATA,
    };
    frame::encode(&head, b"no session", &mut wire);
    stream.write_all(&wire).unwrap();
    assert_eq!(
        site.connect("other").call(RequestBody::List).unwrap(),
        Reply::List(Vec::new())
    );
}

#[test]
fn a_restarted_xend_ends_sessions_and_takes_new_ones() {
    let site = Site::with_broker();
    let client = site.connect("before");
    site.xend.restart();
    let error = client.call(RequestBody::List).unwrap_err();
    assert_eq!(error.exit_status(), 3);
    assert!(error.to_string().contains("restarted"), "{error}");
    assert_eq!(
        site.connect("after").call(RequestBody::List).unwrap(),
        Reply::List(Vec::new())
    );
    // An idle broker learns of it from the next client, which does not notice.
    site.xend.restart();
    assert_eq!(
        site.connect("later").call(RequestBody::List).unwrap(),
        Reply::List(Vec::new())
    );
}

#[test]
fn the_broker_ends_with_its_host_and_removes_its_socket() {
    let mut site = Site::with_broker();
    let client = site.connect("one");
    site.xend.stop();
    let error = site.broker.take().unwrap().0.join().unwrap().unwrap_err();
    assert_eq!(error.exit_status(), 3);
    assert!(!site.socket().exists());
    assert_eq!(client.call(RequestBody::List).unwrap_err().exit_status(), 3);
}

#[test]
fn a_stopped_broker_tells_its_clients_and_removes_its_socket() {
    let mut site = Site::with_broker();
    let client = site.connect("one");
    let (broker, stopper) = site.broker.take().unwrap();
    stopper.stop();
    broker.join().unwrap().unwrap();
    assert!(!site.socket().exists());
    assert_eq!(client.call(RequestBody::List).unwrap_err().exit_status(), 3);
    stopper.stop();
}

#[test]
fn a_second_broker_is_refused_and_a_stale_socket_replaced() {
    let site = Site::with_broker();
    let error = serve(&site.xend.host(), &site.socket(), |_| {}).unwrap_err();
    assert!(matches!(error, LinkError::InUse(_)), "{error}");
    assert_eq!(
        site.connect("still").call(RequestBody::List).unwrap(),
        Reply::List(Vec::new())
    );

    let stale = site.folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let nowhere = Host::Unix(site.folder.path().join("nowhere"));
    let error = serve(&nowhere, &stale, |_| {}).unwrap_err();
    assert_eq!(error.exit_status(), 3);
    assert!(!stale.exists());
}

#[test]
fn a_host_that_does_not_answer_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mute");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = Client::connect_within(&Host::Unix(path), "test", Duration::from_millis(300))
        .err()
        .unwrap();
    assert_eq!(error.exit_status(), 3);
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert!(CONNECT_PATIENCE.as_millis() < u128::from(SILENCE_MS));
}
