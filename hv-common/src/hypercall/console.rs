//! `console_io`: Domain-0 writes to the machine's console; other domains to the log, line by line.

use hv_abi::xen::console as abi;
use hv_abi::{DomId, Errno};

use super::{CallContext, Outcome};
use crate::arch::{Arch, Host};

/// Bytes copied at once.
const CHUNK: usize = 128;
/// Bytes of a write that are taken; a caller that gets less back than it asked writes again.
const WRITE_MAX: usize = 4096;
/// Lines a domain may log in a burst, and the time after which it has one more.
const BURST: u32 = 256;
const REFILL_NS: u64 = 100_000_000;

/// What a domain has written since the last line end, and how much more it may log.
#[derive(Debug)]
pub struct LineBuffer {
    line: heapless::Vec<u8, CHUNK>,
    lines_left: u32,
    refilled_ns: u64,
    dropped: u32,
}

impl Default for LineBuffer {
    fn default() -> Self {
        Self {
            line: heapless::Vec::new(),
            lines_left: BURST,
            refilled_ns: 0,
            dropped: 0,
        }
    }
}

impl LineBuffer {
    /// Takes text; hands complete lines to `log`, as many as the domain may log.
    fn push(&mut self, bytes: &[u8], now_ns: u64, log: &mut dyn FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(now_ns, log),
                b'\r' | 0 => {}
                byte => {
                    if self.line.push(*byte).is_err() {
                        self.end_line(now_ns, log);
                        let _room = self.line.push(*byte);
                    }
                }
            }
        }
    }

    fn end_line(&mut self, now_ns: u64, log: &mut dyn FnMut(&str)) {
        self.refill(now_ns);
        if self.lines_left == 0 {
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.lines_left -= 1;
            log(printable(&mut self.line));
        }
        self.line.clear();
    }

    fn refill(&mut self, now_ns: u64) {
        let earned = now_ns.saturating_sub(self.refilled_ns) / REFILL_NS;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned == 0 {
            return;
        }
        self.refilled_ns = now_ns;
        self.lines_left = self.lines_left.saturating_add(earned).min(BURST);
        if self.dropped > 0 {
            log::warn!("{} lines of a domain's log were dropped", self.dropped);
            self.dropped = 0;
        }
    }
}

/// The text, with what could confuse a terminal or a reader replaced.
fn printable(line: &mut [u8]) -> &str {
    for byte in line.iter_mut() {
        if !(b' '..=b'~').contains(byte) && *byte != b'\t' {
            *byte = b'?';
        }
    }
    core::str::from_utf8(line).unwrap_or_default()
}

/// Serves the call.
#[inline(never)]
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, count, buffer, ..] = *args;
    let result = match command {
        abi::WRITE => write(context, count, buffer),
        abi::READ if context.domain.is_dom0() => Ok(0),
        abi::READ => Err(Errno::EPERM),
        _ => Err(Errno::ENOSYS),
    };
    Outcome::Done(result)
}

fn write<A: Arch>(context: &CallContext<'_, A>, count: u64, buffer: u64) -> Result<u64, Errno> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(WRITE_MAX);
    let mut chunk = [0; CHUNK];
    let mut done = 0;
    while done < count {
        let length = (count - done).min(CHUNK);
        let bytes = chunk.get_mut(..length).ok_or(Errno::EINVAL)?;
        let at = buffer.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        context.read_bytes(at, bytes)?;
        put(context, bytes);
        done += length;
    }
    Ok(done as u64)
}

fn put<A: Arch>(context: &CallContext<'_, A>, bytes: &[u8]) {
    if context.domain.is_dom0() {
        context.hypervisor.host.console(bytes);
        crate::log::append(bytes);
        return;
    }
    let DomId(id) = context.domain.id;
    let now = context.hypervisor.now_ns();
    let mut state = context.domain.lock();
    state
        .console
        .push(bytes, now, &mut |line| log::info!("(d{id}) {line}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn push(buffer: &mut LineBuffer, text: &[u8], now_ns: u64) -> Vec<String> {
        let mut lines = Vec::new();
        buffer.push(text, now_ns, &mut |line| lines.push(line.into()));
        lines
    }

    #[test]
    fn lines_come_out_whole_and_harmless() {
        let mut buffer = LineBuffer::default();
        assert!(push(&mut buffer, b"half a ", 0).is_empty());
        assert_eq!(
            push(&mut buffer, b"line\r\n\x1b[2Jx\n", 0),
            ["half a line", "?[2Jx"]
        );
        let long = [b'a'; CHUNK + 1];
        assert_eq!(
            push(&mut buffer, &long, 0),
            [core::str::from_utf8(&long[1..]).unwrap()]
        );
    }

    #[test]
    fn a_flood_is_cut_until_time_passes() {
        let mut buffer = LineBuffer::default();
        let flood = [b'\n'; BURST as usize + 50];
        assert_eq!(push(&mut buffer, &flood, 1).len(), BURST as usize);
        assert!(push(&mut buffer, b"x\n", 2).is_empty());
        assert_eq!(push(&mut buffer, b"y\nz\n", REFILL_NS + 2), ["y"]);
    }
}
