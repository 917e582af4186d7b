//! What is particular to a GICv2 (IHI 0048): its distributor, SGIs that know their sender, list registers.
//!
//! The guest sees a GIC-400 without the security extension: both groups are its own, all interrupts are in group 0 at
//! reset, SGIs are always enabled. Its CPU interface is the machine's virtual one, mapped by stage 2.

use bitfield_struct::bitfield;
use hv_abi::layout::arm::GICV2_VCPUS_MAX;

use super::distributor::{BankRegister, BitRegister, decode};
use super::list::NOTIFY_END;
use super::{ENABLE_GROUP0, ENABLE_GROUP1, Effect, Gic, ListRegister, SHARED, SPIS};

/// vCPUs at most.
pub(super) const VCPUS: usize = GICV2_VCPUS_MAX as usize;
/// INTIDs below are SGIs.
pub(super) const SGIS: u32 = 16;
/// Bits of SGIs in a bank.
const SGI_BITS: u32 = 0xFFFF;

/// GIC-400, r0p1, by Arm.
const IIDR: u32 = 0x0200_143B;
/// Peripheral and component identification from 0xFD0 on, a byte in each word.
const IDENTIFICATION: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xB4, 0x2B, 0, 0x0D, 0xF0, 0x05, 0xB1];

/// A list register, GICH_LR.
#[bitfield(u32)]
struct List {
    #[bits(10)]
    number: u32,
    /// The physical interrupt; of what is not linked, the sender of an SGI (bits 0 to 2), and in bit 9 whether to ask for
    /// a maintenance interrupt at its end.
    #[bits(10)]
    physical: u32,
    #[bits(3)]
    __: u8,
    /// The upper five bits.
    #[bits(5)]
    priority: u8,
    pending: bool,
    active: bool,
    group1: bool,
    linked: bool,
}

/// A list register in a GICv2's encoding.
#[inline]
pub(crate) fn encode_list(list: ListRegister) -> u32 {
    List::new()
        .with_number(list.number() & 0x3FF)
        .with_physical(list.physical())
        .with_priority(list.priority() >> 3)
        .with_pending(list.pending())
        .with_active(list.active())
        .with_group1(list.group1())
        .with_linked(list.linked())
        .into_bits()
}

/// A list register from a GICv2's encoding.
#[inline]
pub(crate) fn decode_list(bits: u32) -> ListRegister {
    let list = List::from_bits(bits);
    ListRegister::new()
        .with_number(list.number())
        .with_physical(list.physical())
        .with_priority(list.priority() << 3)
        .with_pending(list.pending())
        .with_active(list.active())
        .with_group1(list.group1())
        .with_linked(list.linked())
}

/// Which vCPUs the SGIs of each vCPU came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Senders {
    /// Of pending ones, a bit for each vCPU. What is in a list register is not among them.
    pub(super) pending: [[u8; SGIS as usize]; VCPUS],
    /// Of active ones, its number.
    pub(super) active: [[u8; SGIS as usize]; VCPUS],
}

/// A register that only a GICv2's distributor has, or has here.
enum Register {
    Control,
    Type,
    Implementer,
    /// ITARGETSR from this interrupt on.
    Targets(u32),
    Send,
    /// CPENDSGIR and SPENDSGIR, from this SGI on.
    ClearPendingSgi(u32),
    SetPendingSgi(u32),
    Identification(u32),
    Other,
}

fn register_at(offset: u64) -> Register {
    let offset = offset as u32;
    match offset {
        0x000 => Register::Control,
        0x004 => Register::Type,
        0x008 => Register::Implementer,
        0x800..0xC00 => Register::Targets(offset - 0x800),
        0xF00 => Register::Send,
        0xF10..0xF20 => Register::ClearPendingSgi(offset - 0xF10),
        0xF20..0xF30 => Register::SetPendingSgi(offset - 0xF20),
        0xFD0..0x1000 if offset.is_multiple_of(4) => Register::Identification((offset - 0xFD0) / 4),
        _ => Register::Other,
    }
}

/// The bytes of a word, the lowest first.
fn word(bytes: impl DoubleEndedIterator<Item = u8>) -> u64 {
    bytes
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(byte))
}

