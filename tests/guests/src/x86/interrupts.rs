//! The local APIC in x2APIC mode (Intel SDM volume 3, 11.12), and interrupts as far as guests on any machine have them.
// UNSAFETY: the interrupt flag.
#![expect(unsafe_code, reason = "the interrupt flag")]

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use hv_abi::xen::hvm::{self, callback, param};
use hv_abi::{CallNumber, DomId};

use super::apics;
use super::msr::{self, X2APIC};
use crate::cpus::MOST;
use crate::hypercall::call_with;

/// Vector of the timer.
pub(crate) const TIMER: u8 = 0x40;
/// Vector of events, which does not pass the APIC.
pub(crate) const EVENTS: u8 = 0x41;
/// Vector of events of a CPU that has one of its own, which passes the APIC.
pub const OWN_EVENTS: u8 = 0x42;
/// Vector of IPI 0; 15 more follow.
pub(crate) const IPIS: u8 = 0x50;
/// Vector of the IPI that has translations forgotten.
pub(crate) const FORGET: u8 = 0x60;
const SPURIOUS: u64 = 0xFF;

static OWN_EVENTS_TAKEN: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

const EOI: u32 = X2APIC + 0xB;
const SVR: u32 = X2APIC + 0xF;
const ICR: u32 = X2APIC + 0x30;
const LVT_TIMER: u32 = X2APIC + 0x32;
const INITIAL_COUNT: u32 = X2APIC + 0x38;

const SVR_ENABLED: u64 = 1 << 8;
const TSC_DEADLINE_MODE: u64 = 2 << 17;
const TO_OTHERS: u64 = 3 << 18;
/// Enabled, x2APIC.
const BASE_MODE: u64 = 3 << 10;

/// Sets everything up and leaves interrupts masked.
pub(crate) fn init() {
    init_cpu();
    let mut argument = hvm::Param {
        domid: DomId::SELF,
        reserved: 0,
        index: param::CALLBACK_IRQ,
        value: callback::VECTOR << callback::KIND_SHIFT | u64::from(EVENTS),
    };
    call_with(CallNumber::HVM_OP, hvm::SET_PARAM, &mut argument).expect("events have a vector");
}

/// Sets up what this CPU has for itself once more, whatever became of it.
pub fn begin_anew() {
    init_cpu();
}

/// Sets up what each CPU has for itself.
pub(crate) fn init_cpu() {
    msr::write(msr::APIC_BASE, msr::read(msr::APIC_BASE) | BASE_MODE);
    msr::write(SVR, SVR_ENABLED | SPURIOUS);
    msr::write(LVT_TIMER, TSC_DEADLINE_MODE | u64::from(TIMER));
}

/// Stops the timer where it counts down.
pub(crate) fn stop_counting() {
    msr::write(INITIAL_COUNT, 0);
}

/// Ends the interrupt that is being handled.
#[inline]
pub(crate) fn end() {
    msr::write(EOI, 0);
}

/// Writes the ICR, for a CPU.
#[inline]
pub(crate) fn command(cpu: u32, command: u64) {
    msr::write(ICR, u64::from(apics::id(cpu)) << 32 | command);
}

/// Sends a vector to all CPUs but this one.
pub(crate) fn send_vector_to_others(vector: u8) {
    msr::write(ICR, TO_OTHERS | u64::from(vector));
}

/// Sends an IPI, by its number, to one CPU.
#[inline]
pub fn send_to(cpu: u32, number: u32) {
    command(cpu, u64::from(u32::from(IPIS) + (number & 0xF)));
}

/// Sends an IPI to all CPUs but this one.
pub fn send_to_others(number: u32) {
    send_vector_to_others(IPIS + (number & 0xF) as u8);
}

/// How many events a CPU has taken by a vector of its own.
#[must_use]
pub fn own_events(cpu: u32) -> u32 {
    OWN_EVENTS_TAKEN[cpu as usize].load(Ordering::SeqCst)
}

pub(crate) fn note_own_events(cpu: u32, count: u32) {
    OWN_EVENTS_TAKEN[cpu as usize].fetch_add(count, Ordering::SeqCst);
}

/// Lets interrupts through.
#[inline]
pub fn unmask() {
    // SAFETY: the vectors are installed and their handler touches atomics only.
    unsafe { asm!("sti", "nop", options(nostack)) };
}

/// Holds interrupts back.
#[inline]
pub fn mask() {
    // SAFETY: holding interrupts back is always allowed.
    unsafe { asm!("cli", options(nostack)) };
}

/// Sleeps until an interrupt was taken; none is lost between a look and the sleep.
#[inline]
pub fn wait() {
    // SAFETY: STI takes effect after the next instruction; the vectors are installed and their handler touches atomics
    // only.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}
