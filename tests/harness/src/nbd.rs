//! An NBD server for one disk and one client at a time: as much of the protocol as QEMU's client speaks.
//!
//! The protocol is that of the NetworkBlockDevice project (`doc/proto.md`): fixed newstyle negotiation, simple replies,
//! flush. When the disk's power fails the connection ends without a word.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::power::{Cut, Disk};

const GREETING: &[u8; 8] = b"NBDMAGIC";
const OPTION: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY: u64 = 0x0003_E889_0455_65A9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// Handshake flags: `NBD_FLAG_FIXED_NEWSTYLE`, `NBD_FLAG_NO_ZEROES`.
const HANDSHAKE: u16 = 1 | 2;
/// Transmission flags: `NBD_FLAG_HAS_FLAGS`, `NBD_FLAG_SEND_FLUSH`.
const TRANSMISSION: u16 = 1 | 4;
/// The longest request that is served, and the longest option.
const LENGTH_MAX: usize = 32 * 1024 * 1024;

/// Options that a client may ask for (`NBD_OPT_…`), and the kinds of their replies (`NBD_REP_…`).
mod option {
    pub(super) const EXPORT_NAME: u32 = 1;
    pub(super) const ABORT: u32 = 2;
    pub(super) const GO: u32 = 7;

    pub(super) const ACK: u32 = 1;
    pub(super) const INFO: u32 = 3;
    pub(super) const UNSUPPORTED: u32 = 1 << 31 | 1;
}

/// Requests (`NBD_CMD_…`).
mod command {
    pub(super) const READ: u16 = 0;
    pub(super) const WRITE: u16 = 1;
    pub(super) const DISCONNECT: u16 = 2;
    pub(super) const FLUSH: u16 = 3;
}

/// Error numbers in replies.
const EINVAL: u32 = 22;

/// The disk, for the server and for who watches it.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    /// Shares a disk.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// The disk.
    pub fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a disk at a socket, for as long as the program runs.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(disk: &Shared, socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let disk = disk.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that leaves, and one that is left without power, ends its own connection only.
            drop(Connection::new(client, &disk).run());
        }
    });
    Ok(())
}

struct Connection<'a> {
    stream: UnixStream,
    disk: &'a Shared,
}

/// A request of the client.
struct Request {
    command: u16,
    cookie: u64,
    offset: u64,
    length: usize,
}

impl<'a> Connection<'a> {
    fn new(stream: UnixStream, disk: &'a Shared) -> Self {
        Self { stream, disk }
    }

    fn run(mut self) -> io::Result<()> {
        self.stream.write_all(GREETING)?;
        self.stream.write_all(OPTION)?;
        self.stream.write_all(&HANDSHAKE.to_be_bytes())?;
        let _client_flags: [u8; 4] = self.take()?;
        while !self.option()? {}
        while self.request()? {}
        Ok(())
    }