/// The bytes that an access of this size at a register of bytes means.
fn bytes_of(size: u8) -> u32 {
    u32::from(size.min(4))
}

impl Gic {
    #[cold]
    #[inline(never)]
    pub(super) fn read_v2(&self, vcpu: u32, offset: u64, size: u8) -> u64 {
        if let Some((index, register)) = decode(offset, size) {
            let bank = match index.checked_sub(1) {
                None => self.private.get(vcpu as usize),
                Some(shared) => self.shared.get(shared),
            };
            return bank.map_or(0, |bank| bank.read(register, size));
        }
        match register_at(offset) {
            Register::Control if size == 4 => u64::from(self.ctlr),
            Register::Type if size == 4 => u64::from(((self.vcpus - 1) << 5) | (SPIS / 32)),
            Register::Implementer if size == 4 => u64::from(IIDR),
            Register::Targets(first) => {
                word((first..first + bytes_of(size)).map(|number| self.targets_byte(vcpu, number)))
            }
            Register::ClearPendingSgi(first) | Register::SetPendingSgi(first) => {
                let senders = self.senders.pending.get(vcpu as usize);
                let bytes = senders.map_or(&[][..], |senders| {
                    senders.get(first as usize..).unwrap_or(&[])
                });
                word(bytes.iter().copied().take(bytes_of(size) as usize))
            }
            Register::Identification(index) => {
                u64::from(IDENTIFICATION.get(index as usize).copied().unwrap_or(0))
            }
            _ => 0,
        }
    }

    /// A byte of ITARGETSR. With a single vCPU there is nothing to choose: it reads as zero.
    fn targets_byte(&self, vcpu: u32, number: u32) -> u8 {
        match number.checked_sub(32) {
            _ if self.vcpus == 1 => 0,
            None => 1_u8.wrapping_shl(vcpu),
            Some(spi) => self
                .router
                .get(spi as usize)
                .map_or(0, |route| *route as u8),
        }
    }

    /// The vCPU that an SPI with these targets goes to: the first of them.
    #[cold]
    pub(super) fn target_v2(&self, targets: u64) -> Option<u32> {
        if self.vcpus == 1 {
            return Some(0);
        }
        (targets != 0).then(|| targets.trailing_zeros())
    }

