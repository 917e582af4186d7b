//! Interrupts by their number: the distributor's and the redistributor's registers.

use hv_abi::layout::arm::GICD_BASE;

use super::{is_v2, private_frame, read, read_byte, write, write_byte};

/// An interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line(pub u32);

/// Registers with a bit for each interrupt, by their offsets.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Bit {
    /// IGROUPR.
    Group = 0x80,
    /// ISENABLER.
    Enable = 0x100,
    /// ICENABLER.
    Disable = 0x180,
    /// ISPENDR.
    SetPending = 0x200,
    /// ICPENDR.
    ClearPending = 0x280,
    /// ISACTIVER.
    SetActive = 0x300,
    /// ICACTIVER.
    ClearActive = 0x380,
}

const IPRIORITYR: u64 = 0x400;
const ITARGETSR: u64 = 0x800;
const ICFGR: u64 = 0xC00;
const IROUTER: u64 = 0x6000;

impl Line {
    fn frame(self) -> u64 {
        if self.0 < 32 {
            private_frame()
        } else {
            GICD_BASE
        }
    }

    fn word(self, register: Bit) -> u64 {
        self.frame() + register as u64 + 4 * u64::from(self.0 / 32)
    }

    /// Writes a one.
    pub fn write(self, register: Bit) {
        write(self.word(register), 1 << (self.0 % 32));
    }

    /// Reads its bit.
    #[must_use]
    pub fn is(self, register: Bit) -> bool {
        read(self.word(register)) >> (self.0 % 32) & 1 != 0
    }

    /// Sets its bit in a register that is written as a whole.
    pub fn set(self, register: Bit, value: bool) {
        let bit = 1 << (self.0 % 32);
        let others = read(self.word(register)) & !bit;
        write(self.word(register), others | if value { bit } else { 0 });
    }

    /// Sets its priority.
    pub fn set_priority(self, priority: u8) {
        write_byte(self.frame() + IPRIORITYR + u64::from(self.0), priority);
    }

    /// Its priority.
    #[must_use]
    pub fn priority(self) -> u8 {
        read_byte(self.frame() + IPRIORITYR + u64::from(self.0))
    }

    /// Sends an SPI to this CPU, or nowhere.
    pub fn route(self, here: bool) {
        if is_v2() {
            return write_byte(GICD_BASE + ITARGETSR + u64::from(self.0), u8::from(here));
        }
        let register = GICD_BASE + IROUTER + 8 * u64::from(self.0);
        write(register, if here { 0 } else { 0x77 });
        write(register + 4, 0);
    }

    fn configuration(self) -> (u64, u32) {
        let address = self.frame() + ICFGR + 4 * u64::from(self.0 / 16);
        (address, 2 << (2 * (self.0 % 16)))
    }

    /// Makes it an edge, or a level.
    pub fn set_edge(self, edge: bool) {
        let (address, bit) = self.configuration();
        let others = read(address) & !bit;
        write(address, others | if edge { bit } else { 0 });
    }

    /// Whether it is an edge.
    #[must_use]
    pub fn is_edge(self) -> bool {
        let (address, bit) = self.configuration();
        read(address) & bit != 0
    }
}
