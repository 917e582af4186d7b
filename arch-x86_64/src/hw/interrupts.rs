//! Interrupts of the machine: descriptor table, local APIC, I/O APIC (Intel SDM, volume 3, chapters "Interrupt and Exception
//! Handling" and "Advanced Programmable Interrupt Controller"; 82093AA I/O APIC).
//!
//! The hypervisor runs with interrupts masked. What is pending is taken in a window of one instruction ([`take`]) or while
//! the CPU waits; handlers only note what came, in the CPU's own data, and end it at the APIC. Device interrupts are edges
//! (ISA lines and messages), so they are ended at once.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::cpu::{self, Cpu, noted};
use super::{msr, port};
use crate::apic::{MASKED, base, register as apic};
use crate::msr::{APIC_BASE, X2APIC};

/// First vector of devices.
const DEVICE: u8 = 0x30;
/// Device interrupts: 16 ISA lines, then messages.
const DEVICES: u32 = 0xA0;
/// First number of a message interrupt.
const FIRST_MESSAGE: u32 = 16;
pub(super) const TIMER: u8 = 0xF0;
/// Sent to make another CPU look.
pub(crate) const KICK: u8 = 0xF1;
/// Sent to make another CPU stop.
pub(crate) const STOP: u8 = 0xF2;
const ERROR: u8 = 0xFE;
const SPURIOUS: u8 = 0xFF;

#[cfg(target_os = "none")]
core::arch::global_asm!(
    include_str!("vectors.S"),
    rust_interrupt = sym rust_interrupt,
    rust_host_fault = sym super::fault::rust_host_fault,
);

/// Loads the interrupt descriptor table, the same for all CPUs.
#[cfg(target_os = "none")]
pub(super) fn load_table() {
    use x86_64::VirtAddr;
    use x86_64::structures::DescriptorTablePointer;

    static TABLE: spin::Once<[[u64; 2]; 256]> = spin::Once::new();
    let table = TABLE.call_once(|| core::array::from_fn(gate));
    let pointer = DescriptorTablePointer {
        limit: (size_of_val(table) - 1) as u16,
        base: VirtAddr::new(core::ptr::from_ref(table).addr() as u64),
    };
    // SAFETY: a static table; each gate leads to its stub in vectors.S.
    unsafe { x86_64::instructions::tables::lidt(&pointer) };
}

/// An interrupt gate to a vector's stub. Exceptions run on a stack of their own; those that may come at any time, on
/// another.
#[cfg(target_os = "none")]
fn gate(vector: usize) -> [u64; 2] {
    unsafe extern "C" {
        static vector_stubs: u8;
    }
    const STUB_SIZE: usize = 16;
    const CODE: u64 = 8;
    const NMI: usize = 2;
    const DOUBLE_FAULT: usize = 8;
    const MACHINE_CHECK: usize = 18;
    let stack = match vector {
        NMI | DOUBLE_FAULT | MACHINE_CHECK => 2,
        0..32 => 1,
        _ => 0,
    };
    let address = ((&raw const vector_stubs).addr() + vector * STUB_SIZE) as u64;
    let low =
        address & 0xFFFF | CODE << 16 | stack << 32 | 0x8E << 40 | (address >> 16 & 0xFFFF) << 48;
    [low, address >> 32]
}

/// Where the local APIC's registers are; 0: they are MSRs (x2APIC).
static APIC: AtomicU64 = AtomicU64::new(0);
static IS_X2APIC: AtomicBool = AtomicBool::new(false);

fn read_apic(register: u32) -> u32 {
    if IS_X2APIC.load(Ordering::Relaxed) {
        return msr::read(X2APIC + register) as u32;
    }
    let base = APIC.load(Ordering::Relaxed);
    if base == 0 {
        return 0;
    }
    let address = (base + u64::from(register) * 16) as *const u32;
    // SAFETY: `start` found the APIC there, and it is mapped uncached.
    unsafe { address.read_volatile() }
}

#[inline]
fn write_apic(register: u32, value: u32) {
    if IS_X2APIC.load(Ordering::Relaxed) {
        return msr::write(X2APIC + register, u64::from(value));
    }
    let base = APIC.load(Ordering::Relaxed);
    if base == 0 {
        return;
    }
    let address = (base + u64::from(register) * 16) as *mut u32;
    // SAFETY: as above; the APIC is this CPU's own.
    unsafe { address.write_volatile(value) };
}

/// Where the local APIC's registers are.
pub(crate) fn apic_base() -> u64 {
    msr::read(APIC_BASE) & 0x000F_FFFF_FFFF_F000
}

/// Silences the old interrupt controllers and switches this CPU's APIC on. Its registers are mapped.
pub(crate) fn start() {
    silence_pics();
    start_further();
}

