//! The distributor's registers (IHI 0069 12.9). Offsets as in the specification's table.

use super::state::{Bank, INTIDS, PRIVATE, ROUTE_TO_ANY, State};
use super::{Effect, MachineChange, bit};

const CTLR: u32 = 0x0000;
const TYPER: u32 = 0x0004;
const IIDR: u32 = 0x0008;
const IGROUPR: u32 = 0x0080;
const ISENABLER: u32 = 0x0100;
const ICENABLER: u32 = 0x0180;
const ISPENDR: u32 = 0x0200;
const ICPENDR: u32 = 0x0280;
const ISACTIVER: u32 = 0x0300;
const ICACTIVER: u32 = 0x0380;
const IPRIORITYR: u32 = 0x0400;
const ITARGETSR: u32 = 0x0800;
const ICFGR: u32 = 0x0C00;
const IGRPMODR: u32 = 0x0D00;
const IROUTER: u32 = 0x6000;
const IROUTER_END: u32 = IROUTER + 8 * INTIDS;
const PIDR2: u32 = 0xFFE8;

/// ARE (4) and DS (6) read as one; there is one security state.
const CTLR_FIXED: u32 = (1 << 4) | (1 << 6);
const CTLR_WRITABLE: u32 = 0b11;
/// ARM, product 0 of ours, revision 0: an implementer's code of its own would be a lie too.
pub(super) const IIDR_VALUE: u64 = 0x43B;
/// Architecture revision 3 in PIDR2.
pub(super) const PIDR2_VALUE: u64 = 0x3B;

/// Reads.
pub(super) fn read(state: &State, offset: u32, size: u8) -> u64 {
    let word = offset & !3;
    let value = match word {
        CTLR => u64::from(state.ctlr | CTLR_FIXED),
        TYPER => typer(state),
        IIDR => IIDR_VALUE,
        PIDR2 => PIDR2_VALUE,
        IROUTER..IROUTER_END => return read_router(state, offset, size),
        IGROUPR..ITARGETSR | ICFGR..IGRPMODR => match shared_bank(state, word) {
            Some(bank) => u64::from(read_bank(bank, word)),
            None => 0,
        },
        _ => 0,
    };
    part(value, offset & 3, size)
}

/// ITLinesNumber, IDbits for 10 bits of INTID, no LPIs, no message-based SPIs; A3V.
fn typer(state: &State) -> u64 {
    let lines = u64::from(INTIDS / 32 - 1);
    let cpus = u64::from(state.vcpus().min(8) - 1);
    lines | (cpus << 5) | (9 << 19) | (1 << 24)
}

/// The low bytes of a register that an access of `size` bytes at byte `at` sees.
pub(super) fn part(value: u64, at: u32, size: u8) -> u64 {
    let shifted = value >> (at * 8);
    match size {
        1 => shifted & 0xFF,
        2 => shifted & 0xFFFF,
        _ => shifted,
    }
}

/// The bank of SPIs that a register at `word` belongs to; none for the private ones, which read as zero here.
fn shared_bank(state: &State, word: u32) -> Option<&Bank> {
    state.shared.get(bank_index(word)?.checked_sub(1)?)
}

/// Number of the bank of 32 that a banked register is for.
pub(super) fn bank_index(word: u32) -> Option<usize> {
    let index = match word {
        IGROUPR..IPRIORITYR => (word & 0x7F) / 4,
        IPRIORITYR..ITARGETSR => (word - IPRIORITYR) / 32,
        ICFGR..IGRPMODR => (word - ICFGR) / 8,
        _ => return None,
    };
    Some(index as usize)
}

/// A banked register's value. The offset's bank part is ignored.
pub(super) fn read_bank(bank: &Bank, word: u32) -> u32 {
    match word {
        IGROUPR..ISENABLER => bank.group,
        ISENABLER..ISPENDR => bank.enabled,
        ISPENDR..ISACTIVER => bank.pending,
        ISACTIVER..IPRIORITYR => bank.active,
        IPRIORITYR..ITARGETSR => {
            let first = (word % 32) as usize;
            let bytes = bank
                .priority
                .get(first..first + 4)
                .and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        }
        ICFGR..IGRPMODR => spread(bank.edge >> (((word % 8) / 4) * 16)),
        _ => 0,
    }
}

/// 16 bits to the high bits of 16 two-bit fields.
fn spread(edges: u32) -> u32 {
    (0..16)
        .filter(|index| edges & (1 << index) != 0)
        .fold(0, |value, index| value | (0b10 << (index * 2)))
}

/// The high bits of 16 two-bit fields to 16 bits.
fn gather(fields: u32) -> u32 {
    (0..16)
        .filter(|index| fields & (0b10 << (index * 2)) != 0)
        .fold(0, |value, index| value | (1 << index))
}

