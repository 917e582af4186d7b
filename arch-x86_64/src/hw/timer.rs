//! The TSC, its rate, and the local APIC's timer.
//!
//! Two parties want the timer of a CPU: the host, and the guest that is loaded. The earlier of both deadlines is set.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::cpu::{self, Cpu, noted};
use super::{identity, interrupts, msr, port};
use crate::calibration::moment;
use crate::msr::TSC_DEADLINE;

const NEVER: u64 = u64::MAX;

/// TSC ticks per second.
static HZ: AtomicU64 = AtomicU64::new(0);
/// APIC timer ticks in 2^20 TSC ticks, where it counts down.
static COUNTS: AtomicU32 = AtomicU32::new(0);

/// The TSC.
#[inline(always)]
pub(crate) fn now_ticks() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Its ticks per second.
pub(crate) fn frequency() -> u64 {
    HZ.load(Ordering::Relaxed)
}

/// A clock whose rate is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reference {
    /// The HPET's main counter, mapped; femtoseconds in a tick.
    Hpet { base: u64, period_fs: u64 },
    /// The ACPI power management timer, at this port.
    PowerManagement { port: u16 },
    /// Counter 2 of the interval timer.
    IntervalTimer,
}

/// What measuring takes.
const MEASURE_US: u64 = 1_000;
const PM_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;

/// What passed meanwhile on each clock.
struct Measured {
    tsc: u64,
    /// APIC timer ticks.
    counted: u32,
    elapsed_ns: u64,
}

/// Measures the TSC's rate, and the APIC timer's if it has to count down. The APIC is on.
///
/// A function of its own in the image, too: who counts instructions leaves it out (`cargo xtask bench`).
#[inline(never)]
pub(crate) fn calibrate(reference: Reference) {
    let by_deadline = identity::features().has_tsc_deadline;
    interrupts::timer::start(by_deadline);
    interrupts::timer::count_down(if by_deadline { 0 } else { u32::MAX });
    let measured = match reference {
        Reference::Hpet { base, period_fs } => by_hpet(base, period_fs),
        Reference::PowerManagement { port } => by_power_management(port),
        Reference::IntervalTimer => by_interval_timer(),
    };
    interrupts::timer::count_down(0);
    HZ.store(
        crate::calibration::rate(measured.tsc, measured.elapsed_ns),
        Ordering::Relaxed,
    );
    let counts = crate::calibration::counts(measured.counted, measured.tsc);
    COUNTS.store(if by_deadline { 0 } else { counts }, Ordering::Relaxed);
}

/// Measures until a clock of `mask`'s bits has counted so far: how far it has then, too.
fn measure(read: impl Fn() -> u32, mask: u32, wanted: u64) -> (Measured, u64) {
    let now = || moment(now_ticks, || (read(), interrupts::timer::current()));
    let passed = |from: u32, to: u32| u64::from(to.wrapping_sub(from) & mask);
    let start = now();
    while passed(start.read.0, read()) < wanted {}
    let end = now();
    let measured = Measured {
        tsc: end.tsc.wrapping_sub(start.tsc),
        counted: start.read.1.wrapping_sub(end.read.1),
        elapsed_ns: 0,
    };
    (measured, passed(start.read.0, end.read.0))
}

/// Femtoseconds in a tick of an HPET, which is mapped.
pub(crate) fn hpet_period_fs(base: u64) -> u64 {
    // SAFETY: an HPET is there (its ACPI table), mapped uncached; reading its capabilities changes nothing.
    let capabilities = unsafe { (base as *const u64).read_volatile() };
    capabilities >> 32
}

fn by_hpet(base: u64, period_fs: u64) -> Measured {
    const CONFIGURATION: u64 = 0x10;
    const COUNTER: u64 = 0xF0;
    let read = |offset: u64| {
        // SAFETY: an HPET is there (its ACPI table), mapped uncached.
        unsafe { ((base + offset) as *const u64).read_volatile() }
    };
    // SAFETY: as above: switches the counter on.
    unsafe { ((base + CONFIGURATION) as *mut u64).write_volatile(read(CONFIGURATION) | 1) };
    let wanted = MEASURE_US * 1_000_000_000 / period_fs.max(1);
    let (measured, passed) = measure(|| read(COUNTER) as u32, u32::MAX, wanted);
    Measured {
        elapsed_ns: passed * period_fs / 1_000_000,
        ..measured
    }
}

