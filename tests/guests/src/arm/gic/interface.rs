//! The CPU interface by the registers that both versions have, for programs that test it: group 1 on a GICv3, group 0
//! on a GICv2.
// UNSAFETY: system registers.
#![expect(unsafe_code, reason = "system registers of the interrupt controller")]

use core::arch::asm;

use hv_abi::layout::arm::{GICC_BASE, GICD_BASE};

use super::{is_v2, read, write};

macro_rules! read_either {
    ($offset:literal, $register:literal) => {{
        if is_v2() {
            return read(GICC_BASE + $offset);
        }
        let value: u64;
        // SAFETY: reading it changes the interrupt controller's state at most.
        unsafe { asm!("isb", concat!("mrs {}, ", $register), out(reg) value, options(nostack)) };
        value as u32
    }};
}

macro_rules! write_either {
    ($value:expr, $offset:literal, $register:literal) => {{
        if is_v2() {
            return write(GICC_BASE + $offset, $value);
        }
        let value = u64::from($value);
        // SAFETY: writing it changes the interrupt controller's state only.
        unsafe { asm!(concat!("msr ", $register, ", {}"), "isb", in(reg) value, options(nostack)) };
    }};
}

/// IAR: takes the most urgent pending interrupt.
#[must_use]
pub fn acknowledge() -> u32 {
    read_either!(0xC, "S3_0_C12_C12_0")
}

/// EOIR: drops the running priority, and ends the interrupt unless the two are split.
pub fn end(acknowledged: u32) {
    write_either!(acknowledged, 0x10, "S3_0_C12_C12_1");
}

/// DIR: ends an interrupt whose priority is dropped already.
pub fn deactivate(acknowledged: u32) {
    write_either!(acknowledged, 0x1000, "S3_0_C12_C11_1");
}

/// RPR: the priority of what is being handled.
#[must_use]
pub fn running_priority() -> u32 {
    read_either!(0x14, "S3_0_C12_C11_3") & 0xFF
}

/// HPPIR: what the next [`acknowledge`] would take.
#[must_use]
pub fn highest_pending() -> u32 {
    read_either!(0x18, "S3_0_C12_C12_2")
}

/// PMR.
pub fn set_priority_mask(mask: u32) {
    write_either!(mask, 0x4, "S3_0_C4_C6_0");
}

/// BPR: how much of a priority counts for preemption.
pub fn set_binary_point(point: u32) {
    write_either!(point, 0x8, "S3_0_C12_C12_3");
}

/// EOImode: whether [`end`] only drops the priority.
pub fn split_end(split: bool) {
    if is_v2() {
        write(GICC_BASE, 1 | u32::from(split) << 9);
    } else {
        write_control(u32::from(split) << 1);
    }
}

fn write_control(value: u32) {
    write_either!(value, 0x0, "S3_0_C12_C12_4");
}

/// Sends an SGI to this CPU.
pub fn send_to_self(number: u32) {
    const TO_SELF: u32 = 2 << 24;
    if is_v2() {
        write(GICD_BASE + 0xF00, TO_SELF | number);
    } else {
        send(u64::from(number) << 24 | 1);
    }
}

/// Sends an SGI to one CPU.
#[inline]
pub fn send_to(cpu: u32, number: u32) {
    if is_v2() {
        write(GICD_BASE + 0xF00, 1 << (16 + cpu) | number);
    } else {
        send(u64::from(number) << 24 | 1 << cpu);
    }
}

/// Sends an SGI to all CPUs but this one.
pub fn send_to_others(number: u32) {
    const TO_OTHERS: u32 = 1 << 24;
    if is_v2() {
        write(GICD_BASE + 0xF00, TO_OTHERS | number);
    } else {
        send(1 << 40 | u64::from(number) << 24);
    }
}

fn send(value: u64) {
    // SAFETY: ICC_SGI1R_EL1 makes an interrupt pending, which stays masked.
    unsafe { asm!("msr S3_0_C12_C11_5, {}", "isb", in(reg) value, options(nostack)) };
}