fn read_router(state: &State, offset: u32, size: u8) -> u64 {
    let intid = (offset - IROUTER) / 8;
    let value = intid
        .checked_sub(PRIVATE)
        .and_then(|spi| state.router.get(spi as usize))
        .copied()
        .unwrap_or(0);
    let shifted = value >> ((offset & 4) * 8);
    if size == 8 {
        value
    } else {
        shifted & 0xFFFF_FFFF
    }
}

/// Writes.
pub(super) fn write(state: &mut State, offset: u32, size: u8, value: u64) -> Effect {
    let word = offset & !3;
    match word {
        CTLR => {
            state.ctlr = value as u32 & CTLR_WRITABLE;
            Effect {
                wake: state.everyone(),
                machine: None,
            }
        }
        IROUTER..IROUTER_END => write_router(state, offset, size, value),
        IGROUPR..ITARGETSR | ICFGR..IGRPMODR => write_shared(state, offset, size, value),
        _ => Effect::default(),
    }
}

fn write_shared(state: &mut State, offset: u32, size: u8, value: u64) -> Effect {
    let word = offset & !3;
    let everyone = state.everyone();
    let Some(index) = bank_index(word).and_then(|index| index.checked_sub(1)) else {
        return Effect::default();
    };
    let Some(bank) = state.shared.get_mut(index) else {
        return Effect::default();
    };
    let before = *bank;
    write_bank(bank, offset, size, value, u32::MAX);
    let first = (index as u32 + 1) * 32;
    Effect {
        wake: everyone,
        machine: machine_change(&before, bank, first),
    }
}

/// What a change of a bank means for the machine's own controller.
fn machine_change(before: &Bank, after: &Bank, first: u32) -> Option<MachineChange> {
    let on = after.enabled & !before.enabled;
    let off = before.enabled & !after.enabled;
    if on != 0 {
        Some(MachineChange::Enable {
            first,
            mask: on,
            enabled: true,
        })
    } else if off != 0 {
        Some(MachineChange::Enable {
            first,
            mask: off,
            enabled: false,
        })
    } else if after.edge != before.edge {
        Some(MachineChange::Trigger {
            first,
            edge: after.edge,
        })
    } else {
        None
    }
}

/// Writes a banked register. Interrupts outside `configurable` keep their trigger.
pub(super) fn write_bank(bank: &mut Bank, offset: u32, size: u8, value: u64, configurable: u32) {
    let word = offset & !3;
    let bits = value as u32;
    match word {
        IGROUPR..ISENABLER => bank.group = bits,
        ISENABLER..ICENABLER => bank.enabled |= bits,
        ICENABLER..ISPENDR => bank.enabled &= !bits,
        ISPENDR..ICPENDR => bank.pending |= bits,
        ICPENDR..ISACTIVER => bank.pending &= !bits,
        ISACTIVER..ICACTIVER => bank.active |= bits,
        ICACTIVER..IPRIORITYR => bank.active &= !bits,
        IPRIORITYR..ITARGETSR => write_priority(bank, offset, size, bits),
        ICFGR..IGRPMODR => {
            let shift = ((word % 8) / 4) * 16;
            let changed = (0xFFFF << shift) & configurable;
            bank.edge = (bank.edge & !changed) | ((gather(bits) << shift) & changed);
        }
        _ => {}
    }
}

/// Five bits of priority are implemented.
fn write_priority(bank: &mut Bank, offset: u32, size: u8, bits: u32) {
    let first = (offset % 32) as usize;
    for (index, byte) in bits
        .to_le_bytes()
        .into_iter()
        .take(usize::from(size.min(4)))
        .enumerate()
    {
        if let Some(priority) = bank.priority.get_mut(first + index) {
            *priority = byte & 0xF8;
        }
    }
}

fn write_router(state: &mut State, offset: u32, size: u8, value: u64) -> Effect {
    let intid = (offset - IROUTER) / 8;
    let everyone = state.everyone();
    let Some(route) = intid
        .checked_sub(PRIVATE)
        .and_then(|spi| state.router.get_mut(spi as usize))
    else {
        return Effect::default();
    };
    let whole = match (size, offset & 4) {
        (8, _) => value,
        (_, 0) => (*route & !0xFFFF_FFFF) | (value & 0xFFFF_FFFF),
        _ => (*route & 0xFFFF_FFFF) | (value << 32),
    };
    *route = whole & (0xFF_00FF_FFFF | ROUTE_TO_ANY);
    Effect {
        wake: everyone,
        machine: None,
    }
}

/// Whether a bit of a bank is set, for tests and reports.
#[must_use]
pub fn is_enabled(state: &State, intid: u32) -> bool {
    let bank = (intid as usize / 32)
        .checked_sub(1)
        .and_then(|index| state.shared.get(index));
    bank.is_some_and(|bank| bank.enabled & bit(intid) != 0)
}
