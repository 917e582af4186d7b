//! The debug console: the first serial line, a 16550 at 0x3F8.

use arch_common::console::{Line, put_text};

use super::port;

const BASE: u16 = 0x3F8;
const LINE_CONTROL: u16 = BASE + 3;
const LINE_STATUS: u16 = BASE + 5;
/// Transmit holding register empty.
const EMPTY: u8 = 1 << 5;
/// Looks at the line status for one character; a line that never gets empty is not there.
const PATIENCE: u32 = 1_000_000;

/// Sets 115200 baud, 8 bits, no parity; FIFOs on, interrupts off.
pub(crate) fn start() {
    const DIVISOR_LATCH: u8 = 0x80;
    const EIGHT_BITS: u8 = 3;
    port::write_u8(BASE + 1, 0);
    port::write_u8(LINE_CONTROL, DIVISOR_LATCH);
    port::write_u8(BASE, 1);
    port::write_u8(BASE + 1, 0);
    port::write_u8(LINE_CONTROL, EIGHT_BITS);
    port::write_u8(BASE + 2, 0x07);
    port::write_u8(BASE + 4, 0x03);
}

/// The line.
#[derive(Debug)]
pub struct Com1;

impl Line for Com1 {
    fn transmit(text: &[u8]) {
        put_text(text, put);
    }
}

/// Writes text; a line end becomes CR LF.
pub fn write(text: &[u8]) {
    arch_common::console::write::<Com1>(text);
}

fn put(byte: u8) {
    if cfg!(not(target_os = "none")) {
        return;
    }
    for _ in 0..PATIENCE {
        if port::read_u8(LINE_STATUS) & EMPTY != 0 {
            port::write_u8(BASE, byte);
            return;
        }
        core::hint::spin_loop();
    }
}
