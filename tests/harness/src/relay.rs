//! A socket in front of another that counts what passes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A relay. It lives as long as the program, its socket as long as its folder.
pub struct Relay {
    socket: PathBuf,
    answered: Arc<AtomicU64>,
}

impl Relay {
    /// Listens on `socket` for clients of `server`.
    pub fn start(socket: &Path, server: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let answered = Arc::new(AtomicU64::new(0));
        let (server, counter) = (server.to_owned(), answered.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that cannot be served sees its connection end.
                let _served = pass(client, &server, &counter);
            }
        });
        Ok(Self {
            socket: socket.to_owned(),
            answered,
        })
    }

    /// The relay in `xenman -H` notation.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Bytes that the server sent, all clients together.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

fn pass(client: UnixStream, server: &Path, answered: &Arc<AtomicU64>) -> io::Result<()> {
    let server = UnixStream::connect(server)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(from_client, to_server, &AtomicU64::new(0)));
    let answered = answered.clone();
    thread::spawn(move || copy(server, client, &answered));
    Ok(())
}

/// Copies until either end is gone, which the other is told.
fn copy(mut from: UnixStream, mut to: UnixStream, count: &AtomicU64) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length) = from.read(&mut piece)
        && length > 0
    {
        count.fetch_add(length as u64, Ordering::SeqCst);
        if to
            .write_all(piece.get(..length).unwrap_or_default())
            .is_err()
        {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
    let _gone = from.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_passed_on_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let server = UnixListener::bind(at("server")).unwrap();
        let relay = Relay::start(&at("relay"), &at("server")).unwrap();
        let mut client = UnixStream::connect(at("relay")).unwrap();
        let (mut served, _) = server.accept().unwrap();
        client.write_all(b"ask").unwrap();
        let mut asked = [0; 3];
        served.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"ask");
        served.write_all(b"answer").unwrap();
        drop(served);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!((answer.as_str(), relay.answered()), ("answer", 6));
    }
}
