// SPDX-License-Identifier: MIT OR Apache-2.0
//! HOST arguments, and the pipes they lead to.

use super::LinkError;
use mgmt_proto::link::LinkParameters;
use std::{
    fmt, io,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The speed of a serial line unless the HOST says otherwise.
const BAUD: u32 = 115_200;

/// How often a waiting serial port looks whether it should stop.
const SERIAL_TICK: Duration = Duration::from_millis(100);

/// Where xend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A socket: a broker's, or an emulator's.
    Unix(PathBuf),
    /// A serial line.
    Serial {
        /// Its device.
        path: String,
        /// Its speed.
        baud: u32,
    },
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Serial { path, baud } if *baud == BAUD => write!(f, "serial:{path}"),
            Self::Serial { path, baud } => write!(f, "serial:{path}@{baud}"),
        }
    }
}

impl FromStr for Host {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let bad = |sentence: String| Err(LinkError::BadHost(sentence));
        match text.split_once(':') {
            Some((_, "")) => bad(format!("the host `{text}` names nothing after the colon")),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("serial", line)) => serial(line),
            Some(("tcp", _)) => bad(format!(
                "cannot use `{text}`: xend does not listen on the network yet (use unix:PATH or \
                 serial:/dev/tty…, for a remote machine through `ssh -L`)"
            )),
            _ => bad(format!(
                "`{text}` is not a host (write unix:PATH or serial:/dev/tty…[@baud])"
            )),
        }
    }
}

fn serial(line: &str) -> Result<Host, LinkError> {
    let Some((path, speed)) = line.rsplit_once('@') else {
        return Ok(Host::Serial {
            path: line.into(),
            baud: BAUD,
        });
    };
    match speed.parse() {
        Ok(baud) if (300..=4_000_000).contains(&baud) => Ok(Host::Serial {
            path: path.into(),
            baud,
        }),
        _ => Err(LinkError::BadHost(format!(
            "`{speed}` is not a speed for the serial line {path} (a number such as 115200)"
        ))),
    }
}

/// A byte pipe, both ways.
pub(super) struct Pipe {
    pub(super) reader: Box<dyn Read + Send>,
    pub(super) writer: Box<dyn Write + Send>,
    /// Makes reader and writer return for good.
    pub(super) stop: Box<dyn Fn() + Send>,
    pub(super) parameters: LinkParameters,
}

impl Host {
    /// Opens the pipe.
    pub(super) fn open(&self) -> Result<Pipe, LinkError> {
        match self {
            Self::Unix(path) => UnixStream::connect(path)
                .and_then(Pipe::unix)
                .map_err(|error| LinkError::unreachable(self, explain(&error))),
            Self::Serial { path, baud } => {
                Pipe::serial(path, *baud).map_err(|error| LinkError::unreachable(self, error))
            }
        }
    }
}

/// What an operator can make of a socket's error.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "the socket is not there (is the host, or `xenman serve`, running?)".into()
        }
        io::ErrorKind::ConnectionRefused => "nobody listens on the socket any more".into(),
        _ => error.to_string(),
    }
}

impl Pipe {
    pub(super) fn unix(stream: UnixStream) -> io::Result<Self> {
        let (reader, closer) = (stream.try_clone()?, stream.try_clone()?);
        Ok(Self {
            reader: Box::new(reader),
            writer: Box::new(stream),
            stop: Box::new(move || drop(closer.shutdown(std::net::Shutdown::Both))),
            parameters: LinkParameters::FAST,
        })
    }

    fn serial(path: &str, baud: u32) -> Result<Self, serialport::Error> {
        let port = serialport::new(path, baud).timeout(SERIAL_TICK).open()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let reader = SerialHalf {
            port: port.try_clone()?,
            stopped: stopped.clone(),
        };
        let writer = SerialHalf {
            port,
            stopped: stopped.clone(),
        };
        Ok(Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            stop: Box::new(move || stopped.store(true, Ordering::Relaxed)),
            parameters: LinkParameters::SERIAL,
        })
    }
}

/// One direction of a serial port: waits as long as it takes, unless stopped.
struct SerialHalf {
    port: Box<dyn serialport::SerialPort>,
    stopped: Arc<AtomicBool>,
}

impl SerialHalf {
    fn again(&self, error: &io::Error) -> bool {
        let waiting = matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        );
        waiting && !self.stopped.load(Ordering::Relaxed)
    }
}

impl Read for SerialHalf {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.port.read(bytes) {
                Err(error) if self.again(&error) => {}
                result => return result,
            }
        }
    }
}

impl Write for SerialHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.port.write(bytes) {
                Err(error) if self.again(&error) => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_shown_alike() {
        for text in [
            "unix:/run/xend.sock",
            "serial:/dev/ttyUSB0",
            "serial:/dev/ttyS1@9600",
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), text);
        }
        assert_eq!(
            "serial:/dev/ttyS0@115200"
                .parse::<Host>()
                .unwrap()
                .to_string(),
            "serial:/dev/ttyS0"
        );
    }

    #[test]
    fn other_hosts_are_refused_with_a_sentence() {
        for (text, word) in [
            ("tcp:192.0.2.1:8002", "network"),
            ("unix:", "nothing"),
            ("serial:/dev/ttyS0@fast", "speed"),
            ("rack7", "write unix:PATH or serial:"),
            ("ssh:rack7", "unix:PATH"),
        ] {
            let error = text.parse::<Host>().unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
    }

    #[test]
    fn a_socket_that_is_not_there_cannot_be_reached() {
        let error = "unix:/nonexistent/xend"
            .parse::<Host>()
            .unwrap()
            .open()
            .err()
            .unwrap();
        assert_eq!(error.exit_status(), 3);
        assert!(error.to_string().contains("is the host"), "{error}");
    }
}