fn by_power_management(port: u16) -> Measured {
    /// All of them have 24 bits.
    const BITS: u32 = 0xFF_FFFF;
    let wanted = MEASURE_US * PM_HZ / 1_000_000;
    let (measured, passed) = measure(|| port::read_u32(port), BITS, wanted);
    Measured {
        elapsed_ns: passed * 1_000_000_000 / PM_HZ,
        ..measured
    }
}

fn by_interval_timer() -> Measured {
    const CONTROL: u16 = 0x43;
    const COUNTER2: u16 = 0x42;
    const GATE: u16 = 0x61;
    let wanted = (MEASURE_US * PIT_HZ / 1_000_000) as u16;
    // Gate on, speaker off; counter 2, both bytes, mode 0: its output rises at zero.
    port::write_u8(GATE, port::read_u8(GATE) & !2 | 1);
    port::write_u8(CONTROL, 0xB0);
    port::write_u8(COUNTER2, wanted as u8);
    port::write_u8(COUNTER2, (wanted >> 8) as u8);
    let (start, start_count) = (now_ticks(), interrupts::timer::current());
    while port::read_u8(GATE) & 0x20 == 0 {
        core::hint::spin_loop();
    }
    Measured {
        tsc: now_ticks().wrapping_sub(start),
        counted: start_count.wrapping_sub(interrupts::timer::current()),
        elapsed_ns: u64::from(wanted) * 1_000_000_000 / PIT_HZ,
    }
}

/// Switches the timer of a further CPU on.
pub(crate) fn start_further() {
    interrupts::timer::start(identity::features().has_tsc_deadline);
}

/// Makes the host's timer come when the TSC reaches `ticks`; `None`: never.
#[inline]
pub(crate) fn set_host_deadline(ticks: Option<u64>) {
    let cpu = cpu::this();
    cpu.host_deadline
        .store(ticks.unwrap_or(NEVER), Ordering::Relaxed);
    program(cpu);
}

/// The same for the guest that is loaded. What was noted of its timer is forgotten.
#[inline]
pub(crate) fn set_guest_deadline(ticks: Option<u64>) {
    let cpu = cpu::this();
    let ticks = ticks.unwrap_or(NEVER);
    if cpu.guest_deadline.load(Ordering::Relaxed) == ticks {
        return;
    }
    cpu.guest_deadline.store(ticks, Ordering::Relaxed);
    cpu.noted.fetch_and(!noted::GUEST_TIMER, Ordering::Relaxed);
    program(cpu);
}

/// Whether the guest's deadline passed since the last look.
#[inline]
pub(crate) fn take_guest_deadline() -> bool {
    let noted = &cpu::this().noted;
    if noted.load(Ordering::Relaxed) & noted::GUEST_TIMER == 0 {
        return false;
    }
    noted.fetch_and(!noted::GUEST_TIMER, Ordering::Relaxed);
    true
}

fn program(cpu: &Cpu) {
    let host = cpu.host_deadline.load(Ordering::Relaxed);
    let guest = cpu.guest_deadline.load(Ordering::Relaxed);
    let next = host.min(guest);
    let counts = COUNTS.load(Ordering::Relaxed);
    if counts == 0 {
        // Zero switches it off; a deadline that is past comes at once.
        msr::write(TSC_DEADLINE, if next == NEVER { 0 } else { next.max(1) });
        return;
    }
    let count = match next {
        NEVER => 0,
        at => crate::calibration::count_until(at, now_ticks(), counts),
    };
    interrupts::timer::count_down(count);
}

/// The timer's interrupt came: notes whose deadline passed. It may be early where it counts down.
pub(super) fn expired(cpu: &Cpu) {
    let now = now_ticks();
    for (deadline, note) in [
        (&cpu.host_deadline, noted::TIMER),
        (&cpu.guest_deadline, noted::GUEST_TIMER),
    ] {
        if deadline.load(Ordering::Relaxed) <= now {
            deadline.store(NEVER, Ordering::Relaxed);
            cpu.noted.fetch_or(note, Ordering::Relaxed);
        }
    }
    program(cpu);
}

/// Waits by counting.
pub(crate) fn spin_for_us(us: u64) {
    let end = now_ticks().saturating_add(frequency() / 1_000_000 * us);
    while now_ticks() < end {
        core::hint::spin_loop();
    }
}
