//! A vCPU's redistributor (IHI 0069 12.11, 12.12): the RD frame, and the SGI frame 64 KiB behind it.

use super::distributor::{self, IIDR_VALUE, PIDR2_VALUE, part};
use super::state::State;
use super::{Effect, Layout};

const SGI_FRAME: u32 = 0x1_0000;
const CTLR: u32 = 0x0000;
const IIDR: u32 = 0x0004;
const TYPER: u32 = 0x0008;
const TYPER_HIGH: u32 = 0x000C;
const WAKER: u32 = 0x0014;
const PIDR2: u32 = 0xFFE8;

const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;

/// PPIs may be configured; SGIs are always edge-triggered.
const CONFIGURABLE: u32 = 0xFFFF_0000;

/// Whether a register shows pending or active state.
pub(super) fn shows_pending_or_active(offset: u32) -> bool {
    offset >= SGI_FRAME && super::state::shows_pending_or_active(offset - SGI_FRAME)
}

/// Reads.
pub(super) fn read(state: &State, layout: &Layout, vcpu: u32, offset: u32, size: u8) -> u64 {
    let word = offset & !3;
    if word >= SGI_FRAME {
        return read_sgi_frame(state, vcpu, offset - SGI_FRAME, size);
    }
    if word == TYPER && size == 8 {
        return typer(layout, vcpu);
    }
    let value = match word {
        CTLR => 0,
        IIDR => IIDR_VALUE,
        TYPER => typer(layout, vcpu) & 0xFFFF_FFFF,
        TYPER_HIGH => typer(layout, vcpu) >> 32,
        WAKER => waker(state, vcpu),
        PIDR2 => PIDR2_VALUE,
        _ => 0,
    };
    part(value, offset & 3, size)
}

/// Affinity, processor number, and Last for the last of them.
fn typer(layout: &Layout, vcpu: u32) -> u64 {
    let last = u64::from(vcpu + 1 == layout.vcpus) << 4;
    (u64::from(vcpu) << 32) | (u64::from(vcpu) << 8) | last
}

fn waker(state: &State, vcpu: u32) -> u64 {
    let asleep = state
        .private
        .get(vcpu as usize)
        .is_some_and(|private| private.asleep);
    u64::from(if asleep {
        PROCESSOR_SLEEP | CHILDREN_ASLEEP
    } else {
        0
    })
}

fn read_sgi_frame(state: &State, vcpu: u32, offset: u32, size: u8) -> u64 {
    let word = offset & !3;
    let value = match (distributor::bank_index(word), state.private_bank(vcpu)) {
        (Some(0), Some(bank)) => u64::from(distributor::read_bank(bank, word)),
        _ => 0,
    };
    part(value, offset & 3, size)
}

/// Writes.
pub(super) fn write(state: &mut State, vcpu: u32, offset: u32, size: u8, value: u64) -> Effect {
    let word = offset & !3;
    if word == WAKER {
        if let Some(private) = state.private.get_mut(vcpu as usize) {
            private.asleep = value as u32 & PROCESSOR_SLEEP != 0;
        }
    } else if word >= SGI_FRAME && distributor::bank_index(word - SGI_FRAME) == Some(0) {
        if let Some(bank) = state.private_bank_mut(vcpu) {
            distributor::write_bank(bank, offset - SGI_FRAME, size, value, CONFIGURABLE);
        }
    }
    Effect {
        wake: 1 << vcpu,
        machine: None,
    }
}
