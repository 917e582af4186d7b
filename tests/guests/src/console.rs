//! The PV console: a ring of 2048 bytes in a page that xend reads (Xen's `io/console.h`); or the serial line of a domain
//! of type `hvm`.
//!
//! Before it is known where the ring is, and if there is none, lines go to the hypervisor's log.
// UNSAFETY: a page that is shared with Domain-0, reached by atomics.
#![expect(unsafe_code, reason = "a page shared with Domain-0")]

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use hv_abi::xen::{console, event, hvm, sched};
use hv_abi::{CallNumber, DomId, FRAME_SHIFT};

use crate::arch::serial;
use crate::hypercall::{call, call_with};

const OUTPUT: u64 = 1024;
const OUTPUT_SIZE: u32 = 2048;
const OUTPUT_CONSUMER: u64 = 3080;
const OUTPUT_PRODUCER: u64 = 3084;

/// Address of the ring's page; 0: there is none; [`SERIAL`].
static PAGE: AtomicU64 = AtomicU64::new(0);
/// In the place of a ring's address: a serial line.
const SERIAL: u64 = u64::MAX;
static PORT: AtomicU32 = AtomicU32::new(0);

/// Asks the hypervisor where the ring is. Its page stays there for ever, so this is asked once.
pub(crate) fn init() {
    if serial::is_there() {
        return PAGE.store(SERIAL, Ordering::Relaxed);
    }
    let (page, port) = (
        parameter(hvm::param::CONSOLE_PFN),
        parameter(hvm::param::CONSOLE_EVTCHN),
    );
    PORT.store(port as u32, Ordering::Relaxed);
    PAGE.store(page << FRAME_SHIFT, Ordering::Relaxed);
}

/// One of the domain's parameters; 0 if it is not set.
#[must_use]
pub fn parameter(index: u32) -> u64 {
    let mut argument = hvm::Param {
        domid: DomId::SELF,
        reserved: 0,
        index,
        value: 0,
    };
    match call_with(CallNumber::HVM_OP, hvm::GET_PARAM, &mut argument) {
        Ok(_) => argument.value,
        Err(_) => 0,
    }
}

/// Prints a line and tells Domain-0 about it.
pub fn line(text: fmt::Arguments<'_>) {
    // Writing to the console cannot fail.
    let _ = Console.write_fmt(text);
    let _ = Console.write_str("\r\n");
    notify();
}

/// Writes a line to the hypervisor's log.
pub fn log(text: fmt::Arguments<'_>) {
    // Logging cannot fail.
    let _ = Log.write_fmt(text);
    let _ = Log.write_str("\n");
}

struct Log;

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        emergency(text);
        Ok(())
    }
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match PAGE.load(Ordering::Relaxed) {
            0 => emergency(text),
            SERIAL => serial::print(text),
            page => text.bytes().for_each(|byte| put(page, byte)),
        }
        Ok(())
    }
}

fn emergency(text: &str) {
    if serial::is_there() {
        return serial::print(text);
    }
    let written = call(
        CallNumber::CONSOLE_IO,
        console::WRITE,
        text.len() as u64,
        text.as_ptr() as u64,
    );
    if written.is_err() {
        serial::log(text);
    }
}

fn put(page: u64, byte: u8) {
    let consumer = index(page, OUTPUT_CONSUMER);
    let producer = index(page, OUTPUT_PRODUCER);
    let at = producer.load(Ordering::Relaxed);
    while at.wrapping_sub(consumer.load(Ordering::Acquire)) >= OUTPUT_SIZE {
        notify();
        // The reader needs the CPU to make room; there is nothing else to do until it has.
        let _ = call(CallNumber::SCHED_OP, sched::YIELD, 0, 0);
    }
    output(page, at % OUTPUT_SIZE).store(byte, Ordering::Relaxed);
    producer.store(at.wrapping_add(1), Ordering::Release);
}

fn notify() {
    let mut port = event::Port {
        port: PORT.load(Ordering::Relaxed),
    };
    if port.port != 0 {
        // A reader that is gone does not read; what is printed stays in the ring.
        let _ = call_with(CallNumber::EVENT_CHANNEL_OP, event::SEND, &mut port);
    }
}

fn index(page: u64, offset: u64) -> &'static AtomicU32 {
    // SAFETY: `page` is the ring's page, mapped for ever; the offset is that of an aligned u32 in it, and both sides
    // reach it by atomics only.
    unsafe { &*((page + offset) as *const AtomicU32) }
}

fn output(page: u64, at: u32) -> &'static AtomicU8 {
    // SAFETY: as in `index`; `at` is below the size of the output's part of the page.
    unsafe { &*((page + OUTPUT + u64::from(at)) as *const AtomicU8) }
}
