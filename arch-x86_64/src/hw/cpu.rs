//! Data of one CPU, at its GS base: its descriptor tables, stacks for faults, what came for it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arch_common::cpus::{CPUS_MAX, Cpus};

/// Bytes of a stack on which faults are reported.
const FAULT_STACK: usize = 8192;

/// Selector of the task state segment.
#[cfg(target_os = "none")]
const TSS_SELECTOR: u16 = 0x18;

/// A stack of its own for faults, at the top of which the CPU starts.
#[repr(C, align(16))]
struct FaultStack(UnsafeCell<[u8; FAULT_STACK]>);

/// A 64-bit task state segment (Intel SDM, volume 3, "Task Management in 64-bit Mode").
#[repr(C, packed(4))]
struct TaskState {
    __0: u32,
    privilege_stacks: [u64; 3],
    __28: u64,
    interrupt_stacks: [u64; 7],
    __92: u64,
    __100: u16,
    io_map: u16,
}

/// What one CPU has for itself.
#[repr(C, align(64))]
pub(crate) struct Cpu {
    /// Its own address, at offset 0 of GS.
    address: AtomicU64,
    /// Its number.
    pub(crate) number: usize,
    /// Its local APIC's ID.
    pub(crate) apic_id: AtomicU32,
    /// What came and was not looked at: bits of [`noted`].
    pub(crate) noted: AtomicU32,
    /// Device interrupts that came and were not looked at, a bit for each vector.
    pub(crate) devices: [AtomicU64; 4],
    /// TSC at which the host wants its timer; `u64::MAX`: never.
    pub(crate) host_deadline: AtomicU64,
    /// TSC at which the loaded guest wants its timer; `u64::MAX`: never.
    pub(crate) guest_deadline: AtomicU64,
    descriptors: UnsafeCell<[u64; 5]>,
    task_state: UnsafeCell<TaskState>,
}

/// Stacks of one CPU for faults.
struct FaultStacks {
    /// For any exception.
    first: FaultStack,
    /// For double faults and NMIs, which may come while the other is in use.
    last: FaultStack,
}

// SAFETY: only the CPU they belong to uses them, as its stacks.
unsafe impl Sync for FaultStacks {}

static FAULT_STACKS: [FaultStacks; CPUS_MAX] = [const {
    FaultStacks {
        first: FaultStack(UnsafeCell::new([0; FAULT_STACK])),
        last: FaultStack(UnsafeCell::new([0; FAULT_STACK])),
    }
}; CPUS_MAX];

/// Bits of [`Cpu::noted`].
pub(crate) mod noted {
    /// The host's deadline passed.
    pub(crate) const TIMER: u32 = 1 << 0;
    /// Another CPU wants attention.
    pub(crate) const KICK: u32 = 1 << 1;
    /// Devices' interrupts came.
    pub(crate) const DEVICE: u32 = 1 << 2;
    /// The guest's deadline passed.
    pub(crate) const GUEST_TIMER: u32 = 1 << 3;
}

// SAFETY: the cells are written once, by `adopt` on the CPU they belong to, and read by its hardware; the rest is atomic or
// constant.
unsafe impl Sync for Cpu {}

const fn cpu(number: usize) -> Cpu {
    Cpu {
        address: AtomicU64::new(0),
        number,
        apic_id: AtomicU32::new(0),
        noted: AtomicU32::new(0),
        devices: [const { AtomicU64::new(0) }; 4],
        host_deadline: AtomicU64::new(u64::MAX),
        guest_deadline: AtomicU64::new(u64::MAX),
        // Null, code, data, task state (two entries, filled in by `adopt`).
        descriptors: UnsafeCell::new([0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0, 0]),
        task_state: UnsafeCell::new(TaskState {
            __0: 0,
            privilege_stacks: [0; 3],
            __28: 0,
            interrupt_stacks: [0; 7],
            __92: 0,
            __100: 0,
            io_map: size_of::<TaskState>() as u16,
        }),
    }
}

