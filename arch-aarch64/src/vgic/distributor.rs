//! The registers: GICD and GICR frames (IHI 0069, "The distributor", "The redistributor").
//!
//! Reserved registers and fields read as zero and ignore writes. State of a listed interrupt is folded by the caller
//! before an access.

use super::bank::PRIORITY_MASK;
use super::{
    AFFINITY_ROUTING, Bank, ENABLE_GROUP0, ENABLE_GROUP1, Gic, SHARED, SINGLE_SECURITY_STATE, SPIS,
};

/// A register frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// The distributor.
    Distributor,
    /// The distributor of a GICv2, as a vCPU sees it.
    Banked(u32),
    /// A vCPU's redistributor: control.
    Redistributor(u32),
    /// A vCPU's redistributor: SGIs and PPIs.
    Private(u32),
}

/// What a write leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// vCPUs that have to look, a bit for each.
    pub look: u32,
    /// Interrupts whose physical counterpart has to be deactivated: the first one's number and a bit for each.
    pub deactivate: (u32, u32),
}

impl Effect {
    /// vCPUs have to look, a bit for each.
    pub(super) fn look_at(look: u32) -> Self {
        Self {
            look,
            ..Self::default()
        }
    }
}

/// A GICv3 by Arm, revision 0.
const IIDR: u64 = 0x43B;
/// Architecture revision 3.
const PIDR2: u64 = 0x3B;
const PIDR2_OFFSET: u64 = 0xFFE8;
const PROCESSOR_SLEEP: u64 = 1 << 1;
const CHILDREN_ASLEEP: u64 = 1 << 2;
const LAST: u64 = 1 << 4;

/// Registers with a bit for each interrupt.
#[derive(Clone, Copy)]
pub(super) enum BitRegister {
    Group,
    SetEnabled,
    ClearEnabled,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

/// A register of a bank.
#[derive(Clone, Copy)]
pub(super) enum BankRegister {
    Bits(BitRegister),
    /// Priorities from this interrupt on.
    Priority(u32),
    /// Configuration of 16 interrupts from this one on.
    Configuration(u32),
}

/// The register at an offset, as bank number and register in it, if it can be accessed with this size: words, and
/// single priorities.
#[inline]
pub(super) fn decode(offset: u64, size: u8) -> Option<(usize, BankRegister)> {
    let offset = offset as u32;
    let by_byte = (0x400..0x800).contains(&offset);
    if size != 4 && !(by_byte && size < 4) || !offset.is_multiple_of(u32::from(size)) {
        return None;
    }
    let bits = |register| Some((((offset & 0x7F) / 4) as usize, BankRegister::Bits(register)));
    match offset {
        0x080..0x100 => bits(BitRegister::Group),
        0x100..0x180 => bits(BitRegister::SetEnabled),
        0x180..0x200 => bits(BitRegister::ClearEnabled),
        0x200..0x280 => bits(BitRegister::SetPending),
        0x280..0x300 => bits(BitRegister::ClearPending),
        0x300..0x380 => bits(BitRegister::SetActive),
        0x380..0x400 => bits(BitRegister::ClearActive),
        0x400..0x800 => {
            let number = offset - 0x400;
            Some((number as usize / 32, BankRegister::Priority(number % 32)))
        }
        0xC00..0xD00 => {
            let number = (offset - 0xC00) / 4 * 16;
            Some((
                number as usize / 32,
                BankRegister::Configuration(number % 32),
            ))
        }
        _ => None,
    }
}

impl Gic {
    /// Reads a register. The size is 1, 2, 4 or 8, the offset within the frame's 64 KiB.
    #[inline]
    #[must_use]
    pub fn read(&self, frame: Frame, offset: u64, size: u8) -> u64 {
        match frame {
            Frame::Distributor => self.read_distributor(offset, size),
            Frame::Private(vcpu) => {
                let bank = self.private.get(vcpu as usize);
                match (decode(offset, size), bank) {
                    (Some((0, register)), Some(bank)) => bank.read(register, size),
                    _ => 0,
                }
            }
            Frame::Banked(vcpu) => self.read_v2(vcpu, offset, size),
            Frame::Redistributor(vcpu) => self.read_control(vcpu, offset, size),
        }
    }

