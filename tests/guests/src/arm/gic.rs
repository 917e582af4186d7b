//! The interrupt controller, a GICv2 or a GICv3 as the machine has it, with the two interrupts that guests here use (Arm
//! IHI 0048, IHI 0069).
// UNSAFETY: device registers and system registers.
#![expect(unsafe_code, reason = "device and system registers")]

pub mod interface;
pub mod lines;

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use hv_abi::layout::arm::{
    EVENT_INTID, GICC_BASE, GICD_BASE, GICR_BASE, GICR_STRIDE, VIRTUAL_TIMER_INTID,
};

use super::cpus;

const GICD_CTLR: u64 = GICD_BASE;
/// `GICD_TYPER`, for who wants to read something harmless.
pub const GICD_TYPER: u64 = GICD_BASE + 4;
/// Of a redistributor.
const WAKER: u64 = 0x14;
const SECOND_FRAME: u64 = 0x1_0000;
const IGROUPR: u64 = 0x80;
const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const IPRIORITYR: u64 = 0x400;
const GICC_CTLR: u64 = GICC_BASE;
const GICC_PMR: u64 = GICC_BASE + 4;
const GICC_IAR: u64 = GICC_BASE + 0xC;
const GICC_EOIR: u64 = GICC_BASE + 0x10;

/// Affinity routing and group 1.
const CTLR_ARE_AND_GROUP_1: u32 = 0x12;
/// Group 0.
const CTLR_GROUP_0: u32 = 1;
const WAKER_SLEEP: u32 = 2;
const WAKER_ASLEEP: u32 = 4;
const PRIORITY_MASK: u32 = 0xF0;
const SGIS: u32 = 0xFFFF;

static IS_V2: AtomicBool = AtomicBool::new(false);

/// Whether the machine has a GICv2.
#[inline]
#[must_use]
pub fn is_v2() -> bool {
    IS_V2.load(Ordering::Relaxed)
}

/// Where the registers of SGIs and PPIs are: the redistributor's second frame, or a GICv2's distributor.
#[must_use]
pub fn private_frame() -> u64 {
    if is_v2() {
        GICD_BASE
    } else {
        redistributor() + SECOND_FRAME
    }
}

/// This CPU's redistributor.
fn redistributor() -> u64 {
    GICR_BASE + u64::from(cpus::this()) * GICR_STRIDE
}

/// Sets everything up and leaves interrupts masked.
pub(crate) fn init() {
    const SYSTEM_REGISTERS: u64 = 0xF << 24;
    let features: u64;
    // SAFETY: reading ID_AA64PFR0_EL1 has no effect.
    unsafe { asm!("mrs {}, id_aa64pfr0_el1", out(reg) features, options(nostack)) };
    IS_V2.store(features & SYSTEM_REGISTERS == 0, Ordering::Relaxed);
    let enable = if is_v2() {
        CTLR_GROUP_0
    } else {
        CTLR_ARE_AND_GROUP_1
    };
    write(GICD_CTLR, enable);
    init_cpu();
}

/// Sets up what each CPU has for itself.
pub(crate) fn init_cpu() {
    if is_v2() {
        init_private(0);
        write(GICC_PMR, PRIORITY_MASK);
        write(GICC_CTLR, 1);
        return;
    }
    let waker = redistributor() + WAKER;
    write(waker, read(waker) & !WAKER_SLEEP);
    while read(waker) & WAKER_ASLEEP != 0 {}
    init_private(u32::MAX);
    // SAFETY: the CPU interface's registers (ICC_SRE_EL1, ICC_PMR_EL1, ICC_IGRPEN1_EL1); interrupts stay masked.
    unsafe {
        asm!(
            "msr S3_0_C12_C12_5, {sre}",
            "isb",
            "msr S3_0_C4_C6_0, {priority}",
            "msr S3_0_C12_C12_7, {enable}",
            "isb",
            sre = in(reg) 7_u64,
            priority = in(reg) u64::from(PRIORITY_MASK),
            enable = in(reg) 1_u64,
            options(nostack),
        );
    }
}

fn init_private(groups: u32) {
    let frame = private_frame();
    write(frame + IGROUPR, groups);
    for word in 0..8 {
        write(frame + IPRIORITYR + 4 * word, 0xA0A0_A0A0);
    }
    write(frame + ICENABLER, u32::MAX);
    write(
        frame + ISENABLER,
        SGIS | 1 << VIRTUAL_TIMER_INTID | 1 << EVENT_INTID,
    );
}

/// Acknowledges the most urgent pending interrupt.
#[inline]
pub(crate) fn acknowledge() -> u32 {
    if is_v2() {
        return read(GICC_IAR);
    }
    let intid: u64;
    // SAFETY: reading ICC_IAR1_EL1 changes the interrupt controller's state only.
    unsafe { asm!("mrs {}, S3_0_C12_C12_0", out(reg) intid, options(nostack)) };
    intid as u32 & 0xFF_FFFF
}

/// Ends an acknowledged interrupt.
#[inline]
pub(crate) fn end(intid: u32) {
    if is_v2() {
        return write(GICC_EOIR, intid);
    }
    // SAFETY: writing ICC_EOIR1_EL1 changes the interrupt controller's state only.
    unsafe { asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) u64::from(intid), options(nostack)) };
}

/// Lets interrupts through.
#[inline]
pub fn unmask() {
    // SAFETY: the vectors are installed and their handler touches atomics only.
    unsafe { asm!("msr daifclr, #2", "isb", options(nostack)) };
}

/// Holds interrupts back.
#[inline]
pub fn mask() {
    // SAFETY: holding interrupts back is always allowed.
    unsafe { asm!("msr daifset, #2", options(nostack)) };
}

/// Sleeps until an interrupt is pending, masked or not.
#[inline]
pub fn wait() {
    // SAFETY: waiting is always allowed.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Reads a register. Plain loads only, so that the hypervisor can tell what was wanted.
#[inline]
#[must_use]
pub fn read(address: u64) -> u32 {
    let value: u32;
    // SAFETY: callers name registers of the interrupt controller, whose reads have no effect on memory.
    unsafe { asm!("ldr {:w}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Writes a register.
#[inline]
pub fn write(address: u64, value: u32) {
    // SAFETY: callers name registers of the interrupt controller, whose writes have no effect on memory.
    unsafe { asm!("str {:w}, [{}]", in(reg) value, in(reg) address, options(nostack)) };
}

macro_rules! narrow {
    ($read:ident, $load:literal, $write:ident, $store:literal, $type:ty) => {
        /// Reads a part of a register.
        #[must_use]
        pub fn $read(address: u64) -> $type {
            let value: u32;
            // SAFETY: as for `read`.
            unsafe {
                asm!(concat!($load, " {:w}, [{}]"), out(reg) value, in(reg) address, options(nostack));
            }
            value as $type
        }

        /// Writes a part of a register.
        pub fn $write(address: u64, value: $type) {
            let value = u32::from(value);
            // SAFETY: as for `write`.
            unsafe {
                asm!(concat!($store, " {:w}, [{}]"), in(reg) value, in(reg) address, options(nostack));
            }
        }
    };
}

narrow!(read_byte, "ldrb", write_byte, "strb", u8);
narrow!(read_half, "ldrh", write_half, "strh", u16);