/// All CPUs.
pub(crate) static CPUS: Cpus<Cpu> = Cpus::new([
    cpu(0),
    cpu(1),
    cpu(2),
    cpu(3),
    cpu(4),
    cpu(5),
    cpu(6),
    cpu(7),
]);

/// All CPUs that run, but this one.
pub(crate) fn others() -> impl Iterator<Item = &'static Cpu> {
    CPUS.others(this().number)
}

/// Says that this CPU runs.
pub(crate) fn go_online() {
    CPUS.go_online(this().number);
}

/// Lets another CPU go on, where CPUs share something.
pub(crate) fn give_way() {
    core::hint::spin_loop();
}

/// The two descriptors of a task state segment: available, present, 64-bit.
#[cfg(target_os = "none")]
const fn task_state_descriptor(base: u64) -> [u64; 2] {
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0xFF_FFFF) << 16 | 0x89 << 40 | (base >> 24 & 0xFF) << 56;
    [low, base >> 32]
}

/// Makes CPU `number`'s data this CPU's: GS, descriptor tables, task state, interrupts.
pub(crate) fn adopt(number: usize) {
    let Some(cpu) = CPUS.get(number) else {
        return;
    };
    cpu.address
        .store(core::ptr::from_ref(cpu).addr() as u64, Ordering::Relaxed);
    #[cfg(target_os = "none")]
    load(cpu);
}

#[cfg(target_os = "none")]
fn load(cpu: &'static Cpu) {
    use x86_64::VirtAddr;
    use x86_64::instructions::tables;
    use x86_64::registers::model_specific::GsBase;
    use x86_64::structures::DescriptorTablePointer;
    use x86_64::structures::gdt::SegmentSelector;

    let top = |stack: &FaultStack| stack.0.get().addr() as u64 + FAULT_STACK as u64;
    let stacks = &FAULT_STACKS[cpu.number];
    let task_state = cpu.task_state.get();
    let interrupt_stacks = task_state
        .cast::<u8>()
        .wrapping_add(core::mem::offset_of!(TaskState, interrupt_stacks))
        .cast::<[u64; 2]>();
    let tops = [top(&stacks.first), top(&stacks.last)];
    // SAFETY: within this CPU's cell, which nobody else uses, and the CPU not yet.
    unsafe { interrupt_stacks.write_unaligned(tops) };
    let descriptors = cpu.descriptors.get();
    let task = task_state_descriptor(task_state.addr() as u64);
    let place = descriptors.cast::<u64>().wrapping_add(3).cast::<[u64; 2]>();
    // SAFETY: the last two entries of this CPU's table; as above.
    unsafe { place.write(task) };
    let table = DescriptorTablePointer {
        limit: (size_of::<[u64; 5]>() - 1) as u16,
        base: VirtAddr::new(descriptors.addr() as u64),
    };
    // SAFETY: the table is a static; its code and data segments are those in use.
    unsafe { tables::lgdt(&table) };
    // SAFETY: the descriptor is that of this CPU's task state segment, which is not busy.
    unsafe { tables::load_tss(SegmentSelector(TSS_SELECTOR)) };
    GsBase::write(VirtAddr::new(cpu.address.load(Ordering::Relaxed)));
    super::interrupts::load_table();
}

/// Where this CPU's task state segment is.
#[cfg(target_os = "none")]
pub(super) fn task_state_address() -> u64 {
    this().task_state.get().addr() as u64
}

/// This CPU's data.
#[inline(always)]
pub(crate) fn this() -> &'static Cpu {
    #[cfg(target_os = "none")]
    {
        let address: *const Cpu;
        // SAFETY: `adopt` set GS before anything else ran; guests have a GS of their own.
        unsafe {
            core::arch::asm!(
                "mov {}, gs:[0]",
                out(reg) address,
                options(readonly, nostack, preserves_flags, pure)
            );
        }
        // SAFETY: offset 0 of an entry of CPUS is its address.
        unsafe { &*address }
    }
    #[cfg(not(target_os = "none"))]
    CPUS.first()
}