    fn read_distributor(&self, offset: u64, size: u8) -> u64 {
        if let Some((index, register)) = decode(offset, size) {
            let bank = index
                .checked_sub(1)
                .and_then(|index| self.shared.get(index));
            return bank.map_or(0, |bank| bank.read(register, size));
        }
        match offset {
            0x0000 => u64::from(self.ctlr | AFFINITY_ROUTING | SINGLE_SECURITY_STATE),
            0x0004 => u64::from(self.typer()),
            0x0008 => IIDR,
            0x6100..0x6900 => {
                let spi = (offset - 0x6100) / 8;
                let route = self.router.get(spi as usize).copied().unwrap_or(0);
                part(route, offset, size)
            }
            PIDR2_OFFSET => PIDR2,
            _ => 0,
        }
    }

    /// GICD_TYPER: SPIs, 16 bits of INTID, no message interrupts, no LPIs.
    fn typer(&self) -> u32 {
        const ID_BITS: u32 = 15 << 19;
        const NO_ONE_OF_N: u32 = 1 << 25;
        ID_BITS | NO_ONE_OF_N | (SPIS / 32)
    }

    fn read_control(&self, vcpu: u32, offset: u64, size: u8) -> u64 {
        match offset {
            0x0004 => IIDR,
            0x0008..0x0010 => {
                let last = if vcpu + 1 == self.vcpus { LAST } else { 0 };
                let typer = u64::from(vcpu) << 32 | u64::from(vcpu) << 8 | last;
                part(typer, offset, size)
            }
            0x0014 if self.asleep >> vcpu & 1 != 0 => PROCESSOR_SLEEP | CHILDREN_ASLEEP,
            PIDR2_OFFSET => PIDR2,
            _ => 0,
        }
    }

    /// Writes a register.
    pub fn write(&mut self, frame: Frame, offset: u64, size: u8, value: u64) -> Effect {
        match frame {
            Frame::Distributor => self.write_distributor(offset, size, value),
            Frame::Banked(vcpu) => self.write_v2(vcpu, offset, size, value),
            Frame::Private(vcpu) => match decode(offset, size) {
                Some((0, register)) => self.write_private(vcpu, register, size, value),
                _ => Effect::default(),
            },
            Frame::Redistributor(vcpu) => {
                if offset == 0x0014 && vcpu < self.vcpus {
                    let bit = 1 << vcpu;
                    let sleeps = value & PROCESSOR_SLEEP != 0;
                    self.asleep = self.asleep & !bit | if sleeps { bit } else { 0 };
                }
                Effect::default()
            }
        }
    }

    pub(super) fn write_private(
        &mut self,
        vcpu: u32,
        register: BankRegister,
        size: u8,
        value: u64,
    ) -> Effect {
        let Some(bank) = self.private.get_mut(vcpu as usize) else {
            return Effect::default();
        };
        let deactivate = bank.write(register, size, value, true);
        let look = self
            .private
            .get(vcpu as usize)
            .is_some_and(|bank| self.signalled(bank) != 0);
        Effect {
            look: u32::from(look) << vcpu,
            deactivate: (0, deactivate),
        }
    }

    fn write_distributor(&mut self, offset: u64, size: u8, value: u64) -> Effect {
        if let Some((index, register)) = decode(offset, size) {
            return match index.checked_sub(1).filter(|index| *index < SHARED) {
                Some(index) => self.write_shared(index, register, size, value),
                None => Effect::default(),
            };
        }
        match offset {
            0x0000 => self.write_control(value as u32 & (ENABLE_GROUP0 | ENABLE_GROUP1)),
            0x6100..0x6900 => {
                let spi = ((offset - 0x6100) / 8) as usize;
                if let Some(route) = self.router.get_mut(spi) {
                    *route = merge(*route, offset, size, value) & ROUTE;
                }
                Effect::look_at(self.targets_of(spi / 32))
            }
            _ => Effect::default(),
        }
    }

    /// Sets the groups that are on: everybody has to look.
    pub(super) fn write_control(&mut self, groups: u32) -> Effect {
        self.ctlr = groups;
        Effect::look_at((1 << self.vcpus.min(31)) - 1)
    }

