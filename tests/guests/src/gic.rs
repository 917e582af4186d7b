//! The interrupt controller: a GICv3 with the two interrupts that guests here use (Arm IHI 0069).
// UNSAFETY: device registers and system registers.
#![expect(unsafe_code, reason = "device and system registers")]

use core::arch::asm;

use hv_abi::layout::arm::{EVENT_INTID, GICD_BASE, GICR_BASE, VIRTUAL_TIMER_INTID};

const GICD_CTLR: u64 = GICD_BASE;
/// `GICD_TYPER`, for who wants to read something harmless.
pub const GICD_TYPER: u64 = GICD_BASE + 4;
const GICR_WAKER: u64 = GICR_BASE + 0x14;
const PRIVATE: u64 = GICR_BASE + 0x1_0000;
const GICR_IGROUPR0: u64 = PRIVATE + 0x80;
const GICR_ISENABLER0: u64 = PRIVATE + 0x100;
const GICR_ICENABLER0: u64 = PRIVATE + 0x180;
const GICR_IPRIORITYR: u64 = PRIVATE + 0x400;

/// Affinity routing and group 1.
const CTLR_ARE_AND_GROUP_1: u32 = 0x12;
const WAKER_SLEEP: u32 = 2;
const WAKER_ASLEEP: u32 = 4;

/// Sets everything up and leaves interrupts masked.
pub(crate) fn init() {
    write(GICD_CTLR, CTLR_ARE_AND_GROUP_1);
    write(GICR_WAKER, read(GICR_WAKER) & !WAKER_SLEEP);
    while read(GICR_WAKER) & WAKER_ASLEEP != 0 {}
    write(GICR_IGROUPR0, u32::MAX);
    for word in 0..8 {
        write(GICR_IPRIORITYR + 4 * word, 0xA0A0_A0A0);
    }
    write(GICR_ICENABLER0, u32::MAX);
    write(GICR_ISENABLER0, 1 << VIRTUAL_TIMER_INTID | 1 << EVENT_INTID);
    // SAFETY: the CPU interface's registers (ICC_SRE_EL1, ICC_PMR_EL1, ICC_IGRPEN1_EL1); interrupts stay masked.
    unsafe {
        asm!(
            "msr S3_0_C12_C12_5, {sre}",
            "isb",
            "msr S3_0_C4_C6_0, {priority}",
            "msr S3_0_C12_C12_7, {enable}",
            "isb",
            sre = in(reg) 7_u64,
            priority = in(reg) 0xF0_u64,
            enable = in(reg) 1_u64,
            options(nostack),
        );
    }
}

/// Acknowledges the most urgent pending interrupt.
#[inline]
pub(crate) fn acknowledge() -> u32 {
    let intid: u64;
    // SAFETY: reading ICC_IAR1_EL1 changes the interrupt controller's state only.
    unsafe { asm!("mrs {}, S3_0_C12_C12_0", out(reg) intid, options(nostack)) };
    intid as u32 & 0xFF_FFFF
}

/// Ends an acknowledged interrupt.
#[inline]
pub(crate) fn end(intid: u32) {
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

fn write(address: u64, value: u32) {
    // SAFETY: callers name registers of the interrupt controller, whose writes have no effect on memory.
    unsafe { asm!("str {:w}, [{}]", in(reg) value, in(reg) address, options(nostack)) };
}
