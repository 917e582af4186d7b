//! Data of one CPU, at its TPIDR_EL2.

use core::cell::UnsafeCell;
use core::sync::atomic::AtomicU32;

use super::fault::CrashFrame;

/// CPUs at most.
pub(crate) const CPUS_MAX: usize = 1;

/// Bytes of the stack on which a crash is reported.
const EMERGENCY_STACK: usize = 8192;

/// What one CPU has for itself.
#[repr(C, align(16))]
pub(crate) struct Cpu {
    crash: UnsafeCell<CrashFrame>,
    emergency_stack: UnsafeCell<[u8; EMERGENCY_STACK]>,
    /// Its number.
    pub(crate) number: usize,
    /// A host interrupt that was acknowledged on the way out of a guest and waits for `take_interrupt`, plus 1; 0: none.
    pub(crate) acknowledged: AtomicU32,
    /// What came for the loaded vCPU while the host ran ([`crate::host::event`]).
    pub(crate) events: AtomicU32,
}

/// Offset of the crash frame, for vectors.S.
pub(crate) const CRASH_OFFSET: usize = core::mem::offset_of!(Cpu, crash);
/// Offset of the emergency stack's top, for vectors.S.
pub(crate) const EMERGENCY_OFFSET: usize =
    core::mem::offset_of!(Cpu, emergency_stack) + EMERGENCY_STACK;

// SAFETY: the cells are touched only by vectors.S on the CPU they belong to; the rest is atomic or constant.
unsafe impl Sync for Cpu {}

const fn cpu(number: usize) -> Cpu {
    Cpu {
        crash: UnsafeCell::new(CrashFrame::EMPTY),
        emergency_stack: UnsafeCell::new([0; EMERGENCY_STACK]),
        number,
        acknowledged: AtomicU32::new(0),
        events: AtomicU32::new(0),
    }
}

static CPUS: [Cpu; CPUS_MAX] = [cpu(0)];

/// Makes CPU `number`'s data this CPU's.
pub(crate) fn adopt(number: usize) {
    use aarch64_cpu::registers::TPIDR_EL2;
    use tock_registers::interfaces::Writeable;
    if let Some(cpu) = CPUS.get(number) {
        TPIDR_EL2.set(core::ptr::from_ref(cpu).addr() as u64);
    }
}

/// This CPU's data.
#[inline(always)]
pub(crate) fn this() -> &'static Cpu {
    #[cfg(target_arch = "aarch64")]
    {
        use aarch64_cpu::registers::TPIDR_EL2;
        use tock_registers::interfaces::Readable;
        // SAFETY: `adopt` put the address of an entry of CPUS there before anything else ran; guests cannot reach it.
        unsafe { &*(TPIDR_EL2.get() as *const Cpu) }
    }
    #[cfg(not(target_arch = "aarch64"))]
    &CPUS[0]
}