/// Switches this CPU's APIC on.
pub(crate) fn start_further() {
    let base = apic_base();
    if super::identity::features().has_x2apic {
        msr::write(APIC_BASE, msr::read(APIC_BASE) | base::ENABLED);
        msr::write(
            APIC_BASE,
            msr::read(APIC_BASE) | base::ENABLED | base::X2APIC,
        );
        IS_X2APIC.store(true, Ordering::Relaxed);
    } else {
        msr::write(APIC_BASE, msr::read(APIC_BASE) | base::ENABLED);
        APIC.store(base, Ordering::Relaxed);
    }
    for register in [apic::LVT_LINT0, apic::LVT_LINT1, apic::LVT_TIMER] {
        write_apic(register, MASKED);
    }
    write_apic(apic::LVT_ERROR, u32::from(ERROR));
    write_apic(apic::ESR, 0);
    write_apic(apic::DIVIDE, DIVIDE_BY_1);
    write_apic(apic::SVR, 1 << 8 | u32::from(SPURIOUS));
    let id = read_apic(apic::ID);
    let id = if IS_X2APIC.load(Ordering::Relaxed) {
        id
    } else {
        id >> 24
    };
    cpu::this().apic_id.store(id, Ordering::Relaxed);
}

const DIVIDE_BY_1: u32 = 0xB;

/// Both 8259s: initialised out of the way of exceptions, everything masked.
fn silence_pics() {
    const FIRST: u16 = 0x20;
    const SECOND: u16 = 0xA0;
    for (base, vector, cascade) in [(FIRST, 0xE0, 4), (SECOND, 0xE8, 2)] {
        port::write_u8(base, 0x11);
        port::write_u8(base + 1, vector);
        port::write_u8(base + 1, cascade);
        port::write_u8(base + 1, 1);
        port::write_u8(base + 1, 0xFF);
    }
}

/// The timer of the local APIC.
pub(super) mod timer {
    use super::{TIMER, apic, read_apic, write_apic};

    const TSC_DEADLINE: u32 = 2 << 17;

    /// By deadlines on the TSC, or by counting down.
    pub(crate) fn start(by_deadline: bool) {
        let mode = if by_deadline { TSC_DEADLINE } else { 0 };
        write_apic(apic::LVT_TIMER, mode | u32::from(TIMER));
    }

    /// Counts down from here; 0 stops.
    #[inline]
    pub(crate) fn count_down(count: u32) {
        write_apic(apic::INITIAL_COUNT, count);
    }

    /// How far it has counted.
    pub(crate) fn current() -> u32 {
        read_apic(apic::CURRENT_COUNT)
    }
}

/// Sends a vector to another CPU, or to this one.
pub(crate) fn send(vector: u8, to: &Cpu) {
    command(
        to.apic_id.load(Ordering::Relaxed),
        1 << 14 | u32::from(vector),
    );
}

fn command(apic_id: u32, low: u32) {
    if IS_X2APIC.load(Ordering::Relaxed) {
        // What was written before is to be seen by who gets it: a write of an x2APIC register is no barrier.
        core::sync::atomic::fence(Ordering::SeqCst);
        return msr::write(
            X2APIC + apic::ICR,
            u64::from(apic_id) << 32 | u64::from(low),
        );
    }
    const BUSY: u32 = 1 << 12;
    while read_apic(apic::ICR) & BUSY != 0 {
        core::hint::spin_loop();
    }
    write_apic(apic::ICR_HIGH, apic_id << 24);
    write_apic(apic::ICR, low);
}

/// INIT, then twice the start-up IPI for a page (MultiProcessor Specification, B.4).
pub(crate) fn start_cpu(apic_id: u32, page: u64) {
    const INIT: u32 = 0x4500;
    const STARTUP: u32 = 0x4600;
    let startup = STARTUP | (page >> 12) as u32;
    command(apic_id, INIT);
    super::timer::spin_for_us(10_000);
    for _ in 0..2 {
        command(apic_id, startup);
        super::timer::spin_for_us(200);
    }
}

/// Where the I/O APIC is, and how ISA lines are wired to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoApic {
    pub(crate) base: u64,
    /// Number of its first input.
    pub(crate) first: u32,
    /// Input and flags (MPS INTI) of each ISA line.
    pub(crate) lines: [(u32, u16); 16],
}

static IO_APIC: spin::Once<IoApic> = spin::Once::new();

/// Uses this I/O APIC, which is mapped uncached; all its inputs are masked.
pub(crate) fn use_io_apic(io_apic: IoApic) {
    let io_apic = IO_APIC.call_once(|| io_apic);
    let last = read_io_apic(io_apic, 1) >> 16 & 0xFF;
    for input in 0..=last {
        write_io_apic(io_apic, 0x10 + 2 * input, MASKED);
    }
}

