//! A 16550 UART as a pipe (National Semiconductor PC16550D), with its interrupt as an ISA one: edge-triggered.
//!
//! An edge comes only when the UART's interrupt line was low before, so [`Pipe::acknowledge`] serves every cause until
//! the UART reports none. It sends 16 bytes each time its transmitter is empty, and never waits for that.

use crate::devices::Pipe;
use alloc::vec::Vec;
use hv_abi::start::Range;
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{FifoTriggerLevel, IER, InterruptType};
use uart_16550::{BaudRate, Config, Uart16550};

/// Bytes that are taken from the link at once.
const SEND_BUFFER: usize = 1024;
/// Bytes that are kept for the link at most.
const RECEIVE_BUFFER: usize = 4096;
/// Causes that one interrupt has at most; more are those of another.
const CAUSES_MAX: usize = 64;

const CONFIG: Config = Config {
    interrupts: IER::DATA_READY.union(IER::THR_EMPTY),
    // Early enough that an interrupt has time, 0.7 ms at this rate: 8 more bytes fit.
    fifo_trigger_level: Some(FifoTriggerLevel::Eight),
    baud_rate: BaudRate::Baud115200,
    ..Config::DEFAULT
};

/// A UART, 115200 baud, 8 data bits, no parity, one stop bit.
pub(super) struct SerialPort {
    uart: Uart16550<PioBackend>,
    received: Vec<u8>,
    sending: Vec<u8>,
    /// Bytes of `sending` that are with the UART.
    sent: usize,
}

impl SerialPort {
    /// Takes the UART at these ports, if there is one.
    pub(super) fn open(ports: Range) -> Option<Self> {
        let base = u16::try_from(ports.base).ok()?;
        // SAFETY: the start page gives us these ports as a UART, and it is opened once.
        let mut uart = unsafe { Uart16550::new_port(base) }.ok()?;
        uart.init(CONFIG).ok()?;
        Some(Self {
            uart,
            received: Vec::with_capacity(RECEIVE_BUFFER),
            sending: Vec::with_capacity(SEND_BUFFER),
            sent: 0,
        })
    }

    fn drain(&mut self) {
        while self.received.len() < RECEIVE_BUFFER {
            match self.uart.try_receive_byte() {
                Ok(byte) => self.received.push(byte),
                Err(_) => return,
            }
        }
    }

    /// Takes the next bytes to send. `false`: there are none.
    fn refill(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> bool {
        self.sending.resize(SEND_BUFFER, 0);
        let length = fill(&mut self.sending);
        self.sending.truncate(length);
        self.sent = 0;
        length != 0
    }
}

impl Pipe for SerialPort {
    fn acknowledge(&mut self) {
        for _ in 0..CAUSES_MAX {
            self.drain();
            match self.uart.isr().interrupt_type() {
                None => return,
                Some(InterruptType::ReceiverLineStatus) => drop(self.uart.lsr()),
                Some(InterruptType::ModemStatus) => drop(self.uart.msr()),
                // Reading which it is has ended it, or the next round takes what has come.
                Some(_) => {}
            }
        }
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&[u8])) -> bool {
        let any = !self.received.is_empty();
        if any {
            deliver(&self.received);
            self.received.clear();
        }
        any
    }

    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> bool {
        if self.sent == self.sending.len() && !self.refill(fill) {
            return false;
        }
        let rest = self.sending.get(self.sent..).unwrap_or_default();
        let count = self.uart.send_bytes(rest);
        self.sent += count;
        count != 0
    }
}
