//! A PL011 UART (DDI 0183, revision r1p5) at the end of a console's ring.
//!
//! It sends as fast as the ring takes it: the transmit FIFO is never seen filling, except that it is full while the ring
//! is. What is received waits in the ring, which is the receive FIFO; characters arrive only there. Baud rate and line
//! format have no effect, whether the UART is enabled neither; there is no loopback, no DMA and no IrDA.

use hv_abi::Errno;
use hv_abi::record::Pl011 as Record;

use super::identification;
use super::ring::{Ring, Sent};

/// Registers, by offset.
mod register {
    pub(super) const DR: u64 = 0x00;
    pub(super) const FR: u64 = 0x18;
    pub(super) const ILPR: u64 = 0x20;
    pub(super) const IBRD: u64 = 0x24;
    pub(super) const FBRD: u64 = 0x28;
    pub(super) const LCR_H: u64 = 0x2C;
    pub(super) const CR: u64 = 0x30;
    pub(super) const IFLS: u64 = 0x34;
    pub(super) const IMSC: u64 = 0x38;
    pub(super) const RIS: u64 = 0x3C;
    pub(super) const MIS: u64 = 0x40;
    pub(super) const ICR: u64 = 0x44;
    pub(super) const DMACR: u64 = 0x48;
}

/// Offset of UARTDR.
pub(super) const DATA: u64 = register::DR;

/// UARTFR: clear to send, data set ready, data carrier detect.
const CONNECTED: u32 = 7;
const RECEIVE_EMPTY: u32 = 1 << 4;
const TRANSMIT_FULL: u32 = 1 << 5;
const RECEIVE_FULL: u32 = 1 << 6;
const TRANSMIT_EMPTY: u32 = 1 << 7;

/// UARTRIS and its kin.
const RECEIVE: u32 = 1 << 4;
const TRANSMIT: u32 = 1 << 5;
const RECEIVE_TIMEOUT: u32 = 1 << 6;

/// UARTLCR_H.FEN.
const FIFOS: u32 = 1 << 4;
/// Characters in a FIFO.
const FIFO: u32 = 32;

/// Bits that registers have.
const ILPR_BITS: u32 = 0xFF;
const IBRD_BITS: u32 = 0xFFFF;
const FBRD_BITS: u32 = 0x3F;
const LCR_H_BITS: u32 = 0xFF;
const CR_BITS: u32 = 0xFF87;
const IFLS_BITS: u32 = 0x3F;
const INTERRUPTS: u32 = 0x7FF;
const DMACR_BITS: u32 = 7;

/// UARTCR at reset: transmitter and receiver enabled, the UART not.
const CR_AT_RESET: u32 = 0x300;
/// UARTIFLS at reset: both half full.
const IFLS_AT_RESET: u32 = 0x12;
/// UARTPeriphID0 to 3: r1p5.
const PART: u32 = 0x0034_1011;

/// The UART's registers.
#[derive(Clone, Debug)]
pub(super) struct Pl011 {
    ilpr: u32,
    ibrd: u32,
    fbrd: u32,
    lcr_h: u32,
    cr: u32,
    ifls: u32,
    imsc: u32,
    dmacr: u32,
    /// The transmit interrupt: something was sent since it was cleared.
    sent: bool,
}

/// What a character's way does to the other end of the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moved {
    /// Nothing it has to know at once.
    Nothing,
    /// The first character is in the ring.
    First,
    /// Its ring is half full, or ours half empty.
    Half,
}

impl Pl011 {
    pub(super) const fn new() -> Self {
        Self {
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            cr: CR_AT_RESET,
            ifls: IFLS_AT_RESET,
            imsc: 0,
            dmacr: 0,
            sent: false,
        }
    }

    /// A load of anything but UARTDR ([`receive`]). Registers that are not there read as zero.
    #[inline(always)]
    pub(super) fn read(&self, offset: u64, ring: Ring<'_>) -> u32 {
        // What everybody polls goes first.
        if offset == register::FR {
            return self.flags(ring);
        }
        self.read_rarely(offset, ring)
    }

    #[inline(never)]
    fn read_rarely(&self, offset: u64, ring: Ring<'_>) -> u32 {
        match offset {
            register::ILPR => self.ilpr,
            register::IBRD => self.ibrd,
            register::FBRD => self.fbrd,
            register::LCR_H => self.lcr_h,
            register::CR => self.cr,
            register::IFLS => self.ifls,
            register::IMSC => self.imsc,
            register::RIS => self.raw_interrupts(ring),
            register::MIS => self.raw_interrupts(ring) & self.imsc,
            register::DMACR => self.dmacr,
            offset => identification(offset, PART),
        }
    }