    /// Bits of ITARGETSR that exist.
    pub(super) fn targets_mask(&self) -> u64 {
        if self.vcpus == 1 {
            0
        } else {
            (1 << self.vcpus) - 1
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn write_v2(&mut self, vcpu: u32, offset: u64, size: u8, value: u64) -> Effect {
        if vcpu >= self.vcpus {
            return Effect::default();
        }
        if let Some((index, register)) = decode(offset, size) {
            return match index.checked_sub(1) {
                None => self.write_private(vcpu, register, size, of_private(register, value)),
                Some(index) if index < SHARED => self.write_shared(index, register, size, value),
                Some(_) => Effect::default(),
            };
        }
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..bytes_of(size) as usize).unwrap_or(&[]);
        match register_at(offset) {
            Register::Control if size == 4 => {
                self.write_control(value as u32 & (ENABLE_GROUP0 | ENABLE_GROUP1))
            }
            Register::Targets(first) => self.write_targets(first, bytes),
            Register::Send if size == 4 => Effect::look_at(self.send_sgi_v2(value as u32, vcpu)),
            Register::ClearPendingSgi(first) => {
                for (number, senders) in (first..).zip(bytes) {
                    self.withdraw_sgi(vcpu, number, *senders);
                }
                Effect::default()
            }
            Register::SetPendingSgi(first) => {
                let mut look = 0;
                for (number, senders) in (first..).zip(bytes) {
                    look |= u32::from(self.raise_sgi(vcpu, number, *senders)) << vcpu;
                }
                Effect::look_at(look)
            }
            _ => Effect::default(),
        }
    }

    fn write_targets(&mut self, first: u32, bytes: &[u8]) -> Effect {
        let mask = self.targets_mask();
        let mut look = 0;
        for (number, targets) in (first..).zip(bytes) {
            let Some(spi) = number.checked_sub(32) else {
                continue;
            };
            if let Some(route) = self.router.get_mut(spi as usize) {
                *route = u64::from(*targets) & mask;
                look |= self.targets_of(spi as usize / 32);
            }
        }
        Effect::look_at(look)
    }

    /// A write of GICD_SGIR. Returns the vCPUs that have to look, a bit for each.
    fn send_sgi_v2(&mut self, value: u32, from: u32) -> u32 {
        let all = (1_u32 << self.vcpus) - 1;
        let targets = match value >> 24 & 3 {
            0 => value >> 16 & 0xFF & all,
            1 => all & !(1 << from),
            2 => 1 << from,
            _ => 0,
        };
        let mut look = 0;
        for vcpu in (0..self.vcpus).filter(|vcpu| targets >> vcpu & 1 != 0) {
            let looks = self.raise_sgi(vcpu, value & 0xF, 1_u8.wrapping_shl(from));
            look |= u32::from(looks) << vcpu;
        }
        look
    }

    /// Makes an SGI pending from these vCPUs, a bit for each. Returns whether its vCPU has to look.
    fn raise_sgi(&mut self, vcpu: u32, number: u32, senders: u8) -> bool {
        let Some(pending) = self.pending_senders(vcpu, number) else {
            return false;
        };
        *pending |= senders;
        *pending != 0 && self.raise_private(vcpu, number)
    }

    fn withdraw_sgi(&mut self, vcpu: u32, number: u32, senders: u8) {
        let Some(pending) = self.pending_senders(vcpu, number) else {
            return;
        };
        *pending &= !senders;
        let none_left = *pending == 0;
        if let Some(bank) = self.private.get_mut(vcpu as usize)
            && none_left
        {
            bank.pending &= !(1 << number);
        }
    }

    fn pending_senders(&mut self, vcpu: u32, number: u32) -> Option<&mut u8> {
        let senders = self.senders.pending.get_mut(vcpu as usize)?;
        senders.get_mut(number as usize)
    }

    /// Moves an SGI into a list register: one sender at a time; the next one's turn comes when the guest has ended it.
    /// Returns the list register.
    #[cold]
    #[inline(never)]
    pub(super) fn take_sgi(&mut self, vcpu: u32, list: ListRegister) -> ListRegister {
        let number = list.number();
        let active = self
            .senders
            .active
            .get(vcpu as usize)
            .and_then(|senders| senders.get(number as usize));
        let active = active.copied().unwrap_or(0);
        let Some(pending) = self.pending_senders(vcpu, number) else {
            return list;
        };
        let sender = if list.active() {
            u32::from(active & 7)
        } else {
            pending.trailing_zeros() & 7
        };
        let is_pending = list.pending() && *pending >> sender & 1 != 0;
        if is_pending {
            *pending &= !(1 << sender);
        }
        let others = *pending != 0;
        if let Some(bank) = self.private.get_mut(vcpu as usize)
            && others
        {
            bank.pending |= 1 << number;
        }
        let notify = if others { NOTIFY_END } else { 0 };
        list.with_pending(is_pending).with_physical(sender | notify)
    }

    /// Moves the sender in an SGI's list register back.
    #[cold]
    #[inline(never)]
    pub(super) fn fold_sgi(&mut self, vcpu: u32, list: ListRegister) {
        let (number, sender) = (list.number() as usize, list.physical() & 7);
        if list.pending()
            && let Some(pending) = self.pending_senders(vcpu, list.number())
        {
            *pending |= 1 << sender;
        }
        let active = self.senders.active.get_mut(vcpu as usize);
        if list.active()
            && let Some(active) = active.and_then(|senders| senders.get_mut(number))
        {
            *active = sender as u8;
        }
    }
}

/// What a write to a register of SGIs and PPIs may change: SGIs are always enabled, and are made pending by registers
/// of their own.
fn of_private(register: BankRegister, value: u64) -> u64 {
    match register {
        BankRegister::Bits(
            BitRegister::SetEnabled
            | BitRegister::ClearEnabled
            | BitRegister::SetPending
            | BitRegister::ClearPending,
        ) => value & u64::from(!SGI_BITS),
        _ => value,
    }
}

#[cfg(test)]
mod tests;
