//! Into a guest and out of it.

#[cfg(target_os = "none")]
core::arch::global_asm!(
    include_str!("vectors.S"),
    HOST_SP = const core::mem::offset_of!(Context, host_sp),
    PC = const core::mem::offset_of!(Context, pc),
    CRASH = const super::cpu::CRASH_OFFSET,
    EMERGENCY = const super::cpu::EMERGENCY_OFFSET,
    rust_host_fault = sym super::fault::rust_host_fault,
);

/// The general registers of a guest CPU, as vectors.S saves them.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// X0 to X30.
    pub(crate) x: [u64; 31],
    host_sp: u64,
    /// Program counter.
    pub(crate) pc: u64,
    /// Processor state (SPSR_EL2).
    pub(crate) pstate: u64,
}

#[cfg(target_arch = "aarch64")]
const _: () = assert!(core::mem::offset_of!(Context, pc) % 16 == 0);