    /// A store. Registers that are not there ignore it.
    #[inline(always)]
    pub(super) fn write(&mut self, offset: u64, value: u32, ring: Ring<'_>) -> Moved {
        // What is written most goes first.
        if offset == register::DR {
            self.sent = true;
            return match ring.send(value.to_le_bytes()[0]) {
                Sent::First => Moved::First,
                Sent::HalfFull => Moved::Half,
                // Lost as on a line that is too slow: whoever looks at UARTFR does not lose any.
                Sent::More | Sent::Lost => Moved::Nothing,
            };
        }
        self.write_rarely(offset, value);
        Moved::Nothing
    }

    #[inline(never)]
    fn write_rarely(&mut self, offset: u64, value: u32) {
        match offset {
            register::ILPR => self.ilpr = value & ILPR_BITS,
            register::IBRD => self.ibrd = value & IBRD_BITS,
            register::FBRD => self.fbrd = value & FBRD_BITS,
            register::LCR_H => self.lcr_h = value & LCR_H_BITS,
            register::CR => self.cr = value & CR_BITS,
            register::IFLS => self.ifls = value & IFLS_BITS,
            register::IMSC => self.imsc = value & INTERRUPTS,
            register::ICR => self.sent &= value & TRANSMIT == 0,
            register::DMACR => self.dmacr = value & DMACR_BITS,
            _ => {}
        }
    }

    /// Whether its interrupt line is high.
    #[inline(always)]
    pub(super) fn interrupts(&self, ring: Ring<'_>) -> bool {
        self.imsc != 0 && self.raw_interrupts(ring) & self.imsc != 0
    }

    #[inline(always)]
    fn flags(&self, ring: Ring<'_>) -> u32 {
        let received = ring.received();
        let receive = match received {
            0 => RECEIVE_EMPTY,
            _ if received >= self.fifo() => RECEIVE_FULL,
            _ => 0,
        };
        let transmit = if ring.room() == 0 {
            TRANSMIT_FULL
        } else {
            TRANSMIT_EMPTY
        };
        CONNECTED | receive | transmit
    }

    /// Levels, apart from the transmit interrupt, which stays until it is cleared. It is held back while there is not
    /// room for what a driver may send without looking.
    #[inline(never)]
    fn raw_interrupts(&self, ring: Ring<'_>) -> u32 {
        let received = ring.received();
        let mut raised = 0;
        if received >= self.receive_trigger() {
            raised |= RECEIVE;
        }
        if received > 0 && self.lcr_h & FIFOS != 0 {
            raised |= RECEIVE_TIMEOUT;
        }
        if self.sent && ring.room() >= FIFO {
            raised |= TRANSMIT;
        }
        raised
    }

    fn fifo(&self) -> u32 {
        if self.lcr_h & FIFOS != 0 { FIFO } else { 1 }
    }

    /// Characters that raise the receive interrupt: UARTIFLS.RXIFLSEL.
    fn receive_trigger(&self) -> u32 {
        if self.lcr_h & FIFOS == 0 {
            return 1;
        }
        match self.ifls >> 3 & 7 {
            0 => FIFO / 8,
            1 => FIFO / 4,
            3 => FIFO * 3 / 4,
            4 => FIFO * 7 / 8,
            _ => FIFO / 2,
        }
    }

    pub(super) fn save(&self) -> Record {
        Record {
            ilpr: self.ilpr,
            ibrd: self.ibrd,
            fbrd: self.fbrd,
            lcr_h: self.lcr_h,
            cr: self.cr,
            ifls: self.ifls,
            imsc: self.imsc,
            sent: u32::from(self.sent),
            dmacr: self.dmacr,
            reserved: 0,
        }
    }

    /// From a record.
    ///
    /// # Errors
    /// `EINVAL` for bits that no write could have set.
    pub(super) fn restore(record: &Record) -> Result<Self, Errno> {
        let bits = [
            (record.ilpr, ILPR_BITS),
            (record.ibrd, IBRD_BITS),
            (record.fbrd, FBRD_BITS),
            (record.lcr_h, LCR_H_BITS),
            (record.cr, CR_BITS),
            (record.ifls, IFLS_BITS),
            (record.imsc, INTERRUPTS),
            (record.sent, 1),
            (record.dmacr, DMACR_BITS),
            (record.reserved, 0),
        ];
        if bits.iter().any(|(value, known)| value & !known != 0) {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            ilpr: record.ilpr,
            ibrd: record.ibrd,
            fbrd: record.fbrd,
            lcr_h: record.lcr_h,
            cr: record.cr,
            ifls: record.ifls,
            imsc: record.imsc,
            dmacr: record.dmacr,
            sent: record.sent != 0,
        })
    }
}

