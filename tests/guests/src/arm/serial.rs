//! The PL011 of a domain of type `hvm` (DDI 0183), and its registers for who wants to make claims about them.

use hv_abi::layout::arm::PL011_BASE;

use super::gic::{read, write};
use crate::options;

/// UARTDR.
pub const DR: u64 = PL011_BASE;
/// UARTFR.
pub const FR: u64 = PL011_BASE + 0x18;
/// UARTLCR_H.
pub const LCR_H: u64 = PL011_BASE + 0x2C;
/// UARTCR.
pub const CR: u64 = PL011_BASE + 0x30;
/// UARTIMSC.
pub const IMSC: u64 = PL011_BASE + 0x38;
/// UARTRIS.
pub const RIS: u64 = PL011_BASE + 0x3C;
/// UARTMIS.
pub const MIS: u64 = PL011_BASE + 0x40;
/// UARTICR.
pub const ICR: u64 = PL011_BASE + 0x44;
/// UARTPeriphID0.
pub const PERIPH_ID: u64 = PL011_BASE + 0xFE0;

/// UARTFR.RXFE.
pub const RECEIVE_EMPTY: u32 = 1 << 4;
/// UARTFR.TXFF.
pub const TRANSMIT_FULL: u32 = 1 << 5;
/// UARTRIS.RXRIS and its kin.
pub const RECEIVE: u32 = 1 << 4;
/// UARTRIS.TXRIS and its kin.
pub const TRANSMIT: u32 = 1 << 5;
/// UARTRIS.RTRIS and its kin.
pub const RECEIVE_TIMEOUT: u32 = 1 << 6;

/// Whether the domain has one.
#[must_use]
pub fn is_there() -> bool {
    options::says("arm,pl011")
}

/// Sends text, waiting for room as drivers do.
pub(crate) fn print(text: &str) {
    for byte in text.bytes() {
        while read(FR) & TRANSMIT_FULL != 0 {}
        write(DR, u32::from(byte));
    }
}

/// Sends text where it goes if the hypervisor has no log for domains: nowhere.
pub(crate) const fn log(_: &str) {}

/// Takes a character that was received.
#[must_use]
pub fn take() -> Option<u8> {
    (read(FR) & RECEIVE_EMPTY == 0).then(|| read(DR) as u8)
}