fn read_io_apic(io_apic: &IoApic, register: u32) -> u32 {
    let select = io_apic.base as *mut u32;
    // SAFETY: an I/O APIC is there (MADT), mapped uncached.
    unsafe { select.write_volatile(register) };
    // SAFETY: as above.
    unsafe { select.wrapping_add(4).read_volatile() }
}

fn write_io_apic(io_apic: &IoApic, register: u32, value: u32) {
    let select = io_apic.base as *mut u32;
    // SAFETY: as above.
    unsafe { select.write_volatile(register) };
    // SAFETY: as above.
    unsafe { select.wrapping_add(4).write_volatile(value) };
}

/// Lets an ISA line reach this CPU as an edge, or not.
pub(crate) fn enable_line(line: u32, enabled: bool) {
    let Some(io_apic) = IO_APIC.get() else {
        return;
    };
    let Some((input, flags)) = io_apic.lines.get(line as usize).copied() else {
        return;
    };
    let Some(pin) = input.checked_sub(io_apic.first) else {
        return;
    };
    let low_active = if flags & 3 == 3 { 1 << 13 } else { 0 };
    let mask = if enabled { 0 } else { MASKED };
    let apic_id = cpu::this().apic_id.load(Ordering::Relaxed);
    write_io_apic(io_apic, 0x11 + 2 * pin, apic_id << 24);
    let vector = u32::from(DEVICE) + line;
    write_io_apic(io_apic, 0x10 + 2 * pin, mask | low_active | vector);
}

static NEXT_MESSAGE: AtomicU32 = AtomicU32::new(FIRST_MESSAGE);

/// A message interrupt nobody has yet: its number, and what a device writes where.
pub(crate) fn allocate_message() -> Option<(u32, u64, u32)> {
    let next = |number: u32| (number < DEVICES).then_some(number + 1);
    let number = NEXT_MESSAGE
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        .ok()?;
    // To the first CPU, where Domain-0 is at home.
    let apic_id = cpu::CPUS
        .online(0)
        .map_or(0, |cpu| cpu.apic_id.load(Ordering::Relaxed));
    let address = 0xFEE0_0000 | u64::from(apic_id & 0xFF) << 12;
    Some((number, address, u32::from(DEVICE) + number))
}

/// Takes what is pending: it is noted then.
#[inline]
pub(crate) fn take() {
    #[cfg(target_os = "none")]
    // SAFETY: handlers touch this CPU's notes and its APIC only. STI holds interrupts back for one instruction.
    unsafe {
        core::arch::asm!("sti", "nop", "cli", options(nostack));
    }
}

/// Whether something is noted for the host.
#[inline]
pub(crate) fn are_noted() -> bool {
    cpu::this().noted.load(Ordering::Relaxed) & !noted::GUEST_TIMER != 0
}

/// Waits until an interrupt is pending, and takes it.
pub(crate) fn wait() {
    #[cfg(target_os = "none")]
    // SAFETY: as above; nothing comes between STI and HLT.
    unsafe {
        core::arch::asm!("sti", "hlt", "cli", options(nostack));
    }
}

/// A device interrupt that is noted; it is no more then.
pub(crate) fn take_device() -> Option<u32> {
    let cpu = cpu::this();
    for (index, word) in cpu.devices.iter().enumerate() {
        let bits = word.load(Ordering::Relaxed);
        if bits != 0 {
            let bit = bits.trailing_zeros();
            word.fetch_and(!(1 << bit), Ordering::Relaxed);
            return Some(index as u32 * 64 + bit);
        }
    }
    cpu.noted.fetch_and(!noted::DEVICE, Ordering::Relaxed);
    None
}

/// Entered by vectors.S, with interrupts masked.
#[cfg(target_os = "none")]
extern "C" fn rust_interrupt(vector: u64) {
    let cpu = cpu::this();
    match vector as u8 {
        TIMER => super::timer::expired(cpu),
        KICK => {
            cpu.noted.fetch_or(noted::KICK, Ordering::Relaxed);
        }
        STOP => arch_common::report::stop::<super::fault::Here>(),
        SPURIOUS => return,
        device if device >= DEVICE && u32::from(device - DEVICE) < DEVICES => {
            let number = device - DEVICE;
            if let Some(word) = cpu.devices.get(usize::from(number / 64)) {
                word.fetch_or(1 << (number % 64), Ordering::Relaxed);
            }
            cpu.noted.fetch_or(noted::DEVICE, Ordering::Relaxed);
        }
        _ => {}
    }
    write_apic(apic::EOI, 0);
}