    fn take<const LENGTH: usize>(&mut self) -> io::Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn take_u32(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn take_data(&mut self, length: u32) -> io::Result<Vec<u8>> {
        let length = length as usize;
        if length > LENGTH_MAX {
            return Err(malformed("a longer piece than any client sends"));
        }
        let mut data = vec![0; length];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }

    /// Answers an option. `true`: the disk is the client's now.
    fn option(&mut self) -> io::Result<bool> {
        if &self.take::<8>()? != OPTION {
            return Err(malformed("not an option"));
        }
        let option = self.take_u32()?;
        let length = self.take_u32()?;
        let _data = self.take_data(length)?;
        match option {
            option::EXPORT_NAME => {
                self.stream.write_all(&self.export())?;
                Ok(true)
            }
            option::GO => {
                // NBD_INFO_EXPORT
                let info = [&[0, 0], self.export().as_slice()].concat();
                self.answer_option(option, option::INFO, &info)?;
                self.answer_option(option, option::ACK, &[])?;
                Ok(true)
            }
            option::ABORT => {
                self.answer_option(option, option::ACK, &[])?;
                Err(malformed("the client gives up"))
            }
            _ => {
                self.answer_option(option, option::UNSUPPORTED, &[])?;
                Ok(false)
            }
        }
    }

    /// Length and flags of the disk.
    fn export(&self) -> Vec<u8> {
        let length = self.disk.lock().length().to_be_bytes();
        [length.as_slice(), &TRANSMISSION.to_be_bytes()].concat()
    }

    fn answer_option(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let length = data.len() as u32;
        let mut answer = OPTION_REPLY.to_be_bytes().to_vec();
        answer.extend([option, kind, length].map(u32::to_be_bytes).concat());
        answer.extend(data);
        self.stream.write_all(&answer)
    }

    /// Serves a request. `false`: the client is done.
    fn request(&mut self) -> io::Result<bool> {
        let request = self.take_request()?;
        match request.command {
            command::READ => {
                let mut data = vec![0; request.length];
                self.disk
                    .lock()
                    .read(request.offset, &mut data)
                    .map_err(cut)?;
                self.reply(&request, 0, &data)?;
            }
            command::WRITE => {
                let data = self.take_data(request.length as u32)?;
                self.disk.lock().write(request.offset, &data).map_err(cut)?;
                self.reply(&request, 0, &[])?;
            }
            command::FLUSH => {
                self.disk.lock().flush().map_err(cut)?;
                self.reply(&request, 0, &[])?;
            }
            command::DISCONNECT => return Ok(false),
            _ => self.reply(&request, EINVAL, &[])?,
        }
        Ok(true)
    }

    fn take_request(&mut self) -> io::Result<Request> {
        if self.take_u32()? != REQUEST {
            return Err(malformed("not a request"));
        }
        let _flags: [u8; 2] = self.take()?;
        let request = Request {
            command: self.take().map(u16::from_be_bytes)?,
            cookie: self.take().map(u64::from_be_bytes)?,
            offset: self.take().map(u64::from_be_bytes)?,
            length: self.take_u32()? as usize,
        };
        let end = request.offset.checked_add(request.length as u64);
        let is_inside = end.is_some_and(|end| end <= self.disk.lock().length());
        if request.length > LENGTH_MAX || !is_inside {
            return Err(malformed("an access beyond the end of the disk"));
        }
        Ok(request)
    }

    fn reply(&mut self, request: &Request, error: u32, data: &[u8]) -> io::Result<()> {
        let mut reply = [REPLY, error].map(u32::to_be_bytes).concat();
        reply.extend(request.cookie.to_be_bytes());
        reply.extend(data);
        self.stream.write_all(&reply)
    }
}

fn cut(_: Cut) -> io::Error {
    io::Error::other("the power failed")
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client by the letter of the protocol.
    fn connect(disk: &Shared) -> UnixStream {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("disk.sock");
        serve(disk, &socket).unwrap();
        let mut client = UnixStream::connect(&socket).unwrap();
        let mut greeting = [0; 18];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        client.write_all(&3_u32.to_be_bytes()).unwrap();
        client.write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\0").unwrap();
        let mut export = [0; 10];
        client.read_exact(&mut export).unwrap();
        assert_eq!(export[..8], (1024_u64 * 1024).to_be_bytes());
        client
    }

    fn ask(client: &mut UnixStream, command: u16, offset: u64, length: u32, data: &[u8]) {
        let mut request = REQUEST.to_be_bytes().to_vec();
        request.extend([0, command].map(u16::to_be_bytes).concat());
        request.extend([99, offset].map(u64::to_be_bytes).concat());
        request.extend(length.to_be_bytes());
        request.extend(data);
        client.write_all(&request).unwrap();
    }

    fn answer(client: &mut UnixStream, length: usize) -> io::Result<Vec<u8>> {
        let mut reply = vec![0; 16 + length];
        client.read_exact(&mut reply)?;
        assert_eq!(reply[..4], REPLY.to_be_bytes());
        assert_eq!(reply[8..16], 99_u64.to_be_bytes());
        Ok(reply[16..].to_vec())
    }

    #[test]
    fn what_is_written_is_read_until_the_power_fails() {
        let disk = Shared::new(Disk::new(1));
        let mut client = connect(&disk);
        ask(&mut client, command::WRITE, 1024, 512, &[5; 512]);
        answer(&mut client, 0).unwrap();
        ask(&mut client, command::FLUSH, 0, 0, &[]);
        answer(&mut client, 0).unwrap();
        ask(&mut client, command::READ, 1024, 512, &[]);
        assert_eq!(answer(&mut client, 512).unwrap(), [5; 512]);
        disk.lock().cut_after(0);
        ask(&mut client, command::READ, 1024, 512, &[]);
        assert!(answer(&mut client, 512).is_err());
    }
}