    pub(super) fn write_shared(
        &mut self,
        index: usize,
        register: BankRegister,
        size: u8,
        value: u64,
    ) -> Effect {
        let Some(bank) = self.shared.get_mut(index) else {
            return Effect::default();
        };
        let deactivate = bank.write(register, size, value, false);
        if bank.shown_pending() | bank.active != 0 {
            self.busy |= 1 << index;
        }
        Effect {
            look: self.targets_of(index),
            deactivate: (32 + 32 * index as u32, deactivate),
        }
    }

    /// The vCPUs to which a bank's deliverable interrupts go.
    pub(super) fn targets_of(&self, index: usize) -> u32 {
        let Some(bank) = self.shared.get(index) else {
            return 0;
        };
        let mut bits = self.signalled(bank);
        let mut look = 0;
        while bits != 0 {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if let Some(vcpu) = self.target(index * 32 + bit) {
                look |= 1 << vcpu;
            }
        }
        look
    }
}

/// Bits of GICD_IROUTER that exist.
pub(super) const ROUTE: u64 = 0xFF_80FF_FFFF;

/// The part of a 64-bit register that an access at this offset reads.
fn part(value: u64, offset: u64, size: u8) -> u64 {
    match (size, offset & 7) {
        (8, 0) => value,
        (4, 0) => value & 0xFFFF_FFFF,
        (4, 4) => value >> 32,
        _ => 0,
    }
}

/// A 64-bit register after a write of a part.
fn merge(old: u64, offset: u64, size: u8, value: u64) -> u64 {
    match (size, offset & 7) {
        (8, 0) => value,
        (4, 0) => old & !0xFFFF_FFFF | value & 0xFFFF_FFFF,
        (4, 4) => old & 0xFFFF_FFFF | value << 32,
        _ => old,
    }
}

impl Bank {
    pub(super) fn read(&self, register: BankRegister, size: u8) -> u64 {
        match register {
            BankRegister::Bits(register) => u64::from(match register {
                BitRegister::Group => self.group,
                BitRegister::SetEnabled | BitRegister::ClearEnabled => self.enabled,
                BitRegister::SetPending | BitRegister::ClearPending => self.shown_pending(),
                BitRegister::SetActive | BitRegister::ClearActive => self.active,
            }),
            BankRegister::Priority(first) => {
                let first = first as usize;
                let bytes = self.priority.get(first..).unwrap_or(&[]);
                bytes
                    .iter()
                    .take(usize::from(size.min(4)))
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte))
            }
            BankRegister::Configuration(first) => {
                let edge = self.edge >> first;
                (0..16).fold(0, |word, bit| {
                    word | u64::from(edge >> bit & 1) << (2 * bit + 1)
                })
            }
        }
    }

    /// Returns the linked interrupts that are no longer active.
    fn write(&mut self, register: BankRegister, size: u8, value: u64, private: bool) -> u32 {
        let mut deactivate = 0;
        match register {
            BankRegister::Bits(register) => {
                let bits = value as u32;
                match register {
                    BitRegister::Group => self.group = bits,
                    BitRegister::SetEnabled => self.enabled |= bits,
                    BitRegister::ClearEnabled => self.enabled &= !bits,
                    BitRegister::SetPending => self.pending |= bits,
                    BitRegister::ClearPending => {
                        deactivate = self.pending & self.linked & bits & !self.active;
                        self.pending &= !bits;
                    }
                    BitRegister::SetActive => self.active |= bits,
                    BitRegister::ClearActive => {
                        deactivate = self.active & self.linked & bits;
                        self.active &= !bits;
                    }
                }
                self.linked &= !deactivate;
            }
            BankRegister::Priority(first) => {
                let bytes = value.to_le_bytes();
                let slots = self.priority.iter_mut().skip(first as usize);
                for (slot, byte) in slots.zip(bytes.iter().take(usize::from(size.min(4)))) {
                    *slot = byte & PRIORITY_MASK;
                }
            }
            BankRegister::Configuration(first) => {
                // SGIs are edge-triggered for ever.
                if !(private && first == 0) {
                    let edge =
                        (0..16).fold(0, |word, bit| word | (value >> (2 * bit + 1) & 1) << bit);
                    self.edge = self.edge & !(0xFFFF << first) | (edge as u32) << first;
                }
            }
        }
        deactivate
    }
}