/// A load of UARTDR: the next character; 0 if there is none.
pub(super) fn receive(ring: Ring<'_>) -> (u32, Moved) {
    match ring.take() {
        None => (0, Moved::Nothing),
        Some((byte, true)) => (u32::from(byte), Moved::Half),
        Some((byte, false)) => (u32::from(byte), Moved::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Words;
    use core::sync::atomic::{AtomicU64, Ordering};

    fn page() -> Words {
        [const { AtomicU64::new(0) }; 512]
    }

    fn receive_into(page: &Words, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            page[index / 8].fetch_or(u64::from(*byte) << (8 * (index % 8)), Ordering::Relaxed);
        }
        page[3072 / 8].fetch_add((bytes.len() as u64) << 32, Ordering::Relaxed);
    }

    #[test]
    fn linux_recognises_it() {
        let page = page();
        let uart = Pl011::new();
        let id = |offset| uart.read(offset, Ring(&page));
        assert_eq!([0xFE0, 0xFE4, 0xFE8, 0xFEC].map(id), [0x11, 0x10, 0x34, 0]);
        assert_eq!(
            [0xFF0, 0xFF4, 0xFF8, 0xFFC].map(id),
            [0x0D, 0xF0, 0x05, 0xB1]
        );
        assert_eq!(id(register::FR), 0x97, "idle and connected");
        assert_eq!(id(0x100), 0);
    }

    #[test]
    fn what_is_received_interrupts_until_it_is_read() {
        let page = page();
        let mut uart = Pl011::new();
        assert_eq!(
            uart.write(register::LCR_H, 0x70, Ring(&page)),
            Moved::Nothing
        );
        let _ = uart.write(register::IMSC, RECEIVE | RECEIVE_TIMEOUT, Ring(&page));
        assert!(!uart.interrupts(Ring(&page)));
        receive_into(&page, b"hi");
        assert!(uart.interrupts(Ring(&page)));
        assert_eq!(uart.read(register::MIS, Ring(&page)), RECEIVE_TIMEOUT);
        assert_eq!(receive(Ring(&page)).0, u32::from(b'h'));
        assert_eq!(uart.read(register::FR, Ring(&page)) & RECEIVE_EMPTY, 0);
        assert_eq!(receive(Ring(&page)).0, u32::from(b'i'));
        assert_ne!(uart.read(register::FR, Ring(&page)) & RECEIVE_EMPTY, 0);
        assert!(!uart.interrupts(Ring(&page)));
        assert_eq!(receive(Ring(&page)).0, 0);
    }

    #[test]
    fn the_receive_trigger_is_the_one_that_was_set() {
        let page = page();
        let mut uart = Pl011::new();
        receive_into(&page, b"12345678");
        let raw = |uart: &Pl011| uart.read(register::RIS, Ring(&page));
        assert_eq!(raw(&uart), RECEIVE, "no FIFO");
        let _ = uart.write(register::LCR_H, FIFOS, Ring(&page));
        assert_eq!(raw(&uart), RECEIVE_TIMEOUT, "fewer than 16");
        let _ = uart.write(register::IFLS, 1 << 3, Ring(&page));
        assert_eq!(raw(&uart), RECEIVE | RECEIVE_TIMEOUT);
    }

    #[test]
    fn sending_interrupts_until_it_is_cleared() {
        let page = page();
        let mut uart = Pl011::new();
        let _ = uart.write(register::IMSC, TRANSMIT, Ring(&page));
        assert!(!uart.interrupts(Ring(&page)), "nothing was sent");
        assert_eq!(uart.write(register::DR, 0x141, Ring(&page)), Moved::First);
        assert!(uart.interrupts(Ring(&page)));
        let _ = uart.write(register::ICR, TRANSMIT, Ring(&page));
        assert!(!uart.interrupts(Ring(&page)));
        assert_eq!(page[128].load(Ordering::Relaxed), 0x41);
    }

    #[test]
    fn a_full_ring_is_a_full_fifo() {
        let page = page();
        let mut uart = Pl011::new();
        let _ = uart.write(register::IMSC, TRANSMIT, Ring(&page));
        let moved = (0..2048).map(|_| uart.write(register::DR, 0x78, Ring(&page)));
        assert_eq!(moved.filter(|moved| *moved != Moved::Nothing).count(), 2);
        let flags = uart.read(register::FR, Ring(&page));
        assert_eq!(flags & (TRANSMIT_FULL | TRANSMIT_EMPTY), TRANSMIT_FULL);
        assert!(!uart.interrupts(Ring(&page)), "no room for a burst");
        page[3080 / 8].fetch_add(100, Ordering::Relaxed);
        assert!(uart.interrupts(Ring(&page)));
    }

    #[test]
    fn records_round_trip_and_are_checked() {
        let page = page();
        let mut uart = Pl011::new();
        for offset in (0..0x4C).step_by(4) {
            let _ = uart.write(offset, u32::MAX, Ring(&page));
        }
        let record = uart.save();
        assert_eq!(Pl011::restore(&record).unwrap().save(), record);
        let wrong = Record {
            cr: 1 << 3,
            ..record
        };
        assert_eq!(Pl011::restore(&wrong).err(), Some(Errno::EINVAL));
    }
}
